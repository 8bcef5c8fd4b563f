"""Filters for templates: times and numbers as text."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(at: datetime | None) -> str:
    """Return a time for people, in UTC; the script replaces it by local time."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime | None) -> str:
    """Return a time for machines."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def seconds(value: float | None) -> str:
    """Return a request's duration."""
    return "" if value is None else f"{value:.3f} s"


def number(value: float | None) -> str:
    """Return a number with thousands separated."""
    return "" if value is None else f"{value:,}"
