"""Writes and reads the audit log.

An entry is written over the connection of what it tells of, in its transaction if there is one: what is rolled back
was not done. What takes several transactions, as a replay does, is noted before the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.audit.actor import Actor, Via
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", re.ASCII)
_CURSOR = re.compile(r"([0-9T:.-]{19,26}Z)-([0-9]{1,18})")

Connection = AsyncConnection[TupleRow]


class Action(StrEnum):
    """What somebody did."""

    SIGNED_IN = "signed in"
    ENDPOINT_ADDED = "endpoint added"
    ENDPOINT_CHANGED = "endpoint changed"
    ENDPOINT_REMOVED = "endpoint removed"
    ENDPOINT_PAUSED = "endpoint paused"
    ENDPOINT_RESUMED = "endpoint resumed"
    PROBE_REQUESTED = "probe requested"
    ENDPOINT_TESTED = "endpoint tested"
    SECRET_ROTATED = "secret rotated"  # noqa: S105 - it is none
    SECRETS_ENCRYPTED = "secrets encrypted"
    SECRETS_DECRYPTED = "secrets decrypted"
    DELIVERY_RETRIED = "delivery retried"
    REPLAY_STARTED = "replay started"
    BACKFILL_STARTED = "backfill started"
    REPAIR_STARTED = "reconcile with repair started"
    RESERVATION_ERASED = "reservation erased"
    TOKEN_ADDED = "token added"  # noqa: S105
    TOKEN_REMOVED = "token removed"  # noqa: S105
    PORTAL_LINK_MADE = "portal link made"
    PORTAL_LINK_REVOKED = "portal link revoked"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the audit log."""

    audit_id: int
    at: datetime
    who: str
    role: str
    """Role of the database that wrote it."""
    via: str
    action: str
    endpoint: str | None
    details: Mapping[str, Any]

    @property
    def told_who(self) -> str:
        """Who did it, for people; of a command, with the role that it used."""
        return f"{self.who} ({self.role})" if self.via == Via.COMMAND else self.who

    @property
    def told_details(self) -> str:
        """The details, for people."""
        return ", ".join(f"{name.replace('_', ' ')}: {_told(value)}" for name, value in self.details.items())


def _told(value: Any) -> str:
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return f"{value[:10]} {value[11:19]} UTC"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list; the next page has what comes after it."""

    at: datetime
    audit_id: int

    def __str__(self) -> str:
        return f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}-{self.audit_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse what ``str`` returned.

        Raises:
            ValueError: It is not a cursor.
        """
        if (match := _CURSOR.fullmatch(text)) is None:
            raise ValueError("is not a cursor of this list")
        try:
            return cls(datetime.fromisoformat(match[1]).astimezone(UTC), int(match[2]))
        except (ValueError, OverflowError):
            raise ValueError("is not a cursor of this list") from None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of the list."""

    entries: Sequence[Entry]
    next: Cursor | None
    """Where the next page starts; ``None``: this is the last one."""


async def record(
    connection: Connection, by: Actor, action: Action, endpoint: str | None = None, **details: object
) -> None:
    """Write an entry.

    Args:
        connection: That of what was done, in its transaction if there is one.
        by: Who did it.
        action: What was done.
        endpoint: Name of the endpoint that it is about.
        details: What else there is to know: no secret, and no key of a reservation. ``None`` is left out.
    """
    await record_many(connection, by, [(action, endpoint, details)])


async def record_many(
    connection: Connection, by: Actor, done: Sequence[tuple[Action, str | None, Mapping[str, object]]]
) -> None:
    """Write several entries: for each what was done, the endpoint's name, and details."""
    address = {} if by.address is None else {"address": by.address}
    await connection.execute(
        _queries["append_audit"],
        {
            "who": by.who,
            "via": by.via.value,
            "actions": [action.value for action, _, _ in done],
            "endpoints": [endpoint for _, endpoint, _ in done],
            "details": [_json({**details, **address}) for _, _, details in done],
        },
    )


def _json(details: Mapping[str, object]) -> str:
    known = {name: value for name, value in details.items() if value is not None}
    return orjson.dumps(known, option=orjson.OPT_UTC_Z).decode()


async def entries(
    connection: Connection, limit: int, *, since: datetime | None = None, after: Cursor | None = None
) -> AuditPage:
    """Return a page of the audit log, newest first.

    Args:
        connection: To the database.
        limit: Most entries that are returned.
        since: Only what was done at this time or later.
        after: Where the previous page ended; ``None``: the first page.
    """
    parameters = {
        "since": since,
        "before_at": None if after is None else after.at,
        "before_id": None if after is None else after.audit_id,
        "limit": limit + 1,
    }
    async with connection.cursor(row_factory=class_row(Entry)) as cursor:
        await cursor.execute(_queries["audit_entries"], parameters, prepare=False)
        found = await cursor.fetchall()
    shown = found[:limit]
    return AuditPage(shown, Cursor(shown[-1].at, shown[-1].audit_id) if len(found) > limit else None)
