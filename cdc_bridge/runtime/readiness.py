"""Decides which problems make the daemon not ready, and words them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from operator import itemgetter

from cdc_bridge.checks.endpoints import NO_ENDPOINT, NO_ENDPOINT_REMEDY, how_to_resume
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus, age
from cdc_bridge.endpoints.survey import EndpointSurvey

WHY_UNREACHABLE = "cdc-bridge check on the daemon's machine says why."
_MOST_OF_A_KIND = 5
"""Endpoints with the same problem that have a line each; of more, one line says how many there are."""


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
    ALERTS = "alerts"


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
    about: str = ""
    """The endpoint that it is about; of many with the same problem, what that is."""
    endpoints: Sequence[str] = ()
    """The endpoints that it is about; of many, some."""
    number: int = 0
    """How many there are."""

    def __str__(self) -> str:
        """Return it on one line."""
        text = f"{self.part}: {self.summary}" + (f": {self.detail}" if self.detail else "")
        return text + (f" -> {self.remedy}" if self.remedy else "")


def find_problems(
    *,
    database: str | None,
    checks: Sequence[Check],
    polling_because: str | None,
    reconnecting: bool = False,
    endpoints: EndpointSurvey | None,
    max_lag_seconds: float,
    out_of: str | None = None,
    alerts: str | None = None,
) -> list[Problem]:
    """Return what is wrong, the worst first.

    Args:
        database: What PostgreSQL does instead of responding; then the rest is unknown and left empty.
        checks: Results for the installation, the mapping and capture.
        polling_because: Why the listener polls though it is meant to receive notifications.
        reconnecting: Whether that is only because its connection was lost.
        endpoints: What there is to say of them; ``None``: not known.
        max_lag_seconds: Lag from which an endpoint counts as late; and how long it may be failing or unassigned.
        out_of: What this process ran out of.
        alerts: Why alerts cannot be sent.
    """
    found = [] if database is None else [Problem(Part.DATABASE, f"PostgreSQL {database}", "", WHY_UNREACHABLE)]
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
    if endpoints is not None:
        found += _of_endpoints(endpoints, max_lag_seconds)
    if polling_because is not None and reconnecting:
        found.append(
            Problem(Part.WAKE_UP, "notifications do not arrive yet", "the connection was lost", "Nothing to do.")
        )
    elif polling_because is not None:
        found.append(
            Problem(
                Part.WAKE_UP,
                "notifications do not arrive",
                f"polling instead: {polling_because}",
                "Connect to PostgreSQL directly or through a pooler in session mode; or set CDC_BRIDGE_WAKE=poll.",
            )
        )
    if alerts is not None:
        found.append(Problem(Part.ALERTS, "nobody is alerted", alerts, "cdc-bridge check --alert"))
    return found


def _of_endpoints(endpoints: EndpointSurvey, max_lag_seconds: float) -> Iterator[Problem]:
    """Yield the problems of endpoints: a few of a kind one by one, more of them in one."""
    if not endpoints.number:
        yield Problem(Part.ENDPOINT, NO_ENDPOINT, "", NO_ENDPOINT_REMEDY)
    for status in dict.fromkeys(endpoint.status for endpoint in endpoints.in_trouble):
        problems = [
            (endpoint, problem)
            for endpoint in endpoints.in_trouble
            if endpoint.status is status
            for problem in _delivers_nothing(endpoint, max_lag_seconds)
        ]
        number = endpoints.by_problem.get(status, 0)
        if number <= _MOST_OF_A_KIND:
            yield from (problem for _, problem in problems)
        elif problems:
            (example, problem), remedy = problems[0], f"cdc-bridge endpoint list --status {status}"
            yield Problem(
                Part.ENDPOINT,
                f"{number:,} endpoints are {status}",
                _such_as(example, problem),
                remedy,
                about=f"many {status}",
                endpoints=[endpoint.name for endpoint, _ in problems],
                number=number,
            )
    late = [
        (endpoint.lag_seconds, endpoint)
        for endpoint in endpoints.in_trouble
        if not endpoint.stopped and endpoint.lag_seconds is not None and endpoint.lag_seconds > max_lag_seconds
    ]
    if endpoints.late <= _MOST_OF_A_KIND:
        yield from (_behind(endpoint, lag_seconds) for lag_seconds, endpoint in late)
    elif late:
        longest, example = max(late, key=itemgetter(0))
        detail = _such_as(example, _behind(example, longest))
        summary = f"{endpoints.late:,} endpoints are behind, up to {age(longest)}"
        yield Problem(
            Part.LAG,
            summary,
            detail,
            "cdc-bridge status",
            about="many late",
            endpoints=[endpoint.name for _, endpoint in late],
            number=endpoints.late,
        )


def _such_as(example: EndpointOverview, problem: Problem) -> str:
    return f"such as {example.name}" + (f": {problem.detail}" if problem.detail else "")


def _delivers_nothing(endpoint: EndpointOverview, max_lag_seconds: float) -> Iterator[Problem]:
    """Yield why an endpoint gets nothing though no operator paused it, whether it lags or not."""
    name, reason = endpoint.name, endpoint.reason or ""
    its = partial(Problem, Part.ENDPOINT, about=name, endpoints=(name,), number=1)
    match endpoint.status:
        case EndpointStatus.DISABLED:
            yield its(f"{name} is disabled", reason, how_to_resume(name), endpoint.since)
        case EndpointStatus.INVALID:
            yield its(f"{name} is invalid", reason, f"cdc-bridge endpoint show {name}")
        case EndpointStatus.FAILING | EndpointStatus.UNASSIGNED if _lasts(endpoint, max_lag_seconds):
            remedy = f"cdc-bridge endpoint show {name}"
            yield its(f"{name} is {endpoint.status}", reason, remedy, endpoint.since)
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
    summary = f"{name} is {age(lag_seconds)} behind"
    return Problem(Part.LAG, summary, detail, remedy, about=name, endpoints=(name,), number=1)


def _attempts(number: int | None) -> str:
    return f"{number or 0} attempt{'' if number == 1 else 's'}"
