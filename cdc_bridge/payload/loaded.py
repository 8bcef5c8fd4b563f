"""What a load of reservations finds, and the bounds of its memory.

Memory is bounded by bytes. Most reservations have a few kilobytes: one query loads those of up to
:data:`SMALL_BYTES`. What it leaves out is measured, without being read, and loaded one by one as far as there is room.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cdc_bridge.model import ReservationId

SMALL_BYTES = 65_536
"""Size up to which reservations are loaded together."""

MAX_BODY_BYTES = 16_777_216
"""Default size of a body that is not sent any more."""

ROOM_BYTES = 16_777_216
"""Room for the bodies that are not small; one that has more is loaded if there is no other."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Reservation:
    """A reservation as it was when it was loaded."""

    id: ReservationId
    subject: str
    """Its ``id`` as the body has it."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """Some reservations. One that is in none of these was deleted."""

    reservations: dict[ReservationId, Reservation] = field(default_factory=dict)
    unreadable: dict[ReservationId, str] = field(default_factory=dict)
    """Those that cannot be loaded, as on a value that cannot be cast, and why."""
    postponed: frozenset[ReservationId] = frozenset()
    """Those for which there was no room in this load."""
    alone_at_fault: frozenset[ReservationId] = frozenset()
    """Those of the unreadable ones that say nothing of the others: too large, or missing where nothing is captured."""
    filtered: frozenset[ReservationId] = frozenset()
    """Those that the endpoint does not get."""
