"""The outcome of an attempt, as a value: a failed request is expected, not an error.

Of a failure only the status code and our own words are kept. What the endpoint wrote is not, unless its option
``keep_responses`` says so: it may repeat the body, and guests' data must not come to rest in the delivery log or the
log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from cdc_bridge.errors import shortened

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""Limit of ``Retry-After``: an endpoint that asks for more has made a mistake, or its clock is wrong."""

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")

_OF_THE_ENDPOINT = {401, 403, 404, 407, 408}


class Fault(StrEnum):
    """What a failed attempt speaks of."""

    ENDPOINT = "endpoint"
    """No response, or one that speaks of the endpoint; or of this delivery, which only other requests can tell."""
    OVERLOAD = "overload"
    """The endpoint asks for a pause."""
    WITHDRAWN = "withdrawn"
    """The endpoint wants no more requests, ever (410)."""
    DELIVERY = "delivery"
    """The endpoint rejected this delivery; or it rejects everything, which only other requests can tell."""
    OURS = "ours"
    """This process ran out of a resource. It says nothing of the endpoint or the delivery."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The response was 2xx."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The response was anything else, or there was none."""

    status: int | None
    """HTTP status; ``None``: there was no response."""
    reason: str
    """Why, and where possible what to do about it."""
    fault: Fault = Fault.ENDPOINT
    retry_after_seconds: float | None = None
    """The pause that the endpoint asked for."""

    def __post_init__(self) -> None:
        """Cut a long reason: it goes to logs and tables."""
        object.__setattr__(self, "reason", shortened(self.reason))


Outcome = Delivered | Failed


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, or the failure to build one."""

    message_id: str | None
    """``None``: no request was sent, as there was no body."""
    began_at: datetime
    duration_seconds: float
    outcome: Outcome
    flaw: str | None = None
    """What is wrong with the form of the response, or of one before it: a noun phrase. It cost the connection."""
    address: str | None = None
    """IP address and port that it connected to, or tried to; the proxy's, if there is one. ``None``: none."""
    protocol: str | None = None
    """What was spoken over the connection, for people; ``None``: there was none."""
    response: str | None = field(default=None, repr=False)
    """What a failed response began with, if the endpoint keeps that; it may repeat guests' data."""


def judge(status: int, headers: Mapping[str, str], now: datetime) -> Outcome:
    """Return the outcome that a response means. A redirect is a failure and never followed.

    Args:
        status: HTTP status.
        headers: The response's headers, by names in any case.
        now: The time, if the response has no date.
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
    """Return the pause that ``Retry-After`` asks for, at most an hour; ``None``: it is missing or malformed.

    It is a number of seconds or a date in one of three formats (RFC 9110, sections 10.2.3 and 5.6.7). Endpoints also
    send fractions of seconds and ISO 8601, and proxies join two headers by a comma; of several numbers the largest
    counts. A date is measured by the endpoint's own clock, if the response has a date: clocks differ.
    """
    text = headers.get("retry-after", "")
    numbers = [_SECONDS.fullmatch(part.strip()) for part in text.split(",")]
    if None not in numbers:
        return min(max(float(number[0]) for number in numbers if number), LONGEST_RETRY_AFTER_SECONDS)
    until = _date(text)
    if until is None:
        return None
    return min(max((until - (_date(headers.get("date", "")) or now)).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _date(text: str) -> datetime | None:
    """Return a date of HTTP, which is always in UTC, whether or not it says so."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = parse(text.strip())
        except (ValueError, IndexError, TypeError, OverflowError):
            continue
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


def _phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
