"""The requirements of the contract: what each one sends, which response it wants, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from cdc_bridge.transport.message import Message
from cdc_bridge.vendor.conformance.requests import NOTES, RequestFactory, Signature, new_id
from cdc_bridge.vendor.contract import LARGEST_BODY_BYTES

CONCURRENT_REQUESTS = 50

_MANY_SCRIPTS: dict[str, Any] = {
    "notes": f"{NOTES}. Geburtstag 🎂🥂 für Zoë; 生日快乐; عيد ميلاد سعيد; \\ \" ' </script> \t\n% & ?",
    "customer": {"firstname": "Łukasz", "surname": "O'Neill-Åström 🍷"},
}
_NUMBERS_TO_KEEP: dict[str, Any] = {
    "rating": orjson.Fragment("20.0"),
    "discounts": [orjson.Fragment("20.50"), orjson.Fragment("0.0000001")],
}
"""A JSON column may have such numbers, and most programs that parse and write them again change them."""

_WHY_RAW = (
    "A body that is parsed and written again is another one, and its signature is wrong. Verify the raw bytes: "
    "express.raw() instead of express.json(), php://input, request.get_data()."
)
_WHY_VERIFY = (
    "Without verification, anyone who learns the URL can make bookings. Use a Standard Webhooks library, over the raw "
    "body."
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a till has in the end if it handled the requests: no response proves it, so somebody has to look."""

    request: int | None
    """Number, from 0, of the request whose content it has; ``None``: no booking."""
    because: str
    """What was sent, in a few words."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the checklist."""

    title: str
    why: str
    """Why it matters, and what to do if it is not met."""
    requests: Callable[[RequestFactory], Sequence[Message]]
    """Makes the requests. The last one is judged, and those before it have to be accepted; see ``concurrent``."""
    wanted: Literal["accepted", "rejected", "reached"] = "accepted"
    """Response of 2xx; of 4xx; of 2xx, 400 or 422."""
    concurrent: bool = False
    """All requests are sent at the same time, and all are judged."""
    needs_secret: bool = False
    """Skipped if requests are not signed."""
    about: str | None = None
    """Skipped if bodies do not have this key."""
    stored: Stored | None = None


def _duplicate(requests: RequestFactory) -> Sequence[Message]:
    request = requests.reservation()
    return request, request


def _out_of_order(requests: RequestFactory) -> Sequence[Message]:
    reservation_id = new_id()
    created = requests.reservation(id=reservation_id, adults=2)
    older = requests.reservation(id=reservation_id, adults=3, updated=True)
    newer = requests.reservation(id=reservation_id, adults=4, updated=True)
    return created, newer, older


def _same_sequence(requests: RequestFactory) -> Sequence[Message]:
    first = requests.reservation(adults=2)
    return first, requests.reservation(id=first.subject, adults=3, sequence=first.sequence)


def _update(requests: RequestFactory) -> Sequence[Message]:
    reservation_id = new_id()
    return (
        requests.reservation(id=reservation_id),
        requests.reservation(id=reservation_id, adults=5, updated=True),
    )


def _largest_body(requests: RequestFactory) -> Sequence[Message]:
    short = requests.reservation(notes=f"{NOTES} ")
    letters = LARGEST_BODY_BYTES - len(short.body)
    return [requests.reservation(id=short.subject, notes=f"{NOTES} {'x' * letters}")]


REQUIREMENTS = (
    Requirement(
        "Accepts a validly signed request",
        "Everything else depends on this.",
        lambda requests: [requests.reservation()],
    ),
    Requirement(
        "Accepts an update of a reservation it has",
        "Most requests are updates (ce-type reservation.updated).",
        _update,
        stored=Stored(1, "created, then updated"),
    ),
    Requirement(
        "Accepts an update of a reservation it does not have",
        "Reservations older than the endpoint arrive as updates. Insert or replace by id, whatever ce-type says.",
        lambda requests: [requests.reservation(updated=True)],
        stored=Stored(0, "sent as an update alone"),
    ),
    Requirement(
        "Rejects a request signed with another secret",
        _WHY_VERIFY,
        lambda requests: [requests.reservation(signature=Signature.OTHER_KEY)],
        wanted="rejected",
        needs_secret=True,
        stored=Stored(None, "signed with another secret"),
    ),
    Requirement(
        "Rejects a body that was altered after signing",
        _WHY_VERIFY,
        lambda requests: [requests.reservation(signature=Signature.ALTERED_BODY)],
        wanted="rejected",
        needs_secret=True,
        stored=Stored(None, "altered after signing"),
    ),
    Requirement(
        "Rejects a request without a signature",
        _WHY_VERIFY,
        lambda requests: [requests.reservation(signature=Signature.MISSING)],
        wanted="rejected",
        needs_secret=True,
        stored=Stored(None, "sent without a signature"),
    ),
    Requirement(
        "Rejects a request signed ten minutes ago",
        "Anyone who recorded a request could replay it. Reject a webhook-timestamp more than five minutes off, and set "
        "the clock by NTP.",
        lambda requests: [requests.reservation(signature=Signature.EXPIRED)],
        wanted="rejected",
        needs_secret=True,
        stored=Stored(None, "signed ten minutes ago"),
    ),
    Requirement(
        "Accepts two signatures of which the second is valid",
        "Requests carry two signatures while a secret is rotated. webhook-signature is a list separated by spaces.",
        lambda requests: [requests.reservation(signature=Signature.ROTATED)],
        needs_secret=True,
    ),
    Requirement(
        "Responds 2xx to a duplicate",
        "A request is sent again if its response was lost. Drop a webhook-id you have, and respond 2xx: otherwise it "
        "is retried for two days.",
        _duplicate,
        stored=Stored(0, "sent twice"),
    ),
    Requirement(
        "Responds 2xx to an older change that arrives late",
        "A retry may arrive after a newer change. Drop a ce-sequence lower than the one you have for its ce-subject, "
        "and respond 2xx.",
        _out_of_order,
        stored=Stored(1, "an older change came late"),
    ),
    Requirement(
        "Accepts newer content under a ce-sequence it has",
        "A retry carries the reservation's current data: ce-sequence is the same, webhook-id is not.",
        _same_sequence,
        about="adults",
        stored=Stored(1, "newer content, equal ce-sequence"),
    ),
    Requirement(
        "Ignores unknown keys",
        "A restaurant may send more columns.",
        lambda requests: [requests.reservation(loyalty_points=120, customer={"allergies": ["nuts"]})],
    ),
    Requirement(
        "Accepts a reservation without a phone call",
        '"call" is null if the booking was not made by telephone.',
        lambda requests: [requests.reservation(call=None)],
        about="call",
    ),
    Requirement(
        "Accepts a reservation without a customer",
        '"customer" is null if e-Res has none.',
        lambda requests: [requests.reservation(customer=None)],
        about="customer",
    ),
    Requirement(
        "Accepts emoji and all scripts",
        "The body is UTF-8. Verify and parse its bytes, and store Unicode (MySQL: utf8mb4).",
        lambda requests: [requests.reservation(**_MANY_SCRIPTS)],
        about="notes",
        stored=Stored(0, "emoji and scripts in its notes"),
    ),
    Requirement(
        "Accepts numbers that JSON.parse and JSON.stringify change",
        _WHY_RAW,
        lambda requests: [requests.reservation(loyalty=_NUMBERS_TO_KEEP)],
    ),
    Requirement(
        "Accepts integers beyond 2^53",
        f"{_WHY_RAW} A number of JavaScript does not hold 9007199254740993.",
        lambda requests: [requests.reservation(loyalty={"card": 2**53 + 1})],
    ),
    Requirement(
        f"Accepts a body of {LARGEST_BODY_BYTES // 1_000_000} MB",
        "Notes are free text of any length. Raise the limits of your server and framework, also of a proxy in front: "
        'express.raw({ limit: "2mb" }), client_max_body_size 2m (nginx).',
        _largest_body,
        about="notes",
    ),
    Requirement(
        "Handles a test request",
        "cdc-bridge endpoint test sends it (ce-type cdc-bridge.test). Respond 204 and do nothing; 400 or 422 will do.",
        lambda requests: [requests.test()],
        wanted="reached",
    ),
    Requirement(
        f"Accepts {CONCURRENT_REQUESTS} concurrent requests",
        "Many requests arrive after an outage. Respond first and do the work afterwards; or respond 429 to what is too "
        "much, and accept it when it is sent again.",
        lambda requests: [requests.reservation() for _ in range(CONCURRENT_REQUESTS)],
        concurrent=True,
    ),
)
