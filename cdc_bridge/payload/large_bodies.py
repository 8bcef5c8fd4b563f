"""Counts the bytes of large bodies in memory, of all endpoints of a daemon."""

from __future__ import annotations

from weakref import finalize

from cdc_bridge.payload.loaded import ROOM_BYTES, SMALL_BYTES, Reservation

MOST_BYTES = 4 * ROOM_BYTES
"""Bytes from which on an endpoint gets one large body at a time. Without any it always gets one, so none has to wait
for another."""


class LargeBodies:
    """The bodies in memory that are not small: each counts once, for as long as anybody holds its reservation."""

    def __init__(self) -> None:
        self._bytes = 0

    @property
    def room_bytes(self) -> int:
        """What is left of :data:`MOST_BYTES`."""
        return max(0, MOST_BYTES - self._bytes)

    def count(self, reservation: Reservation) -> None:
        """Count a reservation that was loaded."""
        if (size := len(reservation.body)) > SMALL_BYTES:
            self._bytes += size
            finalize(reservation, self._forget, size).atexit = False

    def _forget(self, size: int) -> None:
        self._bytes -= size
