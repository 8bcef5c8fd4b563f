"""Output of ``conformance``: a line per requirement, a Markdown report, JSON. None contains a secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.escaping import escaped
from cdc_bridge.vendor.conformance.requests import SOURCE
from cdc_bridge.vendor.conformance.runner import Booking, Result, Verdict

_MARKS = {Verdict.MET: "✓", Verdict.NOT_MET: "✗", Verdict.SKIPPED: "-", Verdict.NOT_TESTED: "-"}
_SHOWN_CHARACTERS = 200
"""Of a response."""
_RESPONSES_ONLY = (
    f"Responses only: this test does not see what your till stored. All its requests have ce-source {SOURCE}. "
    "Look these up:"
)


def lines(result: Result) -> list[str]:
    """Return the line of a result; if the requirement is not met, what the endpoint responded, and why it matters."""
    if result.verdict is Verdict.NOT_TESTED:
        return []
    seconds = f", {result.slowest_seconds:.3f} s" if result.slowest_seconds else ""
    text = f"{_MARKS[result.verdict]} {result.requirement.title}: {result.detail}{seconds}"
    if result.verdict is not Verdict.NOT_MET:
        return [text]
    response = [f"    It responded: {_response(result)}"] if result.response else []
    return [text, *response, f"    -> {result.why}"]


def closing_lines(results: Sequence[Result]) -> Iterator[str]:
    """Yield what follows the requirements' lines: counts, and what has to be looked up in the till."""
    if untested := _untested(results):
        yield f"- {untested}"
    yield ""
    yield _summary(results)
    bookings = _bookings(results)
    if bookings:
        yield ""
        yield _RESPONSES_ONLY
        yield from (f"  {booking.reservation_id}  {_told(booking)}" for booking in bookings)


def as_markdown(endpoint: Endpoint, results: Sequence[Result]) -> str:
    """Return a report to attach to a mail."""
    rows = [
        f"| {_MARKS[result.verdict]} | {result.requirement.title} | {escaped(result.detail).replace('|', '/')} "
        f"| {result.slowest_seconds:.3f} |"
        for result in results
        if result.verdict is not Verdict.NOT_TESTED
    ]
    missed = [result for result in results if result.verdict is Verdict.NOT_MET]
    bookings = _bookings(results)
    return "\n".join(
        [
            "# Conformance with cdc-bridge",
            "",
            f"* endpoint: {endpoint.shown_url}",
            f"* tested: {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, by cdc-bridge {__version__}",
            (
                f"* requests signed: {'no' if endpoint.secret is None else 'yes'}; "
                f"request timeout: {endpoint.timeout_seconds:g} s"
            ),
            f"* result: {_summary(results)}",
            "",
            "| | requirement | response | seconds |",
            "| --- | --- | --- | --- |",
            *rows,
            *(["", untested] if (untested := _untested(results)) else []),
            *(["", "## Not met", ""] if missed else []),
            *(f"* **{result.requirement.title}.** {result.why}{_quoted(result)}" for result in missed),
            *(["", "## To look up in the till", "", _RESPONSES_ONLY, ""] if bookings else []),
            *(f"* `{booking.reservation_id}`: {_told(booking)}" for booking in bookings),
            "",
        ]
    )


def as_json(endpoint: Endpoint, results: Sequence[Result]) -> dict[str, Any]:
    """Return the report as JSON has it."""
    return {
        "url": endpoint.shown_url,
        "signed": endpoint.secret is not None,
        "timeout_seconds": endpoint.timeout_seconds,
        "met": not any(result.verdict is Verdict.NOT_MET for result in results),
        "requirements": [
            {
                "title": result.requirement.title,
                "verdict": result.verdict.value,
                "detail": result.detail,
                "response": _response(result),
                "why": result.why,
                "slowest_seconds": round(result.slowest_seconds, 3),
            }
            for result in results
        ],
        "look_up": [
            {"id": booking.reservation_id, "content": booking.content, "because": booking.because}
            for booking in _bookings(results)
        ],
    }


def _summary(results: Sequence[Result]) -> str:
    """Return counts of verdicts and the slowest response."""
    count = Counter(result.verdict for result in results)
    slowest = max((result.slowest_seconds for result in results), default=0.0)
    words = ", ".join(f"{count[verdict]} {verdict.value}" for verdict in Verdict if count[verdict])
    return f"{words}; slowest response {slowest:.3f} s."


def _untested(results: Sequence[Result]) -> str:
    untested = [result for result in results if result.verdict is Verdict.NOT_TESTED]
    return f"{len(untested)} requirements were not tested: {untested[0].detail}." if untested else ""


def _bookings(results: Sequence[Result]) -> list[Booking]:
    return [result.booking for result in results if result.booking is not None]


def _told(booking: Booking) -> str:
    if booking.content is None:
        return f"no booking: {booking.because}"
    adults = booking.content.get("adults")
    return f"{'one booking' if adults is None else f'{adults} adults'}: {booking.because}"


def _response(result: Result) -> str:
    text = result.response
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _quoted(result: Result) -> str:
    text = escaped(_response(result)).replace("`", "'")
    return f" It responded: `{text}`" if text else ""
