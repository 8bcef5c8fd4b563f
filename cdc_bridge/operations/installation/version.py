"""The version of the SQL side: the one that is needed, and the one that is there.

A daemon works with its own version, and with the one before once that is prepared for its own. So an upgrade goes
without an interruption: the migration's part "before", the new daemon in the place of the old one, the part "after".
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.queries import queries

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
    cursor = await connection.execute(queries["is_installed"])
    record = await cursor.fetchone()
    if record is None or not record[0]:
        return None
    cursor = await connection.execute(queries["schema_version"])
    record = await cursor.fetchone()
    return InstalledVersion(0, next_is_prepared=False) if record is None else InstalledVersion(*record)
