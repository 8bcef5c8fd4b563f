"""Output of ``conformance``: a line per requirement, a Markdown report, JSON. None contains a secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.escaping import escaped
from cdc_bridge.vendor.conformance.runner import Result, Verdict

_MARKS = {Verdict.MET: "✓", Verdict.NOT_MET: "✗", Verdict.SKIPPED: "-"}


def lines(result: Result) -> list[str]:
    """Return the line of a result, and why it matters if the requirement is not met."""
    seconds = f", {result.slowest_seconds:.3f} s" if result.slowest_seconds else ""
    text = f"{_MARKS[result.verdict]} {result.requirement.title}: {result.detail}{seconds}"
    return [text, f"    -> {result.requirement.why}"] if result.verdict is Verdict.NOT_MET else [text]


def summary(results: Sequence[Result]) -> str:
    """Return counts of verdicts and the slowest response."""
    count = Counter(result.verdict for result in results)
    slowest = max((result.slowest_seconds for result in results), default=0.0)
    words = ", ".join(f"{count[verdict]} {verdict.value}" for verdict in Verdict if count[verdict])
    return f"{words}; slowest response {slowest:.3f} s."


def as_markdown(endpoint: Endpoint, results: Sequence[Result]) -> str:
    """Return a report to attach to a mail."""
    rows = [
        f"| {_MARKS[result.verdict]} | {result.requirement.title} | {escaped(result.detail).replace('|', '/')} "
        f"| {result.slowest_seconds:.3f} |"
        for result in results
    ]
    missed = [result.requirement for result in results if result.verdict is Verdict.NOT_MET]
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
            f"* result: {summary(results)}",
            "",
            "| | requirement | response | seconds |",
            "| --- | --- | --- | --- |",
            *rows,
            *(["", "## Not met", ""] if missed else []),
            *(f"* **{requirement.title}.** {requirement.why}" for requirement in missed),
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
                "why": result.requirement.why,
                "slowest_seconds": round(result.slowest_seconds, 3),
            }
            for result in results
        ],
    }
