"""The values that travel from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NewType

Xid = NewType("Xid", int)
"""A PostgreSQL transaction id (``xid8``: 64 bits, never wraps)."""

Seq = NewType("Seq", int)
"""A change's number in the change log; grows with each committed change of one reservation."""

ReservationId = NewType("ReservationId", str)
"""The reservation's key in its text form, whatever its type in the table."""


EndpointId = NewType("EndpointId", int)


class Operation(StrEnum):
    """What a change did to its reservation."""

    CREATED = "created"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Change:
    """One reservation inserted or updated by one committed transaction."""

    seq: Seq
    reservation_id: ReservationId
    operation: Operation
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A change on its way to an endpoint."""

    change: Change
    attempts: int = 0
    """Calls made for it so far."""
    failures: int = 0
    """Those of them whose refusal was put down to it: its place in the schedule."""
    xid: Xid | None = None
    """The transaction that made the change; ``None``: it comes from the ledger, which keeps none."""

    def tried(self) -> Delivery:
        """Return it with one attempt more."""
        return replace(self, attempts=self.attempts + 1)


class DeliveryState(StrEnum):
    """Where a delivery stands in the ledger; ``sql/tables/delivery.sql`` says what each means."""

    QUEUED = "queued"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    SKIPPED = "skipped"

    @property
    def is_pending(self) -> bool:
        """Whether an attempt is still to be made."""
        return self in {DeliveryState.QUEUED, DeliveryState.RETRYING}


class SkipReason(StrEnum):
    """Why a delivery was skipped."""

    DELETED = "deleted"


def without_query(url: str) -> str:
    """Return an endpoint's URL as it is shown: without its query, in which some put a token."""
    address, question_mark, _ = url.partition("?")
    return f"{address}?..." if question_mark else address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is called, and how."""

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    secret: bytes | None = field(repr=False)
    """Signing key, decoded; ``None``: calls are not signed."""
    previous_secret: bytes | None = field(repr=False)
    """The key before; calls are signed with both until ``previous_secret_until``."""
    previous_secret_until: datetime | None
    ca_file: Path | None
    """CA certificates that alone are trusted; ``None``: the system's."""
    client_certificate_file: Path | None
    """Certificate (chain) that we show to an endpoint that asks for one (mTLS)."""
    client_key_file: Path | None
    """Its key; ``None``: it is in the same file."""
    max_in_flight: int
    latest_only: bool
    """Whether one call stands for several changes of a reservation that wait."""
    timeout_seconds: float
    connect_timeout_seconds: float

    @property
    def shown_url(self) -> str:
        """The URL for logs and pages."""
        return without_query(self.url)

    def secrets_at(self, now: datetime) -> tuple[bytes, ...]:
        """Return the keys that a call is signed with, the current one first."""
        rotating = self.previous_secret_until is not None and now < self.previous_secret_until
        keys = (self.secret, self.previous_secret if rotating else None)
        return tuple(key for key in keys if key is not None)
