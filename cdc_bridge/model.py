"""The values that the stages of a delivery hand on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

_USER = re.compile(r"^([^/?#]*//)?[^/?#]*@")

Xid = NewType("Xid", int)
"""A PostgreSQL transaction id (``xid8``: 64 bits, never wraps)."""

Seq = NewType("Seq", int)
"""A change's number in the change log. It grows with each committed change of one reservation."""

History = NewType("History", int)
"""A history of the data, which a crash or a fail-over ends (``sql/tables/history.sql``). A later one is higher."""

ReservationId = NewType("ReservationId", str)
"""The reservation's key in its text form, whatever its type in the table."""


EndpointId = NewType("EndpointId", int)


class Operation(StrEnum):
    """What a change did to its reservation."""

    CREATED = "created"
    UPDATED = "updated"


class Events(StrEnum):
    """Which changes an endpoint gets."""

    BOTH = "both"
    CREATED = "created"
    UPDATED = "updated"

    def includes(self, operation: Operation) -> bool:
        """Return whether changes that did this to their reservation are among them."""
        return self is Events.BOTH or self.value == operation.value


@dataclass(frozen=True, slots=True)
class Change:
    """One reservation inserted or updated by one committed transaction."""

    seq: Seq
    reservation_id: ReservationId
    operation: Operation
    changed_at: datetime

    @property
    def key_bytes(self) -> int:
        """Size of the reservation's key: what bounds the memory of long keys."""
        return len(self.reservation_id.encode())


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
    """The reservation was deleted."""
    FILTERED = "filtered"
    """It is not in the endpoint's payload, or does not meet its conditions."""
    EVENT = "event"
    """The endpoint does not get such changes."""
    UNCHANGED = "unchanged"
    """The body is the one that was delivered last."""


def without_secrets(url: str) -> str:
    """Return an endpoint's URL for display: without user, password, query and fragment, any of which may be secret.

    The view ``cdc_bridge.endpoint_status`` does the same for readers. A URL that psql wrote may be no URL at all.
    """
    address, question_mark, _ = url.partition("#")[0].partition("?")
    return _USER.sub(r"\1", f"{address}?..." if question_mark else address)
