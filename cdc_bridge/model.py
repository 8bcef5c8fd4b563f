"""The values that the stages of a delivery hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NewType

Xid = NewType("Xid", int)
"""A PostgreSQL transaction id (``xid8``: 64 bits, never wraps)."""

Seq = NewType("Seq", int)
"""A change's number in the change log. It grows with each committed change of one reservation."""

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


class DeliveryState(StrEnum):
    """State of a delivery in the delivery log; ``sql/tables/delivery.sql`` says what each means."""

    QUEUED = "queued"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    SKIPPED = "skipped"

    @property
    def is_pending(self) -> bool:
        """Whether an attempt is still to be made."""
        return self is DeliveryState.QUEUED or self is DeliveryState.RETRYING


class SkipReason(StrEnum):
    """Why a delivery was skipped."""

    DELETED = "deleted"


def without_query(url: str) -> str:
    """Return an endpoint's URL for display: without its query, which may hold a token."""
    address, question_mark, _ = url.partition("?")
    return f"{address}?..." if question_mark else address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where deliveries go, and how they are sent."""

    name: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    secret: bytes | None = field(repr=False)
    """Signing key, decoded; ``None``: requests are not signed."""
    previous_secret: bytes | None = field(repr=False)
    """The key before a rotation; requests are signed with both until ``previous_secret_until``."""
    previous_secret_until: datetime | None
    ca_file: Path | None
    """The only CA certificates that are trusted; ``None``: the system's."""
    client_certificate_file: Path | None
    """Client certificate (chain) for mutual TLS."""
    client_key_file: Path | None
    """Key of the client certificate; ``None``: it is in the same file."""
    max_in_flight: int
    latest_only: bool
    """Whether the newest queued change of a reservation supersedes the older ones."""
    timeout_seconds: float
    connect_timeout_seconds: float

    @property
    def shown_url(self) -> str:
        """The URL for logs and the dashboard."""
        return without_query(self.url)

    def secrets_at(self, now: datetime) -> tuple[bytes, ...]:
        """Return the keys that a request is signed with, the current one first."""
        rotating = self.previous_secret_until is not None and now < self.previous_secret_until
        keys = (self.secret, self.previous_secret if rotating else None)
        return tuple(key for key in keys if key is not None)
