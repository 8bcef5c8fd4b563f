"""Decides which problems make the daemon not ready, and words them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cdc_bridge.checks.endpoints import NO_ENDPOINT, NO_ENDPOINT_REMEDY, how_to_resume
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus, age

_SUMMARIES_IN_HEADLINE = 3


class Part(StrEnum):
    """What can have a problem."""

    DATABASE = "database"
    INSTALLATION = "installation"
    MAPPING = "mapping"
    CAPTURE = "capture"
    WAKE_UP = "wake-up"
    ENDPOINT = "endpoint"
    LAG = "lag"
    RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem and its remedy."""

    part: Part
    summary: str
    """A clause such as ``till is 5 min behind``."""
    detail: str = ""
    remedy: str = ""
    since: datetime | None = None
    """When it began, where that is known."""
    seen_since: datetime | None = None
    """When a health check found it first."""

    def __str__(self) -> str:
        """Return it on one line."""
        text = f"{self.part}: {self.summary}" + (f": {self.detail}" if self.detail else "")
        return text + (f" -> {self.remedy}" if self.remedy else "")


def headline(problems: Sequence[Problem]) -> str:
    """Return the problems as one sentence; empty if there is none."""
    if not problems:
        return ""
    named = [problem.summary for problem in problems[:_SUMMARIES_IN_HEADLINE]]
    if more := len(problems) - len(named):
        named.append(f"{more} more")
    return f"{len(problems)} problem{'' if len(problems) == 1 else 's'}: {'; '.join(named)}."


def find_problems(
    *,
    database: str | None,
    checks: Sequence[Check],
    polling_because: str | None,
    endpoints: Sequence[EndpointOverview] | None,
    max_lag_seconds: float,
    out_of: str | None = None,
) -> list[Problem]:
    """Return what is wrong, the worst first.

    Args:
        database: What PostgreSQL does instead of responding; then the rest is unknown and left empty.
        checks: Results for the installation, the mapping and capture.
        polling_because: Why the listener polls though it is meant to receive notifications.
        endpoints: All of them; ``None``: not known.
        max_lag_seconds: Lag from which an endpoint counts as behind; and how long it may be failing or unassigned.
        out_of: What this process ran out of.
    """
    found = [] if database is None else [Problem(Part.DATABASE, f"PostgreSQL {database}", "", "Check the server.")]
    if out_of is not None:
        found.append(
            Problem(
                Part.RESOURCES,
                out_of,
                "",
                "Raise the daemon's limits (LimitNOFILE, MemoryMax, TasksMax), or move endpoints to another machine.",
            )
        )
    found += [
        Problem(Part(check.name), check.detail, "", check.remedy) for check in checks if check.verdict is Verdict.FAILED
    ]
    if endpoints is not None and not endpoints:
        found.append(Problem(Part.ENDPOINT, NO_ENDPOINT, "", NO_ENDPOINT_REMEDY))
    found += [problem for endpoint in endpoints or () for problem in _delivers_nothing(endpoint, max_lag_seconds)]
    found += [
        _behind(endpoint, endpoint.lag_seconds)
        for endpoint in endpoints or ()
        if not endpoint.stopped and endpoint.lag_seconds is not None and endpoint.lag_seconds > max_lag_seconds
    ]
    if polling_because is not None:
        found.append(
            Problem(
                Part.WAKE_UP,
                "notifications do not arrive",
                f"polling instead: {polling_because}",
                "Connect to PostgreSQL directly or through a pooler in session mode; or set CDC_BRIDGE_WAKE=poll.",
            )
        )
    return found


def _delivers_nothing(endpoint: EndpointOverview, max_lag_seconds: float) -> Iterator[Problem]:
    """Yield why an endpoint gets nothing though no operator paused it, whether it lags or not."""
    name, reason = endpoint.name, endpoint.reason or ""
    match endpoint.status:
        case EndpointStatus.DISABLED:
            yield Problem(Part.ENDPOINT, f"{name} is disabled", reason, how_to_resume(name), endpoint.since)
        case EndpointStatus.INVALID:
            yield Problem(Part.ENDPOINT, f"{name} is invalid", reason, f"cdc-bridge endpoint show {name}")
        case EndpointStatus.FAILING | EndpointStatus.UNASSIGNED if _lasts(endpoint, max_lag_seconds):
            remedy = f"cdc-bridge endpoint show {name}"
            yield Problem(Part.ENDPOINT, f"{name} is {endpoint.status}", reason, remedy, endpoint.since)
        case _:
            pass


def _lasts(endpoint: EndpointOverview, seconds: float) -> bool:
    """Return whether its status has lasted longer, as far as is known, and is more than a change of daemons."""
    if endpoint.since is None or endpoint.settling:
        return False
    return (endpoint.read_at - endpoint.since).total_seconds() > seconds


def _behind(endpoint: EndpointOverview, lag_seconds: float) -> Problem:
    name = endpoint.name
    backlog = "unknown" if endpoint.backlog is None else f"{endpoint.backlog:,}"
    detail = ", ".join(filter(None, (endpoint.status, endpoint.lag_reason, f"backlog {backlog}")))
    if endpoint.oldest_pending_seq is not None:
        detail += (
            f", oldest delivery of reservation {endpoint.oldest_pending_reservation} after "
            f"{_attempts(endpoint.oldest_pending_attempts)}: {endpoint.oldest_pending_error or 'queued by hand'}"
        )
        remedy = f"cdc-bridge delivery show {endpoint.oldest_pending_seq}"
    else:
        reason = endpoint.reason or endpoint.last_failure
        detail += f": {reason}" if reason else ""
        remedy = f"cdc-bridge endpoint show {name}"
    return Problem(Part.LAG, f"{name} is {age(lag_seconds)} behind", detail, remedy)


def _attempts(number: int | None) -> str:
    return f"{number or 0} attempt{'' if number == 1 else 's'}"
