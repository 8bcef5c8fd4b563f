"""Installs, upgrades and removes the SQL side, and rehearses that.

What runs is the text of the files in ``sql/``, each one transaction: what a DBA can read and run with psql.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.capture.triggers import capture_triggers
from cdc_bridge.database import one_connection, problem_of
from cdc_bridge.errors import InstallationError
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.changes import changes_between, foreign_locks, our_objects
from cdc_bridge.schema.lock_retry import Say, run_patiently
from cdc_bridge.schema.sql_text import (
    after_text,
    install_text,
    sql_folder,
    uninstall_text,
    upgrade_texts,
    without_commit,
)
from cdc_bridge.schema.version import SCHEMA_VERSION, InstalledVersion, installed_version

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]

_FINISH = "cdc-bridge install --finish"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What has to be run in a database, in this order."""

    steps: tuple[tuple[str, str], ...]
    """Each a name and a text of SQL."""
    keeps_mapping: bool


async def install(database_url: str, mapping: Path | None, say: Say) -> None:
    """Install, or bring up to date and put right what is missing.

    A mapping that is there is kept unless another is given: a DBA may have written it.

    Args:
        database_url: as whom to run it where.
        mapping: file with the mapping; ``None``: the one for the example schema, where there is none.
        say: is told what was done.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it refused the installation; of what is named in the message before, nothing was changed.
    """
    async with _connected(database_url) as connection:
        before = await installed_version(connection)
        plan = await _plan(connection, before, mapping)
        for name, text in plan.steps:
            if len(plan.steps) > 1:
                say(f"Running {name} ...")
            await run_patiently(connection, database_url, text, say)
        after = await installed_version(connection)
        say(_installed_words(connection.info.dbname, before, after))
        if plan.keeps_mapping:
            say("The mapping that was there is kept; to put another in its place: cdc-bridge install --mapping FILE")
        for table in await _attached_tables(connection):
            say(f"Capture is attached to {table}.")
        if before is None:
            say("The daemon logs in as role cdc_bridge; give it a password in psql: \\password cdc_bridge")
        if after is not None and after.is_prepared:
            say(
                f"It is prepared for version {SCHEMA_VERSION}, and daemons of both versions work with it. "
                f"Start the new daemon everywhere, and when no old one runs any more: {_FINISH}"
            )


async def finish(database_url: str, say: Say) -> None:
    """Run what comes after the new daemons: the last part of an upgrade.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it refused, or is not prepared; nothing was changed.
    """
    async with _connected(database_url) as connection:
        before = await installed_version(connection)
        if before is None:
            raise InstallationError(
                f"the SQL side is not installed in {connection.info.dbname}", "Run: cdc-bridge install"
            )
        if before.is_prepared:
            await run_patiently(connection, database_url, after_text(), say)
            say(f"Schema cdc_bridge in {connection.info.dbname} is version {SCHEMA_VERSION} now; the upgrade is done.")
        elif before.number == SCHEMA_VERSION:
            say(
                f"There is nothing to finish: schema cdc_bridge in {connection.info.dbname} is version {before.number}."
            )
        else:
            raise InstallationError(
                f"schema cdc_bridge in {connection.info.dbname} is version {before.number}, and not prepared for "
                f"version {SCHEMA_VERSION}",
                "Run: cdc-bridge install",
            )


async def rehearse(database_url: str, mapping: Path | None, say: Say) -> None:
    """Run all of an installation in one transaction, say what it changed, and roll it back.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it would refuse.
    """
    async with _connected(database_url) as connection:
        plan = await _plan(connection, await installed_version(connection), mapping)
        before = await our_objects(connection)
        text = "".join(without_commit(text) for _, text in plan.steps)
        try:
            await run_patiently(connection, database_url, text, say)
            after = await our_objects(connection)
            locks = await foreign_locks(connection)
        finally:
            await connection.rollback()
        changes = changes_between(before, after)
        say(f"In {connection.info.dbname} this would " + ("change:" if changes else "change nothing."))
        for change in changes:
            say(f"  {change}")
        if plan.keeps_mapping:
            say("The mapping that is there would be kept.")
        for lock in locks:
            say(f"Locked on e-Res's tables, until commit: {lock}")
        say("It was tried and rolled back; nothing was changed.")


async def uninstall(database_url: str, say: Say) -> None:
    """Take everything out again.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it refused; nothing was changed.
    """
    async with _connected(database_url) as connection:
        await run_patiently(connection, database_url, uninstall_text(), say)
        say(f"cdc-bridge is out of {connection.info.dbname}; e-Res's own tables are as they were.")


async def what_uninstall_loses(database_url: str) -> str:
    """Return in words what an uninstall would delete.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it may not be looked at.
    """
    async with _connected(database_url) as connection:
        if await installed_version(connection) is None:
            return f"cdc-bridge is not installed in {connection.info.dbname}; there is nothing to lose."
        cursor = await connection.execute(_queries["what_is_kept"])
        ((changes, waiting),) = await cursor.fetchall()
        return (
            f"This deletes the change log ({changes} changes) and the ledger ({waiting} deliveries still waiting) "
            f"in {connection.info.dbname}. Changes not delivered by now never will be."
        )


async def _plan(connection: Connection, installed: InstalledVersion | None, mapping: Path | None) -> _Plan:
    cursor = await connection.execute(_queries["has_mapping"])
    ((has_mapping,),) = await cursor.fetchall()
    keeps_mapping = mapping is None and has_mapping
    if mapping is None and not has_mapping and await _attached_tables(connection):
        raise InstallationError(
            "there is no mapping here, but capture is attached to a table: there was one, maybe another than ours",
            f"Name it: cdc-bridge install --mapping FILE (the shipped one is {sql_folder() / 'mapping.sql'})",
        )
    migrations = upgrade_texts(installed.number) if installed is not None and installed.is_too_old else []
    last = ("install.sql", install_text(mapping, keep_mapping=keeps_mapping))
    return _Plan((*migrations, last), keeps_mapping)


def _installed_words(database: str, before: InstalledVersion | None, after: InstalledVersion | None) -> str:
    number = after.number if after else None
    was = " (it was before)" if before == after else ""
    return f"Schema cdc_bridge, version {number}, is installed in {database}{was}."


async def _attached_tables(connection: Connection) -> list[str]:
    return sorted({trigger.table for trigger in await capture_triggers(connection)})


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[Connection]:
    async with one_connection(database_url) as connection:
        try:
            yield connection
        except psycopg.Error as error:
            if connection.closed:
                raise  # The database is away, and that is said by whoever opened the connection.
            raise InstallationError(f"{_told(error)}\nNothing was changed.", _remedy(error)) from error


def _told(error: psycopg.Error) -> str:
    primary = error.diag.message_primary or problem_of(error)
    return f"{primary}\n{error.diag.message_hint}" if error.diag.message_hint else primary


def _remedy(error: psycopg.Error) -> str:
    match error:
        case errors.InsufficientPrivilege():
            return (
                "Run it as a superuser, or as a role with CREATEROLE that owns the database and the reservations table."
            )
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidTableDefinition():
            return (
                "The mapping names tables or columns that are not here. Write your own from the shipped one "
                f"({sql_folder() / 'mapping.sql'}) and run: cdc-bridge install --mapping FILE"
            )
        case errors.FeatureNotSupported() | errors.ObjectNotInPrerequisiteState():
            return ""
        case _:
            return "See what would be run: cdc-bridge install --print"
