"""Suggests the name that was likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to add to "there is no such name": the nearest known one, if one is near."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest, if one is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)
