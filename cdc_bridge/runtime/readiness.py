"""Decides whether all is well, and says in words what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cdc_bridge.checks.endpoints import NO_ENDPOINT, NO_ENDPOINT_REMEDY, TO_CALL_AGAIN, WANTS_NO_CALLS
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.endpoints.overview import EndpointNow
from cdc_bridge.endpoints.status import OTHER_CLUSTER


class Part(StrEnum):
    """What can be wrong."""

    DATABASE = "database"
    INSTALLATION = "installation"
    MAPPING = "mapping"
    CAPTURE = "capture"
    DOORBELL = "doorbell"
    ENDPOINT = "endpoint"
    LAG = "lag"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and what mends it."""

    part: Part
    detail: str
    remedy: str = ""
    since: datetime | None = None
    """When it began, where that is known."""
    seen_since: datetime | None = None
    """Since when whoever looked has found it."""

    def __str__(self) -> str:
        """Return it on one line."""
        return f"{self.part}: {self.detail}" + (f" -> {self.remedy}" if self.remedy else "")


def problems(
    *,
    database: str | None,
    checks: Sequence[Check],
    fallen_back: str | None,
    endpoints: Sequence[EndpointNow] | None,
    max_lag_seconds: float,
) -> list[Problem]:
    """Return what is wrong, the worst first.

    Args:
        database: why it cannot be asked; then the rest is not known, and left empty.
        checks: of the installation, the mapping and capture.
        fallen_back: why the listener polls though it is meant to listen.
        endpoints: all of them; ``None``: not known.
        max_lag_seconds: age of the oldest unsettled change from which that is a problem.
    """
    found = [] if database is None else [Problem(Part.DATABASE, database, "See that PostgreSQL runs.")]
    found += [
        Problem(Part(check.name), check.detail, check.remedy) for check in checks if check.verdict is Verdict.FAILED
    ]
    if endpoints is not None and not endpoints:
        found.append(Problem(Part.ENDPOINT, NO_ENDPOINT, NO_ENDPOINT_REMEDY))
    found += [problem for endpoint in endpoints or () if (problem := _not_called(endpoint)) is not None]
    found += [
        _lag(endpoint)
        for endpoint in endpoints or ()
        if endpoint.active and endpoint.lag_seconds is not None and endpoint.lag_seconds > max_lag_seconds
    ]
    if fallen_back is not None:
        found.append(
            Problem(
                Part.DOORBELL,
                f"not heard, polling instead: {fallen_back}",
                "Connect to PostgreSQL directly or through a pooler in session mode; or set CDC_BRIDGE_WAKE=poll.",
            )
        )
    return found


def _not_called(endpoint: EndpointNow) -> Problem | None:
    """Return why an endpoint is not called though nobody has paused it, if that is so whatever is behind."""
    match endpoint.state:
        case "disabled":
            return Problem(
                Part.ENDPOINT,
                f"{endpoint.name} {WANTS_NO_CALLS}",
                f"{TO_CALL_AGAIN} {endpoint.name}",
                endpoint.since,
            )
        case "of another cluster":
            return Problem(Part.ENDPOINT, f"{endpoint.name}: {OTHER_CLUSTER}")
        case "cannot be called":
            return Problem(
                Part.ENDPOINT,
                f"{endpoint.name} cannot be called: {endpoint.problem}",
                f"cdc-bridge endpoint show {endpoint.name}",
            )
        case _:
            return None


def _lag(endpoint: EndpointNow) -> Problem:
    age = timedelta(seconds=int(endpoint.lag_seconds or 0))
    unsettled = "some" if endpoint.backlog is None else f"{endpoint.backlog:,}"
    behind = f"endpoint {endpoint.name} ({endpoint.state}) has {unsettled} unsettled, the oldest since {age} h"
    if endpoint.oldest_waiting_seq is not None:
        return Problem(
            Part.LAG,
            f"{behind}: reservation {endpoint.oldest_waiting_reservation}, "
            f"{endpoint.oldest_waiting_attempts} attempts, {endpoint.oldest_waiting_error or 'asked for by hand'}",
            f"cdc-bridge delivery show {endpoint.oldest_waiting_seq}",
        )
    reason = endpoint.problem or endpoint.last_failure
    return Problem(Part.LAG, behind + (f": {reason}" if reason else ""), f"cdc-bridge endpoint show {endpoint.name}")
