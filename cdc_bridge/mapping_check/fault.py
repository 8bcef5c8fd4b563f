"""A fault of a mapping, while it is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from cdc_bridge.mapping_check.source import Edit


class Correction(Enum):
    """What to do about a fault."""

    WRITE = "write"
    """Its line as it stands in the corrected file."""
    BELOW = "add below"
    BEHIND = "add behind"
    """A key that is on the same line."""
    ABOVE = "add above"
    MOVE = "move"
    REMOVE = "remove"
    NONE = "none"
    """Nobody but the author can tell."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    place: int
    """In the file."""
    problem: str
    key: str = ""
    """Of the payload, or the table of a join."""
    rejected: bool = True
    """The database rejects the mapping, whatever is allowed; otherwise it breaks the contract."""
    correction: Correction = Correction.NONE
    text: str = ""
    """What to add, where to move it, or what else can be done."""
    anchor: str = ""
    """Of what is added: the key that it follows."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fault, and the edits that let the search go on behind it."""

    fault: Fault | None
    """``None``: a consequence of another one."""
    edits: Sequence[Edit] = field(default=())
    before: str = ""
    """A statement that belongs in front."""
