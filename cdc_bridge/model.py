"""The values that travel from step to step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
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


def without_query(url: str) -> str:
    """Return an endpoint's URL as it is shown: without its query, in which some put a token."""
    address, question_mark, _ = url.partition("?")
    return f"{address}?..." if question_mark else address
