"""What a soak test found, and whether that is what was promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.soak.daemons import Sample
from tests.soak.plan import STEADY

_WARM_AFTER_SECONDS = 120.0
"""Before that a daemon's memory grows by what it does for the first time."""
_FLAT_RATIO, _FLAT_MEGABYTES = 1.1, 10.0
"""By how much memory may be above what it was: the delivery that comes first to an endpoint brings it into memory."""
_EXAMPLES = 10


@dataclass(frozen=True)
class Memory:
    """The most that the steady daemon had, in the second quarter of the time, and from the last quarter on."""

    before_megabytes: float
    after_megabytes: float
    judged: bool
    """Whether the run was long enough to tell anything."""

    @property
    def grown(self) -> bool:
        return self.judged and self.after_megabytes > _FLAT_RATIO * self.before_megabytes + _FLAT_MEGABYTES

    def __str__(self) -> str:
        told = f"{self.before_megabytes:.0f} MB in the second quarter, {self.after_megabytes:.0f} MB in the last"
        return told if self.judged else f"{told}; not judged, the run is too short"


def memory(samples: Sequence[Sample], seconds: float) -> Memory:
    """Return the steady daemon's memory.

    Args:
        samples: Of all daemons.
        seconds: How long the writers wrote.
    """
    steady = [sample for sample in samples if sample.daemon == STEADY]
    before = [sample.megabytes for sample in steady if 0.25 * seconds <= sample.at < 0.5 * seconds]
    after = [sample.megabytes for sample in steady if sample.at >= 0.75 * seconds]
    return Memory(max(before, default=0.0), max(after, default=0.0), judged=0.25 * seconds >= _WARM_AFTER_SECONDS)


@dataclass(frozen=True)
class Verdict:
    """All that was found."""

    counts: Mapping[str, int]
    """Of requests, as the receiver has them."""
    examples: Sequence[str]
    """Of what is out of order or misrouted."""
    transactions: int
    broken: Mapping[str, int]
    """How often what was broken."""
    written: int
    """Reservations."""
    missing: Sequence[str]
    """Reservations whose last content did not arrive last."""
    phantom: Sequence[str]
    """Reservations that arrived and that nobody wrote."""
    unsettled: int
    dead_letters: int
    not_leased: int
    settled_after_seconds: float
    memory: Memory
    crashes: int
    ended: Sequence[str] = field(default_factory=list)
    """Daemons that ended though nobody ended them."""

    def problems(self) -> list[str]:
        """Return what is not as promised."""
        checks = {
            "nothing was accepted": not self.counts.get("accepted"),
            f"{len(self.missing):,} reservations are missing: {_some(self.missing)}": self.missing,
            f"{len(self.phantom):,} reservations arrived that nobody wrote: {_some(self.phantom)}": self.phantom,
            f"{self.counts.get('out of order', 0):,} requests are out of order": self.counts.get("out of order"),
            f"{self.counts.get('misrouted', 0):,} requests are misrouted": self.counts.get("misrouted"),
            f"{self.unsettled:,} changes are unsettled": self.unsettled,
            f"{self.dead_letters:,} dead letters": self.dead_letters,
            f"{self.not_leased:,} endpoints are not leased": self.not_leased,
            f"memory is not flat: {self.memory}": self.memory.grown,
            f"{self.crashes:,} crashes in the logs": self.crashes,
        }
        return [*(problem for problem, found in checks.items() if found), *self.ended, *self.examples]

    def report(self) -> str:
        """Return it for people."""
        problems, flat = self.problems(), ", memory is flat" if self.memory.judged else ""
        return "\n".join(
            [
                f"written:   {self.transactions:,} transactions, {self.written:,} reservations",
                f"requests:  {_listed(self.counts)}",
                f"broken:    {_listed(self.broken)}",
                f"settled:   {self.settled_after_seconds:.0f} s after the last change",
                f"memory:    {self.memory}",
                *(f"PROBLEM:   {problem}" for problem in problems),
                "FAILED" if problems else f"PASSED: nothing is missing, nothing is out of order{flat}",
                "",
            ]
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
