"""The sentence on top of the dashboard: whether all bookings arrive, in words for a restaurant's manager."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus, age
from cdc_bridge.endpoints.survey import EndpointSurvey
from cdc_bridge.runtime.health import HealthSnapshot
from cdc_bridge.runtime.readiness import Part
from cdc_bridge.web.concerns import OF_ENDPOINTS, Tone, Words
from cdc_bridge.web.endpoint_words import DELIVERED_TO, gets_nothing

_THE_ONLY_ONE = "the till"


@dataclass(frozen=True, slots=True)
class Summary:
    """The sentence on top."""

    tone: Tone
    words: Words


def summary_of(snapshot: HealthSnapshot, max_lag_seconds: float, now: datetime) -> Summary:
    """Return the sentence on top."""
    survey = snapshot.survey
    if not snapshot.database_up or survey is None:
        return Summary(Tone.BAD, ["The bridge cannot reach e-Res's database. Bookings stay there; nothing is lost."])
    technical = {problem.part for problem in snapshot.problems} - OF_ENDPOINTS
    if technical & {Part.INSTALLATION, Part.MAPPING, Part.CAPTURE}:
        return Summary(Tone.BAD, ["Not all bookings reach the bridge. Whoever runs it has to act: see below."])
    if not survey.number:
        return Summary(Tone.WARNING, ["Nothing is connected yet, so no booking is delivered."])
    tone = Tone.WARNING if technical else Tone.GOOD
    return _of_endpoints(snapshot.endpoints, survey, tone, max_lag_seconds, now)


def _of_endpoints(
    endpoints: Sequence[EndpointOverview], survey: EndpointSurvey, tone: Tone, max_lag_seconds: float, now: datetime
) -> Summary:
    number = survey.number
    has_all = len(endpoints) == number
    settling = sum(one.settling for one in endpoints)
    silent = [one for one in endpoints if gets_nothing(one)]
    count = sum(count for status, count in survey.by_status.items() if status not in DELIVERED_TO) - settling
    if len(silent) == 1 and has_all:
        return Summary(_tone_of(silent[0]), [*_why_nothing(silent[0], number), *_waiting(silent)])
    if count > 0:
        paused = survey.by_status.get(EndpointStatus.PAUSED, 0)
        words = f"{count:,} of {number:,} endpoints get no bookings at present."
        waiting = _waiting(silent) if has_all else [" What they miss is kept."]
        return Summary(Tone.WARNING if paused >= count else Tone.BAD, [words, *waiting])
    name = _name(endpoints[0], number) if number == 1 and endpoints else f"all {number:,} endpoints"
    # One booking that is rejected makes no other one late.
    late = [one for one in endpoints if _is_late(one, max_lag_seconds) and not _rejects(one)]
    if late:
        oldest = age(max(one.lag_seconds or 0.0 for one in late))
        return Summary(Tone.WARNING, [f"Bookings reach {name} late, by up to {oldest}.", *_waiting(late)])
    return _all_is_delivered(endpoints, survey, name, tone, now)


def _is_late(endpoint: EndpointOverview, max_lag_seconds: float) -> bool:
    return endpoint.lag_seconds is not None and endpoint.lag_seconds > max_lag_seconds


def _all_is_delivered(
    endpoints: Sequence[EndpointOverview], survey: EndpointSurvey, name: str, tone: Tone, now: datetime
) -> Summary:
    others = () if len(endpoints) == survey.number else (survey.others.last_success_at,)
    times = [at for at in (*(one.last_success_at for one in endpoints), *others) if at is not None]
    when = f" Last delivery {age(now - max(times))} ago." if times else ""
    dead = any(one.dead for one in endpoints) or (len(endpoints) < survey.number and survey.others.dead > 0)
    if dead or any(_rejects(one) for one in endpoints):
        return Summary(Tone.WARNING, [f"Bookings reach {name}, but some were rejected: see below.{when}"])
    if not times:
        return Summary(tone, [f"Ready. The next booking goes to {name}."])
    return Summary(tone, [f"All bookings reach {name}.{when}"])


def _rejects(endpoint: EndpointOverview) -> bool:
    return endpoint.status is EndpointStatus.DEGRADED and endpoint.pending > 0


def _tone_of(endpoint: EndpointOverview) -> Tone:
    return Tone.WARNING if endpoint.status is EndpointStatus.PAUSED else Tone.BAD


def _name(endpoint: EndpointOverview, number: int) -> str:
    return _THE_ONLY_ONE if number == 1 else endpoint.name


def _why_nothing(endpoint: EndpointOverview, number: int) -> Words:
    name = _name(endpoint, number)
    subject = name[0].upper() + name[1:] if number == 1 else name
    since: Words = [] if endpoint.since is None else [" since ", endpoint.since]
    match endpoint.status:
        case EndpointStatus.FAILING:
            return [f"{subject} has taken no booking", *since, "."]
        case EndpointStatus.PAUSED:
            return [f"Deliveries to {name} are paused", *since, "."]
        case EndpointStatus.DISABLED:
            return [f"{subject} asked for no more bookings", *since, "."]
        case EndpointStatus.UNASSIGNED:
            return [f"No bridge delivers to {name}", *since, "."]
        case _:
            return [f"No request can be sent to {name}."]


def _waiting(endpoints: Sequence[EndpointOverview]) -> Words:
    """Say how much waits. Changes of which it is not known whether they are for an endpoint are counted as such."""
    number = sum(endpoint.backlog or 0 for endpoint in endpoints)
    if not number:
        return [" Nothing is lost."]
    exact = all(endpoint.gets_everything for endpoint in endpoints)
    changes = "1 change to a booking is" if number == 1 else f"{number:,} changes to bookings are"
    return [f" {'Up to ' if not exact else ''}{changes} waiting; nothing is lost."]
