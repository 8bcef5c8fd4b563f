"""The vendor's portal: the pages of one endpoint, for whoever has its link.

A session in the portal is bound to one endpoint. What it may ask for is decided here, for every request, and before the
handler: a handler that does not say how a request names its endpoint is closed to it, and so is a request that names
another endpoint. Both look as if there were no such page. An error that may name another endpoint, or something of the
restaurant's, is not told in its words.

What the vendor sees of the endpoint's options is declared with each (:mod:`cdc_bridge.endpoints.options`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from enum import Enum, auto
from http import HTTPStatus
from urllib.parse import quote, urlencode

from multidict import MultiMapping

from cdc_bridge.endpoints.details import ShownEndpoint
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.errors import BridgeError, Conflict, WrongUsage

SIGN_IN = "/portal"
"""Path of the form that a link leads to."""
MOST_CHANGES = 30
"""Test requests and retries by the vendor of an endpoint within a minute: each is in the audit log for a year."""
_WITHIN_SECONDS = 60.0
_MOST_ENDPOINTS = 10_000

_REASON_SHOWN = {EndpointStatus.FAILING, EndpointStatus.PAUSED, EndpointStatus.DISABLED}
"""Statuses whose reason is the endpoint's own; another one may name files and daemons."""

_NOT_BY_YOU = "Nothing is sent at present: the cause is on the restaurant's side. Deliveries are kept."
_MEANINGS = {
    EndpointStatus.FAILING: "Deliveries are kept, and sent once a request succeeds.",
    EndpointStatus.PAUSED: "Deliveries are kept until the restaurant resumes them.",
    EndpointStatus.DISABLED: "Deliveries are kept. Ask the restaurant to resume them once you take them again.",
    EndpointStatus.UNASSIGNED: _NOT_BY_YOU,
    EndpointStatus.INVALID: _NOT_BY_YOU,
}
_NEUTRAL = {
    HTTPStatus.BAD_REQUEST: "This cannot be done.",
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.SERVICE_UNAVAILABLE: "This is not available at present. Try again later.",
}
_NO_CONNECTION = "the endpoint could not be reached"
_NOT_POSSIBLE = "This is not possible at present. If that lasts, ask whoever sent you the link."


class NamedBy(Enum):
    """How a request for a handler names its endpoint."""

    PATH = auto()
    """Its path has the name."""
    QUERY = auto()
    """Its query has it; without it, the request is redirected to one that does."""
    NOTHING = auto()
    """It is about the session alone."""
    HOME = auto()
    """It leads to the endpoint's page."""


class NotAdmitted(Exception):
    """A request asks for something else than its session's endpoint."""


def home_of(endpoint: str) -> str:
    """Return the path of an endpoint's page."""
    return f"/endpoints/{quote(endpoint, safe='')}"


def redirection(
    endpoint: str, named_by: NamedBy | None, path: str, names: Mapping[str, str], query: MultiMapping[str]
) -> str | None:
    """Return where a request is redirected to; ``None``: it is admitted.

    Args:
        endpoint: The one that the session is for.
        named_by: How a request for the handler names its endpoint; ``None``: the handler is closed to the portal.
        path: The request's path.
        names: What the path names, decoded as the handler gets it.
        query: The request's query.

    Raises:
        NotAdmitted: It names another endpoint, or the handler is closed.
    """
    match named_by:
        case None:
            raise NotAdmitted
        case NamedBy.NOTHING:
            return None
        case NamedBy.HOME:
            return home_of(endpoint)
        case NamedBy.PATH:
            if [names[key] for key in ("name", "endpoint") if key in names] != [endpoint]:
                raise NotAdmitted
            return None
        case NamedBy.QUERY:
            of_deliveries = [text.rpartition("/")[0] for text in query.getall("of", []) if text]
            named = query.getall("endpoint", [])
            if any(name != endpoint for name in (*of_deliveries, *filter(None, named))) or len(named) > 1:
                raise NotAdmitted
            if named == [endpoint]:
                return None
            others = [(key, value) for key, value in query.items() if key != "endpoint"]
            return f"{path}?{urlencode([('endpoint', endpoint), *others])}"


def neutral(status: HTTPStatus, problem: str) -> str:
    """Return the words for a response of a status: the problem's own only where none of it comes from the database."""
    return _NEUTRAL.get(status, problem)


def told(error: BridgeError) -> str:
    """Return what a vendor may know of an error: its words only if it is about what the vendor asked for."""
    return error.problem if isinstance(error, Conflict | WrongUsage) else _NOT_POSSIBLE


def option_lines(shown: ShownEndpoint, zone: tzinfo) -> Iterator[tuple[str, str]]:
    """Return label and value of each option that the vendor sees."""
    seen = {option.label for option in OPTIONS.values() if option.for_vendor}
    return (line for line in shown.option_lines(zone) if line[0] in seen)


def reason_for_vendor(reason: str) -> str:
    """Return why an attempt failed, for the vendor: which proxy it went through is the restaurant's business."""
    return _NO_CONNECTION if "proxy" in reason.casefold() else reason


def shows_reason(endpoint: EndpointOverview) -> bool:
    """Return whether the reason of an endpoint's status is its own; another one is the restaurant's business."""
    return endpoint.status in _REASON_SHOWN


def meaning_of(endpoint: EndpointOverview) -> str:
    """Return what the status means for the vendor, and who can end it."""
    if endpoint.status is not EndpointStatus.DEGRADED:
        return _MEANINGS.get(endpoint.status, "")
    if endpoint.pending:
        return "Some deliveries were rejected, and are tried again."
    return "Some deliveries were given up: each attempt was rejected." if endpoint.dead else ""


class VendorLimit:
    """Limits what vendors change. ``now`` is in seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._at: OrderedDict[str, list[float]] = OrderedDict()

    def note(self, endpoint: str, now: float) -> float:
        """Note a change; return in how many seconds it may be made, 0: now."""
        recent = [at for at in self._at.get(endpoint, ()) if now - at < _WITHIN_SECONDS]
        if len(recent) >= MOST_CHANGES:
            return recent[0] + _WITHIN_SECONDS - now
        self._at[endpoint] = [*recent, now]
        self._at.move_to_end(endpoint)
        while len(self._at) > _MOST_ENDPOINTS:
            self._at.popitem(last=False)
        return 0.0
