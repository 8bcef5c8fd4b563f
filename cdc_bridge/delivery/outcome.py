"""What an attempt came to, as a value: a refusal is expected, not an error.

All that is kept of a refusal is our own words and the status code. What the endpoint wrote is not: it may
repeat the body, and guests' data must not come to rest in the ledger or the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Accepted:
    """The endpoint answered with 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint answered with anything else, or not at all."""

    status: int | None
    """HTTP status; ``None`` where there was no answer."""
    reason: str
    """Why, and where one can tell what to do about it."""


Outcome = Accepted | Refused


def judge(status: int) -> Outcome:
    """Return what an answer with this HTTP status means. A redirect is a refusal and never followed."""
    if 200 <= status < 300:
        return Accepted(status)
    if 300 <= status < 400:
        return Refused(
            status, f"{_phrase(status)}: redirects are not followed; set the endpoint's URL to its final address"
        )
    return Refused(status, _phrase(status))


def _phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
