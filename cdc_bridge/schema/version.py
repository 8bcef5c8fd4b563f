"""The schema version that this release needs, and the one that is installed.

A daemon works with its own version, and with the one before once that is prepared for its own. So an upgrade needs no
downtime: the migration's part "before", the new daemon in place of the old one, the part "after".
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

SCHEMA_VERSION = 1
"""The version that this release installs and its daemon needs; ``sql/install.sql`` has the same number."""


@dataclass(frozen=True, slots=True)
class InstalledVersion:
    """The installed version, compared with :data:`SCHEMA_VERSION`."""

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
        """Whether a later release installed it."""
        return self.number > SCHEMA_VERSION


async def is_installed(connection: AsyncConnection[TupleRow]) -> bool:
    """Return whether the SQL side is installed, in any version."""
    cursor = await connection.execute(_queries["is_installed"])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def installed_version(connection: AsyncConnection[TupleRow]) -> InstalledVersion | None:
    """Return the installed version; ``None``: nothing is installed."""
    if not await is_installed(connection):
        return None
    cursor = await connection.execute(_queries["schema_version"])
    row = await cursor.fetchone()
    return InstalledVersion(0, next_is_prepared=False) if row is None else InstalledVersion(*row)


async def require_installed(connection: AsyncConnection[TupleRow]) -> InstalledVersion:
    """Return the installed version, if this release works with it.

    Raises:
        InstallationError: The schema is missing, too old, too new or cannot be read.
    """
    try:
        version = await installed_version(connection)
    except psycopg.errors.InsufficientPrivilege:
        user = connection.info.user
        grants = (
            "Run in psql: grant usage on schema cdc_bridge to cdc_bridge; "
            "grant select on cdc_bridge.schema_version to cdc_bridge;"
        )
        raise InstallationError(
            f"role {user} may not read cdc_bridge.schema_version",
            grants if user == "cdc_bridge" else "Log in as role cdc_bridge.",
        ) from None
    if version is None:
        raise InstallationError(
            f"cdc-bridge is not installed in database {connection.info.dbname}", f"Run as a DBA: {INSTALL}"
        )
    if version.is_too_new:
        raise InstallationError(
            f"schema version {version.number} is newer than version {SCHEMA_VERSION}, which this release supports",
            "Upgrade cdc-bridge.",
        )
    if version.is_too_old:
        raise InstallationError(
            f"schema version {version.number} is older than version {SCHEMA_VERSION}, which this release needs",
            f"Run as a DBA: {INSTALL}",
        )
    return version
