"""Test requests, and the meaning of their responses.

A test request is sent as every request is: same URL, TLS, headers and signature. Yet no receiver, however simple, must
mistake it for a booking. So

* the body is ``{"test":"<time>"}``, not the contract's example, which would be a table for two: a receiver that looks
  at the body alone finds none of a reservation's keys in it (``type`` is one of them), and rejects it;
* ``ce-type`` is ``cdc-bridge.test``, so that a receiver that looks there can respond 204 and do nothing;
* ``ce-subject`` and ``ce-sequence`` are missing: a receiver that keeps the highest sequence has none to keep;
* ``webhook-id`` has its usual form with the number 0, which no change has. The time in the body makes it unique: a
  receiver that drops duplicates would otherwise not look at the second one.

A receiver that responds 400 or 422 has proved enough if it accepts reservations: it is there, certificates are right on
both sides, and the URL leads to something that parses JSON. One that accepts none may be a server in front that
rejects everything, as nginx does with 400 for want of a client certificate.

A test request does not prove that a reservation would be understood. A *sample* does: its body is the contract's
example, so a receiver that looks at the body alone takes it for a booking. It is sent only after a warning was
confirmed, its notes say what it is, and the visit lies years back. Everything else is as in a test request, so a
receiver that goes by ``ce-type`` is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from cdc_bridge.transport.message import Message, message_id
from cdc_bridge.transport.outcome import Delivered, Fault, Outcome
from cdc_bridge.vendor.contract import example, instant

TEST_TYPE = "cdc-bridge.test"

SAMPLE_NOTES = "Test request of cdc-bridge: not a real reservation"

_NOT_A_RESERVATION = "The endpoint rejects a body that is not a reservation."
_ACCEPTS_RESERVATIONS = "It accepts reservations: URL and TLS are right."
_ACCEPTS_NOTHING = (
    "It accepts nothing: all its deliveries fail too. Check what it requires of every request, such as a client "
    "certificate."
)
_ACCEPTED_NOTHING_YET = (
    "Or it rejects everything, as a server in front may that requires a client certificate: it has accepted no "
    "delivery yet."
)
_REJECTS = "The endpoint rejects the test request."
_UNAUTHORISED = "The endpoint rejects the request's credentials. Check header, secret and client certificate."

_MEANINGS = {
    400: _NOT_A_RESERVATION,
    401: _UNAUTHORISED,
    403: _UNAUTHORISED,
    404: "The server has nothing at this URL. Check its path.",
    405: "The server accepts no POST at this URL. Check its path.",
    407: "A proxy in between asks for authentication.",
    408: "The endpoint did not receive the request in the time it allows.",
    409: _NOT_A_RESERVATION,
    410: "The endpoint wants no more requests. A daemon that receives this response disables it.",
    413: "The endpoint finds even a tiny body too large.",
    415: "The endpoint does not accept application/json.",
    422: _NOT_A_RESERVATION,
    429: "The endpoint asks for a pause.",
}

_MEANINGS_OF_SAMPLE = _MEANINGS | dict.fromkeys(
    (400, 409, 422), "The endpoint rejects the contract's example, or every test request. Only its owner can tell."
)


def compose_test_request(at: datetime, source: str) -> Message:
    """Return the message of a test request.

    Args:
        at: Now.
        source: CloudEvents source, as in the daemon's requests.
    """
    time = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    body = orjson.dumps({"test": time})
    return Message(id=message_id(0, body), type=TEST_TYPE, source=source, time=at, body=body)


def compose_sample(at: datetime, source: str) -> Message:
    """Return the message of a sample: the contract's example, but for its notes and the time of its last change.

    The time makes its ``webhook-id`` unique.

    Args:
        at: Now.
        source: CloudEvents source, as in the daemon's requests.
    """
    body = orjson.dumps(example() | {"notes": SAMPLE_NOTES, "updated": instant(at)})
    return Message(id=message_id(0, body), type=TEST_TYPE, source=source, time=at, body=body)


def meaning_of(outcome: Outcome, *, sample: bool = False, accepts: bool | None = None) -> str:
    """Return what the outcome of a test request means, for people.

    Args:
        outcome: The outcome.
        sample: Whether the request was a sample.
        accepts: Whether the endpoint accepts deliveries; ``None``: none succeeded yet.
    """
    if isinstance(outcome, Delivered):
        return "The endpoint accepts requests."
    meaning = _meaning_of_failure(outcome.status, _MEANINGS_OF_SAMPLE if sample else _MEANINGS)
    if outcome.fault is not Fault.DELIVERY:
        return meaning
    if accepts is False:
        return f"{_REJECTS if meaning == _NOT_A_RESERVATION else meaning} {_ACCEPTS_NOTHING}"
    if meaning == _NOT_A_RESERVATION:
        return f"{meaning} {_ACCEPTS_RESERVATIONS if accepts else _ACCEPTED_NOTHING_YET}"
    return meaning


def _meaning_of_failure(status: int | None, meanings: Mapping[int, str]) -> str:
    match status:
        case None:
            return "There was no response."
        case status if status in meanings:
            return meanings[status]
        case status if status < 400:
            return "The server redirects. Set the final URL."
        case status if status < 500:
            return _REJECTS
        case _:
            return "The endpoint, or a server in front of it, is out of order."


def told_flaw(flaw: str | None) -> str:
    """Return a sentence about what is wrong with the form of a response; empty if nothing is."""
    return f" The response has {flaw}: its status counts, but it costs a connection." if flaw else ""
