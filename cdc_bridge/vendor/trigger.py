"""One invented reservation, sent to any endpoint as a daemon sends its requests, and what the response means.

``created``, ``updated`` and ``cancelled`` are about one and the same reservation, ``walk-in`` is about another. Each
request is the next change of its reservation, so that a receiver that keeps the last state has two rows at most,
however often it is tried. The notes say what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import SimpleNamespace
from typing import assert_never

import aiohttp
import orjson

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import Change, History, Operation, ReservationId, Seq
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.message import Message, compose
from cdc_bridge.transport.outcome import Attempt, Delivered, Fault, Outcome
from cdc_bridge.transport.pools import ConnectionPools
from cdc_bridge.vendor.contract import example, instant
from cdc_bridge.vendor.response_advice import advice_on

SOURCE = "/cdc-bridge/trigger"
NOTES = "Sent by cdc-bridge trigger: not a real reservation"

_BOOKED_BEFORE = timedelta(hours=1)


class Event(StrEnum):
    """What happened to the reservation."""

    CREATED = "created"
    UPDATED = "updated"
    CANCELLED = "cancelled"
    WALK_IN = "walk-in"


_EVENTS = {
    Event.CREATED: (Operation.CREATED, "no-call", {}),
    Event.UPDATED: (Operation.UPDATED, "no-call", {"adults": 4, "tables": "14"}),
    Event.CANCELLED: (Operation.UPDATED, "cancelled", {}),
    Event.WALK_IN: (Operation.CREATED, "walk-in", {}),
}
"""What the change did, the example of the contract that the body is made from, and what differs from it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its response."""

    message: Message
    attempt: Attempt
    request_headers: Mapping[str, str]
    """All that were sent, in their order; empty: none were."""
    response_headers: Mapping[str, str]
    """Those that could be read."""


def compose_invented(event: Event, at: datetime) -> Message:
    """Return the message about an invented reservation.

    Args:
        event: What happened to it.
        at: Now. A later one makes a higher ``ce-sequence``.
    """
    operation, name, changes = _EVENTS[event]
    reservation = example(name) | changes
    visit = at if event is Event.WALK_IN else (at + timedelta(days=1)).replace(hour=18, minute=30)
    reservation |= {
        "datetime": instant(visit.replace(second=0, microsecond=0)),
        "created": instant(at if operation is Operation.CREATED else at - _BOOKED_BEFORE),
        "updated": instant(at),
        "notes": NOTES,
    }
    # As long as a daemon's, so that a receiver that takes it for a floating-point number is found out.
    history, seq = History(int(at.timestamp())), Seq(at.microsecond * 1000)
    change = Change(seq, ReservationId(reservation["id"]), operation, at)
    return compose(change, reservation["id"], SOURCE, history, orjson.dumps(reservation))


async def send_invented(endpoint: Endpoint, event: Event) -> Exchange:
    """Send an invented reservation to an endpoint.

    Raises:
        BridgeError: The request cannot be made: a certificate file cannot be read, or the environment names a proxy
            that cannot be used.
    """
    message = compose_invented(event, datetime.now(UTC))
    sent: dict[str, str] = {}
    received: dict[str, str] = {}
    pools = ConnectionPools(traces=[_keeping_headers(sent, received)])
    try:
        transport = HttpTransport(replace(endpoint, keep_responses=True), may_send=lambda: True, pools=pools)
    except OSError as error:
        raise BridgeError(f"a certificate file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BridgeError(str(error)) from None
    try:
        attempt = await transport.send(message)
    finally:
        await pools.close()
    if attempt is None:  # Only a lost lease withholds a request, and there is no lease.
        raise BridgeError("the request was not sent")
    return Exchange(message, attempt, sent, received)


def consequence_of(outcome: Outcome) -> str:
    """Return what a response to a reservation means for the bridge, for people."""
    if isinstance(outcome, Delivered):
        return "Delivered: for the bridge the reservation is stored, and this change is not sent again."
    return f"{_consequence_of_failure(outcome.fault, outcome.retry_after_seconds)} {advice_on(outcome)}".rstrip()


def _consequence_of_failure(fault: Fault, retry_after_seconds: float | None) -> str:
    match fault:
        case Fault.DELIVERY:
            return (
                "Rejected: the bridge retries this delivery for two days, then it is a dead letter. Other reservations "
                "are not delayed."
            )
        case Fault.OVERLOAD:
            pause = "for 1 s growing to 60 s" if retry_after_seconds is None else f"for {retry_after_seconds:g} s"
            return f"Pause: the bridge sends nothing {pause}, and then tries again. No delivery expires."
        case Fault.WITHDRAWN:
            return "Withdrawn: the bridge sends nothing more until the restaurant resumes the endpoint."
        case Fault.ENDPOINT:
            return (
                "Failed: the bridge tries again. If three reservations fail like this, the endpoint counts as failing, "
                "and only a probe is sent now and then until one succeeds. No delivery expires meanwhile."
            )
        case Fault.OURS:
            return "This says nothing about the endpoint."
        case _:
            assert_never(fault)


def _keeping_headers(sent: dict[str, str], received: dict[str, str]) -> aiohttp.TraceConfig:
    """Return what keeps the headers of a request and its response, as they went over the connection."""

    async def on_sent(_: object, __: SimpleNamespace, seen: aiohttp.TraceRequestHeadersSentParams) -> None:
        sent.update((name.lower(), value) for name, value in seen.headers.items())

    async def on_end(_: object, __: SimpleNamespace, seen: aiohttp.TraceRequestEndParams) -> None:
        for name, value in seen.response.headers.items():
            key = name.lower()
            received[key] = f"{received[key]}, {value}" if key in received else value

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(on_sent)
    trace.on_request_end.append(on_end)
    return trace
