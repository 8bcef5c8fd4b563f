"""What an attempt came to, as a value: a refusal is expected, not an error.

All that is kept of a refusal is our own words and the status code. What the endpoint wrote is not: it may
repeat the body, and guests' data must not come to rest in the ledger or the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""An endpoint that asks for more has made a mistake, or its clock is wrong."""

_OF_THE_ENDPOINT = {401, 403, 404, 407, 408}


class Fault(StrEnum):
    """Whose fault a refusal may be."""

    ENDPOINT = "endpoint"
    """No answer, or one that speaks of the endpoint; or else of this delivery, which only other calls can tell."""
    OVERLOAD = "overload"
    """The endpoint asks for a pause."""
    WITHDRAWN = "withdrawn"
    """The endpoint is gone for good and wants no more calls (410)."""
    DELIVERY = "delivery"
    """The endpoint has judged this delivery."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint answered with 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The endpoint answered with anything else, or not at all."""

    status: int | None
    """HTTP status; ``None`` where there was no answer."""
    reason: str
    """Why, and where one can tell what to do about it."""
    fault: Fault = Fault.ENDPOINT
    retry_after_seconds: float | None = None
    """Pause that the endpoint asked for."""


Outcome = Delivered | Failed


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that was made."""

    message_id: str | None
    """``None``: it did not come to a call, as there was no body."""
    began_at: datetime
    duration_seconds: float
    outcome: Outcome


def judge(status: int, headers: Mapping[str, str], now: datetime) -> Outcome:
    """Return what an answer means. A redirect is a refusal and never followed.

    Args:
        status: HTTP status.
        headers: of the answer, by names in any case.
        now: the time, where the answer does not tell it.
    """
    if 200 <= status < 300:
        return Delivered(status)
    retry_after = retry_after_seconds(headers, now)
    reason = _phrase(status)
    if 300 <= status < 400:
        reason += ": redirects are not followed; set the endpoint's URL to its final address"
    return Failed(status, reason, _fault(status, asks_for_pause=retry_after is not None), retry_after)


def _fault(status: int, *, asks_for_pause: bool) -> Fault:
    if status == HTTPStatus.GONE:
        return Fault.WITHDRAWN
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and asks_for_pause):
        return Fault.OVERLOAD
    if 400 <= status < 500 and status not in _OF_THE_ENDPOINT:
        return Fault.DELIVERY
    return Fault.ENDPOINT


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the pause that ``Retry-After`` asks for, at most an hour; ``None`` where it is missing or makes no sense.

    It is a number of seconds or a date (RFC 9110, section 10.2.3). A date is taken by the endpoint's own clock,
    if the answer tells it: clocks differ.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_SECONDS)
    until = _date(text)
    if until is None:
        return None
    return min(max((until - (_date(headers.get("date", "")) or now)).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else None


def _phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
