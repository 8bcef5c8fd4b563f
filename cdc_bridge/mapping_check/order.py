"""The order of the contract's keys: which of a payload's columns stand in another place, and where they belong."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How to bring columns into the order of the contract."""

    kept: frozenset[str]
    """Keys that stay where they are."""
    behind: dict[str, str | None]
    """For each key that is missing or elsewhere: the key that it follows; ``None``: it is the first."""


def arrangement(columns: Sequence[str], contract: Sequence[str]) -> Arrangement:
    """Return how to arrange columns, so that as few of them as possible move."""
    number_of = {key: number for number, key in enumerate(contract)}
    kept = _longest_rising([number_of[column] for column in dict.fromkeys(columns) if column in number_of])
    names = frozenset(contract[number] for number in kept)
    return Arrangement(
        names,
        {key: contract[number - 1] if number else None for number, key in enumerate(contract) if key not in names},
    )


def _longest_rising(numbers: Sequence[int]) -> list[int]:
    ends: list[int] = []  # of the best sequence of each length
    before: list[int | None] = []
    at_end: list[int] = []
    for index, number in enumerate(numbers):
        length = bisect_left(ends, number)
        before.append(at_end[length - 1] if length else None)
        ends[length : length + 1] = [number]
        at_end[length : length + 1] = [index]
    found: list[int] = []
    index_: int | None = at_end[-1] if at_end else None
    while index_ is not None:
        found.append(numbers[index_])
        index_ = before[index_]
    return found[::-1]
