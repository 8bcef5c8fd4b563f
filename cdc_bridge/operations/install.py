"""Installs and removes the SQL side.

What runs is the text of ``sql/install.sql`` and ``sql/uninstall.sql`` with the files they name put in their
places: the very text that ``--print`` shows and that a DBA can run with psql.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import cast

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.database import one_connection, problem_of
from cdc_bridge.errors import BridgeError, InstallationError
from cdc_bridge.queries import queries

_INCLUDE = re.compile(r"^\\ir (?P<file>\S+)\n", re.MULTILINE)
_MAPPING = "mapping.sql"
_LOCK_TRIES = 5
_LOCK_PAUSE_SECONDS = 2.0

Say = Callable[[str], None]


def sql_folder() -> Path:
    """Return the folder of SQL files: the package's, or in a checkout the repository's."""
    with as_file(files("cdc_bridge")) as package:
        packaged = package / "sql"
        return packaged if packaged.is_dir() else package.parent / "sql"


def install_text(mapping: Path | None = None, *, keep_mapping: bool = False) -> str:
    """Return the SQL that installs or upgrades, in one piece.

    Args:
        mapping: another mapping than the one for the example schema.
        keep_mapping: leave the mapping out; the one in the database stays.

    Raises:
        BridgeError: the mapping cannot be read.
    """
    replacements = {_MAPPING: "" if keep_mapping else _mapping_text(mapping)}
    return _expanded(sql_folder() / "install.sql", replacements)


def uninstall_text() -> str:
    """Return the SQL that takes everything out again."""
    return _expanded(sql_folder() / "uninstall.sql", {})


def _mapping_text(mapping: Path | None) -> str:
    path = mapping or sql_folder() / _MAPPING
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BridgeError(
            f"the mapping {path} cannot be read: {error}", "Name a file with SQL: --mapping FILE"
        ) from error


def _expanded(file: Path, replacements: dict[str, str]) -> str:
    def included(match: re.Match[str]) -> str:
        name = match["file"]
        return replacements[name] if name in replacements else (file.parent / name).read_text(encoding="utf-8")

    return _INCLUDE.sub(included, file.read_text(encoding="utf-8"))


async def install(database_url: str, mapping: Path | None, say: Say) -> None:
    """Install or upgrade. A mapping that is there is kept unless another is given: a DBA may have written it.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it refused the installation; nothing was changed.
    """
    async with one_connection(database_url) as connection:
        before = await _installed_version(connection)
        keep_mapping = mapping is None and await _has_mapping(connection)
        await _run(connection, install_text(mapping, keep_mapping=keep_mapping), say)
        after = await _installed_version(connection)
        database = connection.info.dbname
        say(
            f"Schema cdc_bridge, version {after}, is installed in {database}"
            + (" (it was before)." if before == after else ".")
        )
        if keep_mapping:
            say("The mapping that was there is kept; to put another in its place: cdc-bridge install --mapping FILE")
        for table in await _attached_tables(connection):
            say(f"Capture is attached to {table}.")
        say("The daemon logs in as role cdc_bridge; give it a password in psql: \\password cdc_bridge")


async def uninstall(database_url: str, say: Say) -> None:
    """Take everything out again.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it refused; nothing was changed.
    """
    async with one_connection(database_url) as connection:
        await _run(connection, uninstall_text(), say)
        say(f"cdc-bridge is out of {connection.info.dbname}; e-Res's own tables are as they were.")


async def what_uninstall_loses(database_url: str) -> str:
    """Return in words what an uninstall would delete.

    Raises:
        DatabaseUnavailable: the database does not answer.
        BridgeError: it may not be looked at.
    """
    async with one_connection(database_url) as connection:
        if await _installed_version(connection) is None:
            return f"cdc-bridge is not installed in {connection.info.dbname}; there is nothing to lose."
        changes, waiting = await _record(connection, "what_is_kept")
        return (
            f"This deletes the change log ({changes} changes) and the ledger ({waiting} deliveries still waiting) "
            f"in {connection.info.dbname}. Changes not delivered by now never will be."
        )


async def _run(connection: AsyncConnection[TupleRow], text: str, say: Say) -> None:
    for tries_left in reversed(range(_LOCK_TRIES)):
        try:
            await connection.execute(text.encode())
        except errors.LockNotAvailable as error:
            await connection.rollback()
            if not tries_left:
                raise InstallationError(
                    "the reservations table stayed locked by other sessions; nothing was changed",
                    "Try again at a quieter time, or end the session that holds the lock (pg_stat_activity, pg_locks).",
                ) from error
            say(f"The reservations table is locked by another session{await _blockers(connection)}; trying again ...")
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)
        except psycopg.Error as error:
            raise InstallationError(f"{_told(error)}\nNothing was changed.", _remedy(error)) from error
        else:
            return


async def _blockers(connection: AsyncConnection[TupleRow]) -> str:
    cursor = await connection.execute(queries["oldest_lock_holders"])
    pids = [str(pid) for (pid,) in await cursor.fetchall()]
    return f" (oldest: pid {', '.join(pids)})" if pids else ""


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
                f"({sql_folder() / _MAPPING}) and run: cdc-bridge install --mapping FILE"
            )
        case errors.FeatureNotSupported() | errors.ObjectNotInPrerequisiteState():
            return ""
        case _:
            return "See what would be run: cdc-bridge install --print"


async def _record(connection: AsyncConnection[TupleRow], name: str) -> TupleRow:
    try:
        cursor = await connection.execute(queries[name])
    except errors.InsufficientPrivilege as error:
        raise InstallationError(_told(error), _remedy(error)) from error
    record = await cursor.fetchone()
    return cast("TupleRow", record)


async def _installed_version(connection: AsyncConnection[TupleRow]) -> int | None:
    (there,) = await _record(connection, "is_installed")
    return (await _record(connection, "schema_version"))[0] if there else None


async def _has_mapping(connection: AsyncConnection[TupleRow]) -> bool:
    return bool((await _record(connection, "has_mapping"))[0])


async def _attached_tables(connection: AsyncConnection[TupleRow]) -> list[str]:
    cursor = await connection.execute(queries["capture_triggers"])
    return sorted({record[0] for record in await cursor.fetchall()})
