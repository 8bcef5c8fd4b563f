"""Text that knows where each of its characters stands in the mapping file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A text, taken from the file, put together from parts of it, or corrected."""

    text: str
    at: tuple[int, ...]
    """For each character its place in the file. What was added has the complement (``~``) of where it was added."""

    @classmethod
    def of_file(cls, text: str) -> Source:
        """Return the text of the file itself."""
        return cls(text, tuple(range(len(text))))

    def __len__(self) -> int:
        """Return the number of characters."""
        return len(self.text)

    def __add__(self, other: Source) -> Source:
        """Return both texts, one behind the other."""
        return Source(self.text + other.text, self.at + other.at)

    def part(self, start: int, end: int | None = None) -> Source:
        """Return the characters from ``start`` up to ``end``."""
        return Source(self.text[start:end], self.at[start:end])

    def place(self, position: int) -> int:
        """Return where a character stands, or was added, in the file; behind the last one, where that stands."""
        if not self.at:
            return 0
        at = self.at[max(0, min(position, len(self.at) - 1))]
        return at if at >= 0 else ~at

    def added(self, text: str, position: int) -> Source:
        """Return a text that is to be added at a position."""
        return Source(text, (~self.place(position),) * len(text))

    def edited(self, edits: Iterable[Edit]) -> Source:
        """Return the text with some of it replaced; of edits that overlap the first one counts."""
        result, position = Source("", ()), 0
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            if edit.start < position:
                continue
            new = self.added(edit.new, edit.start) if isinstance(edit.new, str) else edit.new
            result = result + self.part(position, edit.start) + new
            position = edit.end
        return result + self.part(position)


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of a text, and what stands there instead."""

    start: int
    end: int
    new: str | Source

    def moved(self, by: int) -> Edit:
        """Return the same edit in a text that has more in front."""
        return Edit(self.start + by, self.end + by, self.new)
