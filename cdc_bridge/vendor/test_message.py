"""A test call, and what its answer means.

It is made as every call is: same address, TLS, headers, signature. Yet it must not be taken for a booking, by any
receiver, however simple. So

* the body is ``{"ping":"<time>"}`` and not the contract's example, which would be a table for two: a receiver that
  looks at nothing but the body finds none of a reservation's keys in it (``type`` is one of them), and refuses it;
* ``ce-type`` is ``cdc-bridge.ping``, so that a receiver that looks there can answer 204 and do nothing;
* ``ce-subject`` and ``ce-sequence`` are left out: it is about no reservation, and a receiver that remembers the highest
  sequence has none to remember;
* ``webhook-id`` has its usual form with the number 0, which no change has. The time in the body makes it another for
  each test call: a receiver that drops repeats would answer the second one out of its memory.

A receiver that answers 400 or 422 has proved as much as is asked: that it is there, that its certificate and ours are
right, and that the URL leads to what reads JSON.

What it does not prove is that a reservation would be understood. A *sample* does, and gives up the first point for it:
its body is the contract's example, and a receiver that looks at nothing but the body takes it for a booking. So it is
made only for somebody who was told so and agreed, and says in its notes what it is; the visit lies years back. The rest
is as with every test call: a receiver that goes by ``ce-type`` is safe, and one that has read of test calls need not
know that there are two.
"""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from cdc_bridge.transport.message import Message, message_id
from cdc_bridge.transport.outcome import Delivered, Outcome
from cdc_bridge.vendor.contract import example

TEST_TYPE = "cdc-bridge.ping"

SAMPLE_NOTES = "A test call of cdc-bridge: not a real reservation"

_MEANINGS = {
    400: "It was reached, and refuses a body that is no reservation: address, TLS and URL are right.",
    401: "It was reached, and does not accept who calls: a header, the secret or the client certificate is wrong.",
    403: "It was reached, and does not accept who calls: a header, the secret or the client certificate is wrong.",
    404: "A server was reached that knows nothing at this URL: its path is wrong.",
    405: "A server was reached that takes no POST at this URL: its path is wrong.",
    407: "A proxy stands in between and wants to know who calls.",
    408: "It was reached, and did not get the call in the time it allows.",
    409: "It was reached, and refuses a body that is no reservation: address, TLS and URL are right.",
    410: "It was reached, and wants no more calls: a daemon that gets this answer disables the endpoint.",
    413: "It was reached, and finds even a tiny body too large.",
    415: "It was reached, and takes no application/json.",
    422: "It was reached, and refuses a body that is no reservation: address, TLS and URL are right.",
    429: "It was reached, and asks for a pause.",
}

_MEANINGS_OF_SAMPLE = _MEANINGS | dict.fromkeys(
    (400, 409, 422), "It was reached, and refuses the contract's example, or every test call: only its owner can tell."
)


def compose_test_request(at: datetime, source: str) -> Message:
    """Return a test call's message.

    Args:
        at: now.
        source: CloudEvents source, as of the daemon's calls.
    """
    time = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    body = orjson.dumps({"ping": time})
    return Message(id=message_id(0, body), type=TEST_TYPE, source=source, time=at, body=body)


def compose_sample(at: datetime, source: str) -> Message:
    """Return a sample call's message: the contract's example, but for its notes and the time of its last change.

    The latter makes its ``webhook-id`` another each time, as the time does in a test call's body.

    Args:
        at: now.
        source: CloudEvents source, as of the daemon's calls.
    """
    updated = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = orjson.dumps(example() | {"notes": SAMPLE_NOTES, "updated": updated})
    return Message(id=message_id(0, body), type=TEST_TYPE, source=source, time=at, body=body)


def meaning_of(outcome: Outcome, *, sample: bool = False) -> str:
    """Return what the answer to a test call means, for people.

    Args:
        outcome: the answer.
        sample: whether it was a sample call.
    """
    if isinstance(outcome, Delivered):
        return "It was reached, and accepts calls."
    meanings = _MEANINGS_OF_SAMPLE if sample else _MEANINGS
    match outcome.status:
        case None:
            return "No answer came."
        case status if status in meanings:
            return meanings[status]
        case status if status < 400:
            return "A server was reached that has it elsewhere."
        case status if status < 500:
            return "It was reached, and refuses the test call."
        case _:
            return "It was reached, or what stands before it, and cannot work at present."
