"""Filters for templates: times and numbers as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

from cdc_bridge.escaping import escaped

_UTC = re.compile(r"\b(\d{4}-\d\d-\d\d) (\d\d:\d\d(?::\d\d)?) UTC\b", re.ASCII)
_TIME = Markup('<time datetime="{}">{}</time>')


def utc(at: datetime | None) -> str:
    """Return a time for people, in UTC; the script replaces it by local time."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime | None) -> str:
    """Return a time for machines."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def field_time(text: str) -> str:
    """Return a typed time as a field for times needs it, in UTC; the script shows it in local time."""
    try:
        at = datetime.fromisoformat(text)
        return f"{at if at.tzinfo is None else at.astimezone(UTC):%Y-%m-%dT%H:%M}"
    except (ValueError, OverflowError):
        return text


def with_times(text: str) -> Markup:
    """Return a text in which each time in UTC is marked as one, so that the script replaces it by local time."""
    parts, end = [], 0
    for match in _UTC.finditer(text):
        at = f"{match[1]}T{match[2]}Z"
        parts += [escape(escaped(text[end : match.start()], keep="\n\t")), _TIME.format(at, match[0])]
        end = match.end()
    return Markup("").join([*parts, escape(escaped(text[end:], keep="\n\t"))])


def seconds(value: float | None) -> str:
    """Return a request's duration."""
    return "" if value is None else f"{value:.3f} s"


def number(value: float | None) -> str:
    """Return a number with thousands separated."""
    return "" if value is None else f"{value:,}"
