"""Pauses that grow while something keeps failing."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with a limit and jitter. It keeps no state: the caller counts."""

    first_seconds: float
    longest_seconds: float
    jitter: float = 0.0
    """A pause is up to this part shorter, so that those who failed together do not try again together."""

    def pause_seconds(self, failures: int, random: float = 0.0) -> float:
        """Return the pause after a number of failures in a row.

        Args:
            failures: The failures so far, the last one included; at least 1.
            random: A random number in [0, 1), for the jitter.
        """
        pause = self.first_seconds * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        return min(self.longest_seconds, pause) * (1 - self.jitter * random)
