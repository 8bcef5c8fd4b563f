"""How an endpoint is, in one word and a few more: decided from what its row and its lease say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum

from cdc_bridge.model import EndpointId, without_query

OTHER_CLUSTER = (
    "this database was restored from a dump into another PostgreSQL cluster, so nothing is called; if it is the one to "
    "work with and no copy, run in psql as a DBA: select cdc_bridge.adopt();"
)


class State(StrEnum):
    """One word for it."""

    HEALTHY = "healthy"
    BACKING_OFF = "backing off"
    """It fails; it is tried from time to time."""
    PAUSED = "paused"
    """An operator wants no calls."""
    DISABLED = "disabled"
    """It answered that it wants no calls any more."""
    NO_DAEMON = "no daemon"
    """Nothing is wrong with it, but no daemon that lives has it."""
    UNCALLABLE = "cannot be called"
    """No daemon can call it as its row stands."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What the state follows from."""

    endpoint_id: EndpointId
    name: str
    in_settings: bool
    """Declared in a daemon's settings, and changed there only."""
    url: str
    paused_at: datetime | None
    disabled_at: datetime | None
    failing_since: datetime | None
    next_probe_at: datetime | None
    problem: str | None
    daemon_name: str | None
    """Host and process id of the daemon that held it last."""
    same_cluster: bool
    """Whether its position is made of this cluster's transaction ids."""
    held: bool
    """Whether a daemon that lives has it."""

    @property
    def shown_url(self) -> str:
        """The URL for logs and pages."""
        return without_query(self.url)

    @property
    def holder(self) -> str | None:
        """The daemon that has it, if one does."""
        return self.daemon_name if self.held else None


@dataclass(frozen=True, slots=True)
class EndpointStanding:
    """The state, and what one wants to know beside it."""

    state: State
    since: datetime | None = None
    until: datetime | None = None
    """When it is tried again."""
    reason: str | None = None

    def sentence(self, zone: tzinfo | None = None) -> str:
        """Return all of it in words, with times in a time zone; ``None``: this machine's."""
        since, until = when(self.since, zone), self.until and self.until.astimezone(zone).strftime("%H:%M:%S %Z")
        match self.state:
            case State.BACKING_OFF:
                return f"backing off until {until} (since {since}; {self.reason or 'it fails'})"
            case State.PAUSED:
                return f"paused since {since}"
            case State.DISABLED:
                return f"disabled since {since} (it answered 410)"
            case State.UNCALLABLE:
                return f"cannot be called: {self.reason}"
            case State.HEALTHY | State.NO_DAEMON:
                return self.state.value


def standing_of(facts: EndpointFacts) -> EndpointStanding:
    """Decide how an endpoint is: what somebody wants comes first, then what is wrong, then who calls it."""
    if facts.disabled_at is not None:
        return EndpointStanding(State.DISABLED, since=facts.disabled_at)
    if facts.paused_at is not None:
        return EndpointStanding(State.PAUSED, since=facts.paused_at)
    if not facts.held:
        return _standing_of_free(facts)
    if facts.failing_since is not None:
        return EndpointStanding(State.BACKING_OFF, facts.failing_since, facts.next_probe_at, facts.problem)
    return EndpointStanding(State.HEALTHY)


def _standing_of_free(facts: EndpointFacts) -> EndpointStanding:
    if not facts.same_cluster:
        return EndpointStanding(State.UNCALLABLE, reason=OTHER_CLUSTER)
    # What a daemon wrote of a failing endpoint before it was killed says nothing of whether that can be called.
    if facts.problem is not None and facts.failing_since is None:
        return EndpointStanding(State.UNCALLABLE, reason=facts.problem)
    return EndpointStanding(State.NO_DAEMON)


def when(at: datetime | None, zone: tzinfo | None = None) -> str | None:
    """Return a time for people, in a time zone; ``None``: this machine's."""
    return None if at is None else at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")
