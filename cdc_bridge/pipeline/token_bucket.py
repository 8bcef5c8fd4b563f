"""Token bucket: limits how many requests a second one endpoint gets.

Every request spends a token: first attempts, retries and probes. The bucket holds one token and those of 20 ms, so
requests are spread evenly, and what was not used in a quiet hour is no burst afterwards.

Guarantee: no second has more requests than the rate, rounded up. In any period of one second, without its end, a bucket
of capacity C that is refilled at R tokens a second lets fewer than C + R requests through. C is 1 + 0.02 rate, so R is
0.98 rate: the requests of a backlog are sent at 98 % of the rate. The 20 ms are for what comes between a token and its
request: timers, and loading the reservation. A new bucket is empty, as nobody knows what the one before it let through,
but has a token after a second at most.

A token is spent when its request is sent, not when the reservation is loaded for it: a slow database would otherwise
move requests together. What leads to no request spends none.

Not counted: a request that is repeated at once because the endpoint had closed the connection, and test requests.

Reference: the generic cell rate algorithm (ITU-T I.371), which keeps a time in place of a number of tokens.
"""

from __future__ import annotations

import sys

_BURST_SECONDS = 0.02
_EMPTY_SECONDS = 1.0
"""For which a new bucket has no token at most."""


class TokenBucket:
    """One endpoint's bucket. It has no clock: ``now`` is in seconds on any clock."""

    def __init__(self, per_second: float | None, now: float) -> None:
        """Begin empty.

        Args:
            per_second: Maximum number of requests per second; ``None``: there is always a token.
            now: The time.
        """
        self._interval = self._burst_seconds = 0.0
        self._most = sys.maxsize
        if per_second is not None:
            refill = per_second * (1 - _BURST_SECONDS)
            self._interval = 1 / refill
            self._burst_seconds = per_second * _BURST_SECONDS / refill
            self._most = 1 + int(per_second * _BURST_SECONDS)
        self._full_at = now + self._burst_seconds + min(_EMPTY_SECONDS, self._interval)
        self._spent = 0

    def available(self, now: float) -> int:
        """Return how many requests may be sent now."""
        ready_for = now - self.next_at(now)
        if ready_for < 0:
            return 0
        return min(self._most, 1 + int(ready_for / self._interval)) if self._interval else self._most

    def next_at(self, now: float) -> float:
        """Return when there is a token, or since when there has been one."""
        # A clock that is set back by an hour must not keep the bucket empty for an hour.
        self._full_at = min(self._full_at, now + self._burst_seconds + self._interval)
        return self._full_at - self._burst_seconds

    def is_wasting(self, now: float) -> bool:
        """Return whether a token was lost since the last one was spent, as the bucket was full."""
        return now - self._full_at >= self._interval

    def spend(self, now: float) -> int:
        """Spend an available token for a request that is sent now; return its number, for :meth:`give_back`."""
        self._full_at = max(self._full_at, now) + self._interval
        self._spent += 1
        return self._spent

    def give_back(self, token: int) -> None:
        """Give back a token whose request was not sent.

        Once another one was spent it is lost: that one may have been spent only because this one's time had passed.
        """
        if token == self._spent:
            self._full_at -= self._interval
