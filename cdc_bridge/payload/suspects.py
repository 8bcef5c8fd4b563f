"""Reservations whose loads failed as if the database were away, or took too long."""

from __future__ import annotations

from collections.abc import Iterable

from cdc_bridge.model import ReservationId

_ALONE_AFTER = 2
_LEFT_OUT_AFTER = 3
_MOST_SUSPECTS = 10_000

ENDS_SESSIONS = "PostgreSQL ended the session each time that it was loaded"


class SuspectReservations:
    """Reservations of a payload that are loaded by themselves, so that others do not wait for them.

    If a load fails as if the database were away, as a rule it was, and the reservations have nothing to do with it. But
    a row can do that as well: by a function that fails under an odd SQLSTATE, or by a fault of PostgreSQL or an
    extension that ends all sessions of the server. So one that was twice among those that were being loaded is loaded
    by itself, and one that failed again is left out once. One that took too long by itself is a suspect at once.
    """

    def __init__(self) -> None:
        self._failures: dict[ReservationId, int] = {}

    def is_alone(self, id_: ReservationId) -> bool:
        """Return whether a reservation is to be loaded by itself."""
        return self._failures.get(id_, 0) >= _ALONE_AFTER

    def is_left_out(self, id_: ReservationId) -> bool:
        """Return whether a reservation is not to be loaded now; the next time it is tried once more."""
        if self._failures.get(id_, 0) < _LEFT_OUT_AFTER:
            return False
        self._failures[id_] = _ALONE_AFTER
        return True

    def failed(self, reservation_ids: Iterable[ReservationId]) -> None:
        """Note that a load failed as if the database were away."""
        if len(self._failures) < _MOST_SUSPECTS:
            self._failures |= {id_: self._failures.get(id_, 0) + 1 for id_ in reservation_ids}

    def slow(self, reservation_ids: Iterable[ReservationId]) -> None:
        """Note those that took too long by themselves."""
        if len(self._failures) < _MOST_SUSPECTS:
            self._failures |= {id_: max(_ALONE_AFTER, self._failures.get(id_, 0)) for id_ in reservation_ids}

    def passed(self, reservation_ids: Iterable[ReservationId]) -> None:
        """Note those that are no suspects any more."""
        if self._failures:
            for id_ in reservation_ids:
                self._failures.pop(id_, None)
