"""Installs, upgrades and uninstalls the SQL side; also as a dry run.

What runs is the text of the files in ``sql/``, one transaction each: what a DBA can read and run with psql.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.connection_origin import URL_VARIABLE, ConnectionOrigin, connection_origin
from cdc_bridge.database import one_connection, problem_of
from cdc_bridge.errors import InstallationError
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.catalog_diff import difference, installed_objects, locks_on_other_tables
from cdc_bridge.schema.lock_retry import Report, run_with_lock_retry
from cdc_bridge.schema.sql_text import (
    finish_text,
    install_text,
    mapping_text,
    preconditions_text,
    sql_folder,
    summary_text,
    uninstall_preconditions_text,
    uninstall_text,
    upgrade_texts,
    without_commit,
)
from cdc_bridge.schema.version import SCHEMA_VERSION, installed_version, is_installed

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]


class Verdict(Protocol):
    """Judges a mapping in the transaction that tries its installation."""

    async def __call__(self, connection: Connection, *, installed: bool) -> None:
        """Find its faults.

        Args:
            connection: Has the schema installed, and nothing committed.
            installed: The mapping is installed as well; otherwise PostgreSQL rejects it.

        Raises:
            InstallationError: It has faults.
        """


_FINISH = "cdc-bridge install --finish"
_DAEMON = "cdc_bridge"
_KEPT = " "
"""In place of a mapping's text: it is known that none is given."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to run in a database."""

    steps: tuple[tuple[str, str], ...]
    """File names and their SQL, in the order in which they run."""
    keeps_mapping: bool
    without_mapping: str
    """The last of them without the mapping."""


async def install(
    database_url: str,
    mapping: Path | None,
    report: Report,
    *,
    verdict: Verdict | None = None,
) -> None:
    """Install, upgrade, or repair what is missing.

    An installed mapping is kept unless another is given: a DBA may have written it.

    Args:
        database_url: A superuser's, or that of a role with CREATEROLE that owns the database.
        mapping: The mapping file; ``None``: keep the installed one, or use the shipped one if there is none.
        report: Called with each line of progress.
        verdict: Judges the mapping that is given; ``None``: only PostgreSQL does.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: A step failed and changed nothing; steps reported before it stay.
    """
    async with _dba_session(database_url) as connection:
        plan = await _plan(connection, mapping)
        *migrations, (name, text) = plan.steps
        for earlier, migration in migrations:
            report(f"Running {earlier} ...")
            await run_with_lock_retry(connection, database_url, migration, report)
        if migrations:
            report(f"Running {name} ...")
        await _run_judged(connection, database_url, text, plan.without_mapping, report=report, verdict=verdict)
        summary = await _summary(connection)
        await connection.commit()
        for line in summary:
            report(line)


async def finish(database_url: str, report: Report) -> None:
    """Run the last part of an upgrade, once no daemon of the old version is left.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: It failed, or the database is not prepared; nothing was changed.
    """
    async with _dba_session(database_url) as connection:
        version = await installed_version(connection)
        database = connection.info.dbname
        if version is None:
            raise InstallationError(f"cdc-bridge is not installed in database {database}", "Run: cdc-bridge install")
        if version.is_prepared:
            await run_with_lock_retry(connection, database_url, finish_text(), report)
            report(f"Upgrade finished: schema cdc_bridge in {database} is version {SCHEMA_VERSION}.")
        elif version.number == SCHEMA_VERSION:
            report(f"Nothing to finish: schema cdc_bridge in {database} is version {version.number}.")
        else:
            raise InstallationError(
                f"schema cdc_bridge in {database} is version {version.number} and not prepared for version "
                f"{SCHEMA_VERSION}",
                "Run: cdc-bridge install",
            )


async def dry_run(
    database_url: str,
    mapping: Path | None,
    report: Report,
    *,
    verdict: Verdict | None = None,
) -> list[str]:
    """Run an installation in one transaction, report what it changed, and roll it back.

    The arguments are those of :func:`install`. Returns what would be unfinished in the payloads.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: The installation would fail.
    """
    async with _dba_session(database_url) as connection:
        plan = await _plan(connection, mapping)
        before = await installed_objects(connection)
        *migrations, (_, text) = plan.steps
        first = "".join(without_commit(text) for _, text in migrations)
        try:
            await _run_judged(
                connection, database_url, first + text, first + plan.without_mapping, report=report, verdict=verdict
            )
            after = await installed_objects(connection)
            locks = await locks_on_other_tables(connection)
            notes = [note for (note,) in await _rows(connection, "mapping_notes")]
        finally:
            await connection.rollback()
        changes = difference(before, after)
        report(f"Changes to {connection.info.dbname}:" if changes else f"No changes to {connection.info.dbname}.")
        for change in changes:
            report(f"  {change}")
        if plan.keeps_mapping:
            report("The installed mapping would be kept.")
        for note in notes:
            report(note)
        for lock in locks:
            report(f"Lock on e-Res's tables until commit: {lock}")
        report("Dry run: everything was rolled back.")
        return notes


async def _run_judged(
    connection: Connection,
    database_url: str,
    text: str,
    without_mapping: str,
    *,
    report: Report,
    verdict: Verdict | None,
) -> None:
    """Run an installation without its commit, and have its mapping judged.

    If PostgreSQL rejects it, it names one fault only. Then the mapping is tried again, statement by statement.

    Raises:
        InstallationError: The mapping has faults; nothing was changed.
    """
    try:
        await run_with_lock_retry(connection, database_url, without_commit(text), report)
    except psycopg.Error:
        if connection.closed or verdict is None:
            raise
        await connection.rollback()
        await run_with_lock_retry(connection, database_url, without_commit(without_mapping), report)
        await _judged(connection, verdict, installed=False)
        raise
    if verdict is not None:
        await _judged(connection, verdict, installed=True)


async def _judged(connection: Connection, verdict: Verdict, *, installed: bool) -> None:
    try:
        await verdict(connection, installed=installed)
    except InstallationError:
        await connection.rollback()
        raise


async def uninstall(database_url: str, report: Report) -> None:
    """Remove the schema, its triggers, rights and roles.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: It failed; nothing was changed.
    """
    async with _dba_session(database_url, "uninstall") as connection:
        await run_with_lock_retry(connection, database_url, uninstall_text(), report)
        report(f"cdc-bridge is uninstalled from {connection.info.dbname}. e-Res's own tables are unchanged.")


async def losses_of_uninstall(database_url: str, *, counts_logs: bool) -> list[str] | None:
    """Return what an uninstallation would delete and lose, and which daemons run; ``None``: nothing is installed.

    Args:
        database_url: A DBA's.
        counts_logs: Whether to count what is in both logs, which reads all of it.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: The role may not uninstall.
    """
    async with _dba_session(database_url, "uninstall") as connection:
        await connection.execute(uninstall_preconditions_text().encode())
        if not await is_installed(connection):
            return None
        lines = []
        # What is broken or locked can be uninstalled, too, or says so then.
        with suppress(errors.UndefinedTable, errors.UndefinedFunction, errors.LockNotAvailable):
            await connection.execute(_queries["wait_briefly"])
            if counts_logs:
                ((changes, deliveries),) = await _rows(connection, "count_kept")
                logs = f"the change log ({changes:,} changes) and the delivery log ({deliveries:,} deliveries)"
                lines.append(f"This deletes {logs} in {connection.info.dbname}.")
            lines += [line[:1].upper() + line[1:] for (line,) in await _rows(connection, "losses_of_uninstall")]
        return lines


async def _plan(connection: Connection, mapping: Path | None) -> _Plan:
    try:
        installed = await installed_version(connection)
        has_mapping = installed is not None and await _is_true(connection, "has_mapping")
    except errors.InsufficientPrivilege:  # The preconditions name everything that the role lacks.
        await _note_mapping(connection, _KEPT if mapping is None else mapping_text(mapping))
        await connection.execute(preconditions_text().encode())
        raise
    keeps_mapping = mapping is None and has_mapping
    if mapping is None and not has_mapping and await _is_true(connection, "has_capture"):
        raise InstallationError(
            "capture is attached to a table, but the mapping is missing; it may not have been the shipped one",
            f"Name it: cdc-bridge install --mapping FILE (the shipped one is {sql_folder() / 'mapping.sql'})",
        )
    migrations = upgrade_texts(installed.number) if installed is not None and installed.is_too_old else []
    steps = (*migrations, ("install.sql", install_text(mapping, keep_mapping=keeps_mapping)))
    await _note_mapping(connection, _KEPT if keeps_mapping else mapping_text(mapping))
    return _Plan(steps, keeps_mapping, install_text(keep_mapping=True))


async def _note_mapping(connection: Connection, text: str) -> None:
    """Let the preconditions look at the rights on the tables that a mapping names."""
    await _rows(connection, "note_mapping", {"mapping": text, "version": str(SCHEMA_VERSION)})


async def _rows(
    connection: Connection, name: str, parameters: Mapping[str, str] = MappingProxyType({})
) -> list[TupleRow]:
    cursor = await connection.execute(_queries[name], parameters)
    return await cursor.fetchall()


async def _is_true(connection: Connection, name: str) -> bool:
    ((is_true,),) = await _rows(connection, name)
    return bool(is_true)


async def _summary(connection: Connection) -> list[str]:
    cursor = await connection.execute(summary_text().encode())
    lines = [line for (line,) in await cursor.fetchall()]
    after = await installed_version(connection)
    if after is not None and after.is_prepared:
        lines.append(
            f"It is prepared for version {SCHEMA_VERSION}, and daemons of both versions work with it. "
            f"Start the new daemon everywhere, then, when no old one is left, run: {_FINISH}"
        )
    return lines


@asynccontextmanager
async def _dba_session(database_url: str, command: str = "install") -> AsyncIterator[Connection]:
    async with one_connection(database_url) as connection:
        try:
            yield connection
        except psycopg.Error as error:
            if connection.closed:
                raise  # one_connection says that the database is away.
            hint = (error.diag.message_hint or "").splitlines()
            if isinstance(error, errors.InsufficientPrivilege):
                hint = [*hint, f"This was {connection_origin(database_url)}."]
            raise InstallationError(
                error.diag.message_primary or problem_of(error),
                _remedy(error, command, connection_origin(database_url)),
                more=[*hint, "Nothing was changed."],
            ) from error


def _remedy(error: psycopg.Error, command: str, origin: ConnectionOrigin) -> str:
    match error:
        case errors.InsufficientPrivilege():
            return _who_may(origin)
        case errors.ReadOnlySqlTransaction():
            return "Connect to the primary."
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidTableDefinition():
            if error.diag.message_hint:
                return ""
            return (
                "The mapping names tables or columns that do not exist here. Have one proposed: "
                "cdc-bridge mapping draft > my-mapping.sql; then: cdc-bridge install --mapping my-mapping.sql"
            )
        case errors.FeatureNotSupported() | errors.ObjectNotInPrerequisiteState():
            return ""  # The hint says it.
        case _:
            return f"To see the SQL: cdc-bridge {command} --print"


def _who_may(origin: ConnectionOrigin) -> str:
    if origin.values["user"] != _DAEMON:
        return "Run it as a superuser, or as a role with CREATEROLE that owns the database and e-Res's tables."
    source = origin.sources["user"]
    unset = "Unset it, or name a DBA's:" if source == URL_VARIABLE else "Name a DBA's:"
    return f"{source} names that role. {unset} --database-url {origin.url_of('postgres')}"
