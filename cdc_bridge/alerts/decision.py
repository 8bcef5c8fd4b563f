"""Decides when people are alerted that health has turned red, or is green again. Pure: time comes in as an argument.

* What lasts for ``after`` is reported: red, and green again.
* Flapping is damped. Red soon after the last red is reported once, and then nothing until health has been steady. So is
  health that turns red so often that nothing lasts.
* While health is red, another problem is reported too: else an endpoint that is down for a week would hide that capture
  was lost. Of endpoints, ever more seldom: among thousands there is always another one.
* Once a day, a reminder.

What was reported last is in the database (:mod:`~cdc_bridge.alerts.record`): another daemon goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

STEADY = timedelta(minutes=30)
"""Time between two alerts that health has turned red; and for which it has to be steady after that."""
_TURNS_WITHOUT_REST = 4
"""Health that turned red so often within that time is unstable, though neither red nor green lasts."""
MORE_AFTER = timedelta(minutes=5)
"""Least time between two alerts while health is red."""
REMIND_AFTER = timedelta(days=1)
_MOST_DOUBLINGS = 8
OF_ENDPOINTS = "endpoint:"
"""So begins what names the problem of an endpoint."""


class State(StrEnum):
    """What people know of health."""

    GREEN = "green"
    RED = "red"
    UNSTABLE = "unstable"
    """It turned red again and again; nothing more is reported until it is steady."""


class Reason(StrEnum):
    """Why there is an alert."""

    RED = "red"
    UNSTABLE = "unstable"
    MORE = "more"
    """Another problem has come."""
    REMINDER = "reminder"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Reported:
    """What was reported last."""

    state: State = State.GREEN
    reported_at: datetime | None = None
    red_at: datetime | None = None
    """When it was reported for the last time that health has turned red."""
    alerts: int = 0
    """Alerts since health was green."""
    about: frozenset[str] = frozenset()
    """Which problems the last alert was about."""


@dataclass(frozen=True, slots=True)
class Decision:
    """An alert to send."""

    reason: Reason
    reported: Reported
    """What will have been reported then."""
    turned: int
    """How often health turned red lately, as far as this daemon has seen."""


class Course:
    """How health went, as far as this daemon has seen."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}
        self._turned_red: deque[datetime] = deque(maxlen=100)
        self._changed_at: datetime | None = None

    def look(self, now: datetime, problems: Collection[str]) -> bool:
        """Note which problems there are now, none: health is green; return whether it turned red or green."""
        turned = bool(problems) != self.is_red
        if turned or self._changed_at is None:
            self._changed_at = now
        if turned and problems:
            self._turned_red.append(now)
        self._since = {problem: self._since.get(problem, now) for problem in problems}
        return turned

    @property
    def is_red(self) -> bool:
        """Whether there was a problem at the last look."""
        return bool(self._since)

    def steady(self, now: datetime) -> timedelta:
        """Return for how long health has been as it is."""
        return timedelta() if self._changed_at is None else now - self._changed_at

    def lasting(self, now: datetime, after: timedelta) -> frozenset[str]:
        """Return the problems that have lasted."""
        return frozenset(problem for problem, since in self._since.items() if now - since >= after)

    def turned(self, now: datetime) -> int:
        """Return how often health turned red lately."""
        return sum(now - at <= STEADY for at in self._turned_red)

    @property
    def problems(self) -> frozenset[str]:
        """Those of the last look."""
        return frozenset(self._since)


def decide(now: datetime, course: Course, reported: Reported, after: timedelta) -> Decision | None:
    """Return the alert to send now; ``None``: none.

    Args:
        now: The time.
        course: How health went; looked at now.
        reported: What was reported last.
        after: For how long red or green has to last.
    """
    reason = _reason(now, course, reported, after)
    if reason is None:
        return None
    about = course.problems
    turned = course.turned(now)
    match reason:
        case Reason.GREEN:
            return Decision(reason, Reported(State.GREEN, now, reported.red_at), turned)
        case Reason.UNSTABLE:
            return Decision(reason, Reported(State.UNSTABLE, now, now, reported.alerts + 1, about), turned)
        case Reason.RED:
            return Decision(reason, Reported(State.RED, now, now, reported.alerts + 1, about), turned)
        case Reason.MORE | Reason.REMINDER:
            return Decision(reason, replace(reported, reported_at=now, alerts=reported.alerts + 1, about=about), turned)


def _reason(now: datetime, course: Course, reported: Reported, after: timedelta) -> Reason | None:
    steady = course.steady(now)
    if reported.state is State.GREEN:
        if not course.is_red or steady < after:
            return Reason.UNSTABLE if course.turned(now) >= _TURNS_WITHOUT_REST else None
        return Reason.UNSTABLE if reported.red_at is not None and now - reported.red_at < STEADY else Reason.RED
    rest = STEADY if reported.state is State.UNSTABLE else after
    if not course.is_red:
        return Reason.GREEN if steady >= max(rest, after) else None
    if reported.state is State.UNSTABLE and steady >= rest:
        return Reason.RED
    since = now - reported.reported_at if reported.reported_at is not None else REMIND_AFTER
    if any(since >= _pause(problem, reported) for problem in course.lasting(now, after) - reported.about):
        return Reason.MORE
    return Reason.REMINDER if since >= REMIND_AFTER else None


def _pause(problem: str, reported: Reported) -> timedelta:
    if not problem.startswith(OF_ENDPOINTS):
        return MORE_AFTER
    doublings = min(max(reported.alerts - 1, 0), _MOST_DOUBLINGS)
    return min(MORE_AFTER * (1 << doublings), REMIND_AFTER)
