"""The version of the SQL side: the one that is needed, and the one that is there.

A daemon works with its own version, and with the one before once that is prepared for its own. So an upgrade goes
without an interruption: the migration's part "before", the new daemon in the place of the old one, the part "after".
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.errors import InstallationError
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

INSTALL = "cdc-bridge install"

SCHEMA_VERSION = 2
"""The version of the SQL side that this release installs and its daemon works with."""


@dataclass(frozen=True, slots=True)
class InstalledVersion:
    """What is there."""

    number: int
    next_is_prepared: bool
    """Whether the part "before" of the next version's migration was run."""

    @property
    def is_too_old(self) -> bool:
        """Whether this release's daemon does not work with it."""
        return self.number < SCHEMA_VERSION and not self.is_prepared

    @property
    def is_prepared(self) -> bool:
        """Whether it is the version before, prepared for this release's daemon."""
        return self.number == SCHEMA_VERSION - 1 and self.next_is_prepared

    @property
    def is_too_new(self) -> bool:
        """Whether a later release has made it."""
        return self.number > SCHEMA_VERSION


async def installed_version(connection: AsyncConnection[TupleRow]) -> InstalledVersion | None:
    """Return the version that is installed; ``None``: there is none.

    Raises:
        psycopg.Error: the database could not be read, or the role may not read it.
    """
    cursor = await connection.execute(_queries["is_installed"])
    record = await cursor.fetchone()
    if record is None or not record[0]:
        return None
    cursor = await connection.execute(_queries["schema_version"])
    record = await cursor.fetchone()
    return InstalledVersion(0, next_is_prepared=False) if record is None else InstalledVersion(*record)


async def require_installed(connection: AsyncConnection[TupleRow]) -> InstalledVersion:
    """Return the installed version, one that this version of the bridge works with.

    Raises:
        InstallationError: The schema is missing, too old, too new or cannot be read.
    """
    try:
        version = await installed_version(connection)
    except psycopg.errors.InsufficientPrivilege:
        raise InstallationError(
            f"role {connection.info.user} may not read cdc_bridge.schema_version",
            "Log in as role cdc_bridge, or run in psql: grant usage on schema cdc_bridge to cdc_bridge; "
            "grant select on cdc_bridge.schema_version to cdc_bridge;",
        ) from None
    if version is None:
        raise InstallationError(
            f"the SQL side is not installed in {connection.info.dbname}", f"Run as a DBA: {INSTALL}"
        )
    if version.is_too_new:
        raise InstallationError(
            f"schema version {version.number} is newer than the {SCHEMA_VERSION} this daemon knows",
            "Upgrade cdc-bridge.",
        )
    if version.is_too_old:
        raise InstallationError(
            f"schema version {version.number} is older than the {SCHEMA_VERSION} needed", f"Run as a DBA: {INSTALL}"
        )
    return version
