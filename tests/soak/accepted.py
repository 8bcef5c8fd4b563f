"""What a receiver accepted, checked as it arrives; of each reservation only the last is kept."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

_IDS_KEPT = 4
"""Of a reservation's accepted requests: those that a daemon may have sent before it was killed, and another again."""
_EXAMPLES = 10


def content_of(reservation_id: str, version: int, notes: str) -> int:
    """Return a fingerprint of what the writers change of a reservation."""
    return int.from_bytes(blake2b(f"{reservation_id} {version} {notes}".encode(), digest_size=8).digest())


@dataclass(slots=True)
class _Last:
    sequence: int
    version: int
    content: int
    ids: deque[int] = field(default_factory=lambda: deque(maxlen=_IDS_KEPT))


class Accepted:
    """The accepted requests of all endpoints."""

    def __init__(self, restaurants: int) -> None:
        """Expect reservations.

        Args:
            restaurants: How many; a reservation's is the remainder of its reference.
        """
        self._restaurants = restaurants
        self._last: dict[str, _Last] = {}
        self.counts: Counter[str] = Counter()
        """How many were accepted, and how many of them are wrong in which way."""
        self.examples: list[str] = []
        """Of what is wrong."""

    def take(self, endpoint: int, message_id: str, sequence: int, body: bytes) -> None:
        """Check a request and keep what the next one of its reservation has to be compared with."""
        reservation: dict[str, Any] = orjson.loads(body)
        reservation_id, version = reservation["id"], int(reservation["duration"])
        self.counts["accepted"] += 1
        if reservation["reference"] % self._restaurants != endpoint:
            self._note("misrouted", f"{reservation_id} arrived at e{endpoint}")
        last = self._last.setdefault(reservation_id, _Last(sequence, version, 0))
        short_id = hash(message_id)
        if short_id in last.ids:
            self.counts["repeated"] += 1
        elif sequence < last.sequence or version < last.version:
            was = f"{last.sequence} with version {last.version}"
            self._note("out of order", f"{reservation_id} at e{endpoint}: {sequence} with {version} after {was}")
        if (sequence, version) >= (last.sequence, last.version):
            last.sequence, last.version = sequence, version
            last.content = content_of(reservation_id, version, reservation["notes"])
        last.ids.append(short_id)

    def _note(self, what: str, example: str) -> None:
        self.counts[what] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{what}: {example}")

    def contents(self) -> dict[str, int]:
        """Return the fingerprint of the last content of each reservation."""
        return {reservation_id: last.content for reservation_id, last in self._last.items()}
