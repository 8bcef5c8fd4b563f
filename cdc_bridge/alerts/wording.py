"""Words of an alert: what it means for the restaurants first, then each problem with its remedy.

An alert leaves the machine, for a service of somebody else's. So it says less than ``/readyz``: nothing that may name a
reservation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cdc_bridge.alerts.decision import OF_ENDPOINTS, STEADY, Decision, Reason
from cdc_bridge.checks.verdict import listed
from cdc_bridge.endpoints.status import age
from cdc_bridge.escaping import escaped
from cdc_bridge.runtime.readiness import Part, Problem

_MOST_PROBLEMS = 5
_MOST_CHARACTERS = 240
"""Of a problem: so the whole of it has less than the 4,096 bytes that ntfy takes for a message."""

_MEANINGS = {
    Part.DATABASE: "The bridge cannot reach the database, so no reservation is sent. They are sent once it is back.",
    Part.INSTALLATION: "The bridge cannot work with this database, so no reservation is sent.",
    Part.MAPPING: "Reservations cannot be read from e-Res, so none is sent. They are kept, and sent once it is solved.",
    Part.CAPTURE: "New and changed reservations are not noticed. They have to be sent by hand once it works again.",
    Part.WAKE_UP: "Reservations are sent up to half a second later.",
    Part.RESOURCES: "The bridge's machine is at its limits, so reservations are sent late.",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A message to people."""

    reason: str
    """red, unstable, more, reminder, green or test."""
    summary: str
    """In one line."""
    details: Sequence[str]
    """Further lines."""

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join((self.summary, *self.details))


def problem_key(problem: Problem) -> str:
    """Return what names a problem as long as it lasts."""
    if problem.part in {Part.ENDPOINT, Part.LAG}:
        return f"{OF_ENDPOINTS}{problem.about}"
    return str(problem.part)


def word_alert(decision: Decision, problems: Sequence[Problem], place: str, lasted: timedelta | None) -> Alert:
    """Return the words of an alert.

    Args:
        decision: Why there is one.
        problems: What is wrong now.
        place: Which bridge it is about.
        lasted: For how long it was red, if it is green again and that is known.
    """
    if decision.reason is Reason.GREEN:
        for_ = "" if lasted is None else f" It was in trouble for {age(lasted.total_seconds())}."
        return Alert(decision.reason, f"cdc-bridge {place} works again.", (f"Reservations are sent.{for_}",))
    headline = {
        Reason.RED: "is in trouble.",
        Reason.UNSTABLE: "is in trouble again and again.",
        Reason.MORE: "has another problem.",
        Reason.REMINDER: "is still in trouble.",
    }[decision.reason]
    damped = []
    if decision.reason is Reason.UNSTABLE:
        steady = age(STEADY.total_seconds())
        damped.append(
            f"It was so {decision.turned} times lately. The next message comes when nothing has changed for {steady}."
        )
    meanings = dict.fromkeys(_meanings(problems))
    return Alert(decision.reason, f"cdc-bridge {place} {headline}", (*meanings, *damped, *_listed(problems)))


def test_alert(place: str) -> Alert:
    """Return a test alert."""
    return Alert("test", f"cdc-bridge {place}: this is a test.", ("Alerts arrive. Nothing is wrong.",))


def _meanings(problems: Sequence[Problem]) -> Iterator[str]:
    for problem in problems:
        if problem.part in _MEANINGS:
            yield _MEANINGS[problem.part]
    stopped = [problem for problem in problems if problem.part is Part.ENDPOINT]
    without = list(dict.fromkeys(name for problem in stopped for name in problem.endpoints))
    if without:
        number = max(len(without), sum(problem.number for problem in stopped))
        yield f"No reservations reach {_named(without, number)}. They are kept, and sent once it works again."
    elif stopped:
        yield "Nobody receives reservations, as there is no endpoint."
    late = [problem for problem in problems if problem.part is Part.LAG]
    delayed = [
        name for name in dict.fromkeys(name for problem in late for name in problem.endpoints) if name not in without
    ]
    if delayed:
        number = max(len(delayed), sum(problem.number for problem in late)) if not without else len(delayed)
        yield f"Reservations reach {_named(delayed, number)} late."


def _named(names: Sequence[str], number: int) -> str:
    """Return the first five names, and how many more there are."""
    shown = [escaped(name) for name in names[:5]]
    return listed([*shown, *[""] * (number - len(shown))])


def _listed(problems: Sequence[Problem]) -> Iterator[str]:
    for problem in problems[:_MOST_PROBLEMS]:
        # The detail of a lag names a reservation.
        words = (
            problem.summary
            if problem.part is Part.LAG or not problem.detail
            else f"{problem.summary}: {problem.detail}"
        )
        text = escaped(f"- {problem.part}: {words}")
        yield text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
        if problem.remedy and problem.part is not Part.LAG:
            yield escaped(f"  To do: {problem.remedy}")[:_MOST_CHARACTERS]
    more = len(problems) - _MOST_PROBLEMS
    if more > 0:
        yield f"- and {more} more problem{'' if more == 1 else 's'}"
