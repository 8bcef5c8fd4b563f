"""Numbers of things, in words."""

from __future__ import annotations


def reservations(number: int) -> str:
    """Return so many reservations."""
    return f"{number:,} reservation" + ("" if number == 1 else "s")
