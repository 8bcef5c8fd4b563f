"""Installs, upgrades and uninstalls the SQL side; also as a dry run.

What runs is the text of the files in ``sql/``, one transaction each: what a DBA can read and run with psql.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.capture.triggers import capture_triggers
from cdc_bridge.connection_origin import connection_origin
from cdc_bridge.database import one_connection, problem_of
from cdc_bridge.errors import InstallationError
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.catalog_diff import difference, installed_objects, locks_on_other_tables
from cdc_bridge.schema.lock_retry import Report, run_with_lock_retry
from cdc_bridge.schema.sql_text import (
    finish_text,
    install_text,
    sql_folder,
    summary_text,
    uninstall_text,
    upgrade_texts,
    without_commit,
)
from cdc_bridge.schema.version import SCHEMA_VERSION, InstalledVersion, installed_version

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
        before = await installed_version(connection)
        plan = await _plan(connection, before, mapping)
        for number, (name, text) in enumerate(plan.steps, 1):
            if len(plan.steps) > 1:
                report(f"Running {name} ...")
            if mapping is None or number < len(plan.steps):
                await run_with_lock_retry(connection, database_url, text, report)
            else:
                await _run_judged(connection, database_url, text, plan.without_mapping, report=report, verdict=verdict)
                await connection.commit()
        after = await installed_version(connection)
        for line in await _summary(connection, before, after, plan):
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
) -> None:
    """Run an installation in one transaction, report what it changed, and roll it back.

    The arguments are those of :func:`install`.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: The installation would fail.
    """
    async with _dba_session(database_url) as connection:
        plan = await _plan(connection, await installed_version(connection), mapping)
        before = await installed_objects(connection)
        *migrations, (_, text) = plan.steps
        first = "".join(without_commit(text) for _, text in migrations)
        try:
            if mapping is None:
                await run_with_lock_retry(connection, database_url, first + without_commit(text), report)
            else:
                await _run_judged(
                    connection, database_url, first + text, first + plan.without_mapping, report=report, verdict=verdict
                )
            after = await installed_objects(connection)
            locks = await locks_on_other_tables(connection)
        finally:
            await connection.rollback()
        changes = difference(before, after)
        report(f"Changes to {connection.info.dbname}:" if changes else f"No changes to {connection.info.dbname}.")
        for change in changes:
            report(f"  {change}")
        if plan.keeps_mapping:
            report("The installed mapping would be kept.")
        for lock in locks:
            report(f"Lock on e-Res's tables until commit: {lock}")
        report("Dry run: everything was rolled back.")


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
    async with _dba_session(database_url) as connection:
        await run_with_lock_retry(connection, database_url, uninstall_text(), report)
        report(f"cdc-bridge is uninstalled from {connection.info.dbname}. e-Res's own tables are unchanged.")


async def uninstall_warning(database_url: str) -> str:
    """Return what an uninstall would delete, for the person who has to confirm it.

    Raises:
        DatabaseUnavailable: The database does not respond.
        BridgeError: The role may not read it.
    """
    async with _dba_session(database_url) as connection:
        if await installed_version(connection) is None:
            return f"cdc-bridge is not installed in {connection.info.dbname}; nothing would be deleted."
        cursor = await connection.execute(_queries["count_kept"])
        ((changes, pending),) = await cursor.fetchall()
        return (
            f"This deletes the change log ({changes} changes) and the delivery log ({pending} pending deliveries) "
            f"in {connection.info.dbname}. Changes that are not delivered by now never will be."
        )


async def _plan(connection: Connection, installed: InstalledVersion | None, mapping: Path | None) -> _Plan:
    has_mapping = installed is not None and await _has_mapping(connection)
    keeps_mapping = mapping is None and has_mapping
    if mapping is None and not has_mapping and await _attached_tables(connection):
        raise InstallationError(
            "capture is attached to a table, but the mapping is missing; it may not have been the shipped one",
            f"Name it: cdc-bridge install --mapping FILE (the shipped one is {sql_folder() / 'mapping.sql'})",
        )
    migrations = upgrade_texts(installed.number) if installed is not None and installed.is_too_old else []
    steps = (*migrations, ("install.sql", install_text(mapping, keep_mapping=keeps_mapping)))
    return _Plan(steps, keeps_mapping, install_text(keep_mapping=True))


async def _has_mapping(connection: Connection) -> bool:
    cursor = await connection.execute(_queries["has_mapping"])
    ((has_mapping,),) = await cursor.fetchall()
    return bool(has_mapping)


async def _summary(
    connection: Connection, before: InstalledVersion | None, after: InstalledVersion | None, plan: _Plan
) -> list[str]:
    cursor = await connection.execute(summary_text().encode())
    first, *lines = [line for (line,) in await cursor.fetchall()]
    if before == after:
        first = first.removesuffix(".") + " (as before)."
    if plan.keeps_mapping:
        lines.append("The installed mapping is kept. To replace it: cdc-bridge install --mapping FILE")
    if after is not None and after.is_prepared:
        lines.append(
            f"It is prepared for version {SCHEMA_VERSION}, and daemons of both versions work with it. "
            f"Start the new daemon everywhere, then, when no old one is left, run: {_FINISH}"
        )
    return [first, *lines]


async def _attached_tables(connection: Connection) -> list[str]:
    return sorted({trigger.table for trigger in await capture_triggers(connection)})


@asynccontextmanager
async def _dba_session(database_url: str) -> AsyncIterator[Connection]:
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
                error.diag.message_primary or problem_of(error), _remedy(error), more=[*hint, "Nothing was changed."]
            ) from error


def _remedy(error: psycopg.Error) -> str:
    match error:
        case errors.InsufficientPrivilege():
            return "Run it as a superuser, or as a role with CREATEROLE that owns the database and e-Res's tables."
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidTableDefinition():
            return (
                "The mapping names tables or columns that do not exist here. Write your own from the shipped one "
                f"({sql_folder() / 'mapping.sql'}) and run: cdc-bridge install --mapping FILE"
            )
        case errors.FeatureNotSupported() | errors.ObjectNotInPrerequisiteState():
            return ""  # The hint says it.
        case _:
            return "To see the SQL: cdc-bridge install --print"
