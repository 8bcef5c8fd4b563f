"""What was reported last, kept in the database, so that one of several daemons sends alerts and the next goes on."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.alerts.decision import Reported, State
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """The row of ``cdc_bridge.alert``."""

    version: int
    reported: Reported
    reported_by: str
    """Name of the daemon that sends the alert."""
    is_live: bool
    """Whether that daemon runs."""
    unsent: bool
    """Whether it is not sent yet."""
    problem: str | None = None
    """Why it could not be sent."""


NOTHING_REPORTED = AlertRecord(0, Reported(), "", is_live=False, unsent=False)


async def read(connection: AsyncConnection[TupleRow]) -> AlertRecord:
    """Return what was reported last."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["read_alert"])
        row = await cursor.fetchone()
    if row is None:
        return NOTHING_REPORTED
    reported = Reported(State(row["state"]), row["reported_at"], row["red_at"], row["alerts"], frozenset(row["about"]))
    return AlertRecord(row["version"], reported, row["reported_by"], row["is_live"], row["unsent"], row["problem"])


async def claim(connection: AsyncConnection[TupleRow], before: AlertRecord, reported: Reported, daemon: str) -> bool:
    """Write what will be reported; return whether this daemon has to send it: no other one was first.

    Args:
        connection: To the database.
        before: What was read.
        reported: What will have been reported.
        daemon: This daemon's name.
    """
    cursor = await connection.execute(
        _queries["claim_alert"],
        {
            "before": before.version,
            "state": reported.state.value,
            "reported_at": reported.reported_at,
            "red_at": reported.red_at,
            "alerts": reported.alerts,
            "about": sorted(reported.about),
            "daemon": daemon,
        },
    )
    return cursor.rowcount == 1


async def note_sending(
    connection: AsyncConnection[TupleRow], daemon: str, *, unsent: bool, problem: str | None
) -> None:
    """Write whether the last alert of this daemon is sent, and why not."""
    await connection.execute(_queries["note_alert"], {"daemon": daemon, "unsent": unsent, "problem": problem})
