"""What breaks during a soak test, and when: decided beforehand from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Mode = Literal["reject", "hang"]

_OUTAGES_EVERY_SECONDS = 3.0
_REFUSING_PART = 0.1
_LONGEST_OUTAGE_SECONDS = 60.0
_LARGEST_OUTAGE_PART = 0.01
"""Of the endpoints."""
_KILLS_EVERY_SECONDS = 45.0
_LONGEST_ABSENCE_SECONDS = 15.0
_RESTARTS_EVERY_SECONDS = 150.0
_BEGINS, _ENDS = 0.05, 0.95
"""Parts of the whole time: before, all endpoints are leased; afterwards everything recovers."""
STEADY, OTHER = 0, 1
"""The daemons. From some time on the first is left alone, so that its memory can be compared with itself."""
STEADY_FROM = 0.2
"""Part of the whole time."""


@dataclass(frozen=True)
class Outage:
    """Some endpoints reject all requests with a 5xx, or never respond."""

    at: float
    seconds: float
    mode: Mode
    endpoints: tuple[int, ...]


@dataclass(frozen=True)
class ClosedPort:
    """All endpoints of a port refuse connections."""

    at: float
    seconds: float
    port: int


@dataclass(frozen=True)
class Kill:
    """A daemon is killed, and started again later."""

    at: float
    seconds: float
    daemon: int


@dataclass(frozen=True)
class Restart:
    """PostgreSQL is stopped and started again."""

    at: float
    mode: Literal["fast", "immediate"]


Event = Outage | ClosedPort | Kill | Restart


def plan(seed: int, seconds: float, *, endpoints: int, ports: int) -> list[Event]:
    """Return what breaks, by its time.

    Args:
        seed: Of all randomness.
        seconds: How long it is to go on; all has ended before that.
        endpoints: How many there are.
        ports: How many they share.
    """
    chance = random.Random(seed)
    events = (*_outages(chance, seconds, endpoints, ports), *_kills(chance, seconds), *_restarts(chance, seconds))
    return sorted(events, key=lambda event: event.at)


def _times(chance: random.Random, seconds: float, every_seconds: float) -> Iterator[float]:
    """Yield times at random, one at least."""
    for _ in range(max(1, round(seconds / every_seconds))):
        yield chance.uniform(_BEGINS, _ENDS) * seconds


def _outages(chance: random.Random, seconds: float, endpoints: int, ports: int) -> Iterator[Event]:
    most = max(1, round(endpoints * _LARGEST_OUTAGE_PART))
    for at in _times(chance, seconds, _OUTAGES_EVERY_SECONDS):
        lasts = min(_duration(chance, _LONGEST_OUTAGE_SECONDS, seconds), _ENDS * seconds - at)
        if chance.random() < _REFUSING_PART:
            yield ClosedPort(at, lasts, chance.randrange(ports))
        else:
            which = chance.sample(range(endpoints), chance.randint(1, most))
            yield Outage(at, lasts, chance.choice(("reject", "hang")), tuple(which))


def _kills(chance: random.Random, seconds: float) -> Iterator[Event]:
    yield Kill(chance.uniform(_BEGINS, STEADY_FROM) * seconds, 0.0, STEADY)
    # Then the steady one leases all endpoints before its memory counts.
    yield Kill(STEADY_FROM * seconds, min(_LONGEST_ABSENCE_SECONDS, seconds / 6), OTHER)
    for at in _times(chance, seconds, _KILLS_EVERY_SECONDS):
        lasts = min(_duration(chance, _LONGEST_ABSENCE_SECONDS, seconds), _ENDS * seconds - at)
        yield Kill(at, lasts, OTHER if at > STEADY_FROM * seconds else chance.choice((STEADY, OTHER)))


def _restarts(chance: random.Random, seconds: float) -> Iterator[Event]:
    # Spread evenly, as each takes memory for a moment: quarters with more and with fewer cannot be compared.
    number = max(1, round(seconds / _RESTARTS_EVERY_SECONDS))
    for part in range(number):
        at = _BEGINS + (_ENDS - _BEGINS) * (part + chance.uniform(0.25, 0.75)) / number
        yield Restart(at * seconds, chance.choice(("fast", "immediate")))


def _duration(chance: random.Random, longest: float, seconds: float) -> float:
    return chance.uniform(0, min(longest, seconds / 6))
