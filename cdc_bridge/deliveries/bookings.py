"""Whose booking a delivery is about, and for when: read from e-Res now, for those who may see it, and kept nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import psycopg

from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.errors import DatabaseUnavailable, PayloadInvalid
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.column_values import ColumnValues, Texts, read_values
from cdc_bridge.payload.definition import payload_definition
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import EVERYTHING
from cdc_bridge.sessions import LoadingConnection

_AT_ONCE = 100
"""As the daemon loads them."""
_NAMES = ("title", "firstname", "surname")
_CONTACTS = ("email", "phone", "mobile", "work_phone")
_SEARCHED = ("reference", *(f"customer.{name}" for name in (*_NAMES, *_CONTACTS)))
"""Columns of the payload that people search by."""


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
    for part in _parts(ids):
        try:
            found |= await _load(sessions, loader, part)
        except (PayloadInvalid, DatabaseUnavailable):
            return found  # The deliveries are shown all the same.
    return found


def _parts(ids: Sequence[ReservationId]) -> Iterator[Sequence[ReservationId]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


async def _load(
    sessions: Sessions, loader: ReservationLoader, ids: Sequence[ReservationId]
) -> dict[ReservationId, Booking]:
    loaded = await sessions.load(partial(loader.load, reservation_ids=ids))
    return {id_: _booking(json.loads(reservation.body)) for id_, reservation in loaded.reservations.items()}


async def matching(sessions: Sessions, ids: Sequence[ReservationId], text: str) -> set[ReservationId]:
    """Return those of some reservations whose booking somebody looks for.

    Nothing is read of them but what people search by, at a tenth of the cost of loading them.

    Args:
        sessions: To the database.
        ids: Their keys.
        text: What is looked for.

    Raises:
        PayloadInvalid: The payload is not defined, or what it reads is no longer there: nobody can be found.
    """
    if not ids:
        return set()
    definition = await sessions.read(partial(payload_definition, name=EVERYTHING.payload))
    columns = [column for column in _SEARCHED if column in definition.columns]
    values = await sessions.load(partial(_values, columns=columns, ids=ids))
    if values is not None:
        bookings = [(id_, _booking(_nested(columns, row))) for id_, rows in values.rows.items() for row in rows]
    else:
        loader = ReservationLoader(EVERYTHING)
        bookings = [pair for part in _parts(ids) for pair in (await _load(sessions, loader, part)).items()]
    return {id_ for id_, booking in bookings if booking.matches(text)}


async def _values(
    connection: LoadingConnection, columns: Sequence[str], ids: Sequence[ReservationId]
) -> ColumnValues | None:
    """Read columns of some reservations; ``None``: one of them is at fault, and hides the others."""
    try:
        return await read_values(connection, EVERYTHING.payload, columns, ids)
    except psycopg.Error as error:
        if connection.closed or isinstance(error, psycopg.OperationalError):
            raise
        return None


def _nested(columns: Sequence[str], texts: Texts) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for column, text in zip(columns, texts, strict=True):
        outer, _, inner = column.rpartition(".")
        (body.setdefault(outer, {}) if outer else body)[inner] = text
    return body


def _booking(body: Mapping[str, Any]) -> Booking:
    customer = body.get("customer") or {}
    names = (customer.get(key) for key in _NAMES)
    contacts = (customer.get(key) for key in _CONTACTS)
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
