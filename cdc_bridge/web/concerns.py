"""What is wrong, for whoever opens the dashboard: the worst first, each with what can be done.

The words are for a restaurant's manager. What an operator needs besides, the reason and a command, stands in smaller
print, and a command only where the reader may run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote

from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus, age
from cdc_bridge.runtime.health import HealthSnapshot
from cdc_bridge.runtime.readiness import Part, Problem
from cdc_bridge.web.endpoint_words import gets_nothing

MOST_SHOWN = 20
OF_ENDPOINTS = frozenset({Part.ENDPOINT, Part.LAG})
"""Parts whose problems are those of endpoints."""

Words = Sequence[str | datetime]
"""A sentence in parts: a time is shown as the reader's browser has it."""


class Tone(StrEnum):
    """How bad it is."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Action:
    """A button, or a link."""

    label: str
    path: str
    changes: bool = False
    """Whether it is for those who may change something."""
    at_once: bool = False
    """Whether it acts as soon as it is pressed; else it leads to a page."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not as one would want it."""

    tone: Tone
    words: Words
    detail: str = ""
    actions: Sequence[Action] = ()
    command: str = ""
    """For those who may run it."""


_WEIGHTS = {Tone.BAD: 0, Tone.WARNING: 1, Tone.GOOD: 2}


def concerns_of(snapshot: HealthSnapshot, max_lag_seconds: float) -> list[Concern]:
    """Return what is wrong, the worst first."""
    found = [_technical(problem) for problem in snapshot.problems if problem.part not in OF_ENDPOINTS]
    survey = snapshot.survey
    for endpoint in snapshot.endpoints:
        found += _of(endpoint, max_lag_seconds)
    if survey is not None and not snapshot.has_all:
        named = len(snapshot.endpoints)
        if (more := survey.number_in_trouble - named) > 0:
            show = Action("Show them", "/#endpoints")
            found.append(Concern(Tone.WARNING, [f"{more:,} more endpoints are in trouble."], actions=[show]))
    return sorted(found, key=lambda concern: _WEIGHTS[concern.tone])


def _technical(problem: Problem) -> Concern:
    words: list[str | datetime] = [f"{problem.summary[:1].upper()}{problem.summary[1:]}."]
    if (since := problem.since or problem.seen_since) is not None:
        words += [" Since ", since, "."]
    return Concern(Tone.BAD, words, problem.detail, command=problem.remedy)


def _of(endpoint: EndpointOverview, max_lag_seconds: float) -> Iterator[Concern]:
    if gets_nothing(endpoint):
        yield _gets_nothing(endpoint)
    elif endpoint.status is EndpointStatus.DEGRADED and (endpoint.pending or not endpoint.dead):
        yield _degraded(endpoint)
    elif endpoint.lag_seconds is not None and endpoint.lag_seconds > max_lag_seconds and not endpoint.settling:
        words = [f"{endpoint.name} gets its bookings {age(endpoint.lag_seconds)} late."]
        yield Concern(Tone.WARNING, words, endpoint.reasons, _show_queued(endpoint), "cdc-bridge status")
    if endpoint.dead:
        yield _given_up(endpoint)
    if missed := (endpoint.reconciled_missing or 0) + (endpoint.reconciled_stale or 0):
        what, it_is = ("1 booking", "it is") if missed == 1 else (f"{missed:,} bookings", "they are")
        words = [f"The last comparison found {what} that {endpoint.name} does not have as {it_is}."]
        deliver = Action("Compare again and deliver", f"{_path(endpoint)}/reconcile", changes=True)
        command = f"cdc-bridge reconcile --endpoint {endpoint.name} --repair"
        yield Concern(Tone.WARNING, words, "", [deliver], command)


def _gets_nothing(endpoint: EndpointOverview) -> Concern:
    name, here, queued = endpoint.name, _path(endpoint), _show_queued(endpoint)
    reason = endpoint.reason or endpoint.last_failure or ""
    since: Words = [] if endpoint.since is None else [" since ", endpoint.since]
    test = Action("Send a test request", f"{here}/test", changes=True, at_once=True)
    resume = Action("Resume", f"{here}/resume", changes=True, at_once=True)
    match endpoint.status:
        case EndpointStatus.FAILING:
            probe = Action("Try now", f"{here}/resume", changes=True, at_once=True)
            words: Words = [
                f"{name} has taken no bookings",
                *since,
                ". They are kept, and tried again without your help.",
            ]
            return Concern(Tone.BAD, words, reason, [probe, test, *queued], f"cdc-bridge endpoint show {name}")
        case EndpointStatus.PAUSED:
            words = [f"{name} is paused", *since, ". Bookings are kept until it is resumed."]
            return Concern(Tone.WARNING, words, "", [resume, *queued])
        case EndpointStatus.DISABLED:
            words = [f"{name} asked for no more bookings", *since, "."]
            return Concern(Tone.BAD, words, reason, [resume, test, *queued], f"cdc-bridge endpoint resume {name}")
        case EndpointStatus.UNASSIGNED:
            words = [f"No bridge delivers to {name}", *since, ". Bookings are kept."]
            return Concern(Tone.BAD, words, reason, queued, "cdc-bridge status")
        case _:
            change = [] if endpoint.in_settings else [Action("Change it", f"{here}/change", changes=True)]
            words = [f"No request can be sent to {name}."]
            return Concern(Tone.BAD, words, reason, [*change, *queued], f"cdc-bridge endpoint show {name}")


def _degraded(endpoint: EndpointOverview) -> Concern:
    reason = endpoint.reason or endpoint.last_failure or ""
    if not endpoint.pending:
        return Concern(Tone.WARNING, [f"{endpoint.name} has a problem."], reason, [Action("Show it", _path(endpoint))])
    words = [f"{endpoint.name} rejects some bookings. They are tried again."]
    return Concern(Tone.WARNING, words, reason, [_show(endpoint, "retrying", None)])


def _given_up(endpoint: EndpointOverview) -> Concern:
    given_up = "1 delivery was" if endpoint.dead == 1 else f"{endpoint.dead:,} deliveries were"
    words = [f"{given_up} given up after two days, as {endpoint.name} rejected each attempt."]
    again = Action("Send them again", f"{_path(endpoint)}/resend?state=dead", changes=True)
    return Concern(Tone.WARNING, words, "", [_show(endpoint, "dead", endpoint.dead), again])


def _path(endpoint: EndpointOverview) -> str:
    return f"/endpoints/{quote(endpoint.name, safe='')}"


def _show_queued(endpoint: EndpointOverview) -> Sequence[Action]:
    # Of an endpoint with conditions nobody knows how many of the unread changes are for it.
    number = endpoint.backlog if endpoint.gets_everything and not endpoint.pending else None
    return [_show(endpoint, "queued", number)] if endpoint.backlog else []


def _show(endpoint: EndpointOverview, state: str, number: int | None) -> Action:
    which = "it" if number == 1 else f"the {number:,}" if number else "them"
    return Action(f"Show {which}", f"/deliveries?endpoint={quote(endpoint.name, safe='')}&state={state}")
