"""Figures, and what is made of several of them: medians, spreads, ratios, goals."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Name = TypeVar("Name", bound=str)
Found = TypeVar("Found")


@dataclass(frozen=True)
class Spread:
    """One figure, measured several times."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def lowest(self) -> float:
        return min(self.samples)

    @property
    def highest(self) -> float:
        return max(self.samples)


@dataclass(frozen=True)
class Goal:
    """Where a ratio, or where there is none the figure itself, must get."""

    kind: Literal["at least", "at most"]
    bound: float

    def met(self, figure: float) -> bool:
        return figure >= self.bound if self.kind == "at least" else figure <= self.bound

    def __str__(self) -> str:
        return f"{self.kind} {self.bound:g}"


@dataclass(frozen=True)
class Cell:
    """Where a line stands in the table of what a write costs."""

    write: str
    daemon: str


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    measure: str
    unit: str
    value: Spread
    reference: str = ""
    reference_value: Spread | None = None
    ratio: Spread | None = None
    """Of figures that were measured one right after the other, so that what the machine does meanwhile meets both."""
    goal: Goal | None = None
    cell: Cell | None = None
    endpoints: int | None = None
    """With how many of them, where that is what the measure is about."""

    @property
    def name(self) -> str:
        """The measure, and with how many endpoints."""
        if self.endpoints is None:
            return self.measure
        return f"{self.measure}, {self.endpoints:,} endpoint{'s' if self.endpoints > 1 else ''}"

    @property
    def more(self) -> Spread:
        """By how much it is above its reference, or below it."""
        assert self.reference_value is not None
        pairs = zip(self.value.samples, self.reference_value.samples, strict=True)
        return Spread(tuple(value - reference for value, reference in pairs))

    @property
    def judged(self) -> Spread:
        """What the goal is about."""
        return self.ratio or self.value

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; ``None``: there is none."""
        return None if self.goal is None else self.goal.met(self.judged.median)


@dataclass(frozen=True)
class Measured:
    """What one measure found."""

    lines: Sequence[Line]
    raw: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Figures behind the lines that a plot shows, by what they are."""


def alone(measure: str, unit: str, samples: Sequence[float], goal: Goal | None = None) -> Line:
    """Return a line of figures that stand for themselves."""
    return Line(measure, unit, Spread(tuple(samples)), goal=goal)


def compared(
    measure: str,
    unit: str,
    samples: Sequence[float],
    reference: str,
    reference_samples: Sequence[float],
    goal: Goal | None = None,
    cell: Cell | None = None,
) -> Line:
    """Return a line of figures and of those that were measured beside them, by turns."""
    ratio = Spread(tuple(a / b for a, b in zip(samples, reference_samples, strict=True)))
    return Line(measure, unit, Spread(tuple(samples)), reference, Spread(tuple(reference_samples)), ratio, goal, cell)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the sample below which so many percent of them lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def by_turns(rounds: int, contenders: Mapping[Name, Callable[[], Awaitable[Found]]]) -> dict[Name, list[Found]]:
    """Measure each contender so many times, now in one order and now in the other."""
    samples: dict[Name, list[Found]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in contenders if turn % 2 == 0 else reversed(list(contenders)):
            samples[name].append(await contenders[name]())
    return samples
