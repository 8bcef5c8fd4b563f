"""Whose booking a delivery is about, and for when: read from e-Res now, for those who may see it, and kept nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.errors import DatabaseUnavailable, PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import EVERYTHING

_AT_ONCE = 100
"""As the daemon loads them."""


@dataclass(frozen=True, slots=True)
class Booking:
    """What people know a reservation by. Any of it may be missing, as payloads differ."""

    reference: str
    guest: str
    at: datetime | None
    covers: int | None
    tables: str
    contacts: Sequence[str]
    """E-mail addresses and telephone numbers."""

    def matches(self, text: str) -> bool:
        """Return whether it is one that somebody looks for, by a part of the name or of a contact, or the reference."""
        wanted = text.casefold()
        if self.reference == wanted:
            return True
        digits = "".join(filter(str.isdigit, text))
        numbers = ["".join(filter(str.isdigit, contact)) for contact in self.contacts]
        if len(digits) >= _LEAST_DIGITS and any(digits in number for number in numbers):
            return True
        addresses = [contact.casefold() for contact in self.contacts if "@" in contact]
        return wanted in self.guest.casefold() or any(wanted in address for address in addresses)


_LEAST_DIGITS = 5
"""Of a telephone number: fewer would be in many."""


async def bookings_of(sessions: Sessions, ids: Sequence[ReservationId]) -> dict[ReservationId, Booking]:
    """Return those of some reservations that can be loaded, as they are now.

    Args:
        sessions: To the database.
        ids: Their keys.
    """
    loader = ReservationLoader(EVERYTHING)
    found: dict[ReservationId, Booking] = {}
    for start in range(0, len(ids), _AT_ONCE):
        try:
            loaded = await sessions.load(partial(loader.load, reservation_ids=ids[start : start + _AT_ONCE]))
        except (PayloadInvalid, DatabaseUnavailable):
            return found  # The deliveries are shown all the same.
        for id_, reservation in loaded.reservations.items():
            found[id_] = _booking(json.loads(reservation.body))
    return found


def _booking(body: Mapping[str, Any]) -> Booking:
    customer = body.get("customer") or {}
    names = (customer.get(key) for key in ("title", "firstname", "surname"))
    contacts = (customer.get(key) for key in ("email", "phone", "mobile", "work_phone"))
    people = [body.get(key) for key in ("adults", "children")]
    covers = [number for number in people if isinstance(number, int)]
    return Booking(
        reference=_text(body.get("reference")),
        guest=" ".join(filter(None, map(_text, names))),
        at=_instant(body.get("datetime")),
        covers=sum(covers) if covers else None,
        tables=_text(body.get("tables")),
        contacts=[text for text in map(_text, contacts) if text],
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _instant(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None
