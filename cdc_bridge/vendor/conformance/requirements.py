"""What is asked of an endpoint, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cdc_bridge.transport.message import Message
from cdc_bridge.vendor.conformance.requests import Calls, Flaw, new_id

AT_ONCE = 50

_LARGE_NOTES = "A guest's wish, told at length. " * 640  # 20 kB
_MANY_SCRIPTS: dict[str, Any] = {
    "notes": "Geburtstag 🎂🥂 für Zoë; 生日快乐; عيد ميلاد سعيد; \\ \" ' </script> \t\n% & ?",
    "customer": {"firstname": "Łukasz", "surname": "O'Neill-Åström 🍷"},
}
_FORGERY = (
    "Anybody who learns the URL could make bookings. Verify with a library of Standard Webhooks, over the raw body."
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that is asked."""

    title: str
    why: str
    """Why, and what to do, for where it is not met."""
    calls: Callable[[Calls], Sequence[Message]]
    """Makes the calls. What is asked is asked of the last one; those before have to be accepted. See ``at_once``."""
    wanted: Literal["accepted", "refused", "reached"] = "accepted"
    """Answered with 2xx; answered with 4xx; answered with 2xx, 400 or 422."""
    at_once: bool = False
    """All calls are made at once, and all are asked of."""
    of_signatures: bool = False
    """It makes no sense where calls are not signed."""


def _repeat(calls: Calls) -> Sequence[Message]:
    call = calls.call()
    return call, call


def _out_of_order(calls: Calls) -> Sequence[Message]:
    reservation_id = new_id()
    created = calls.call(id=reservation_id, adults=2)
    older = calls.call(id=reservation_id, adults=3, updated=True)
    newer = calls.call(id=reservation_id, adults=4, updated=True)
    return created, newer, older


def _newer_content(calls: Calls) -> Sequence[Message]:
    first = calls.call(adults=2)
    return first, calls.call(id=first.subject, adults=3, number=first.sequence)


def _change(calls: Calls) -> Sequence[Message]:
    reservation_id = new_id()
    return calls.call(id=reservation_id), calls.call(id=reservation_id, adults=5, updated=True)


REQUIREMENTS = (
    Requirement(
        "takes a rightly signed call",
        "Nothing else can be tried before. See URL, certificate, secret (--secret-file) and header (--header-file).",
        lambda calls: [calls.call()],
    ),
    Requirement(
        "takes a change of a reservation that it has",
        "Most calls are of this kind (ce-type reservation.updated).",
        _change,
    ),
    Requirement(
        "takes a change of a reservation that it does not have",
        "So come those that were there before the endpoint was. Add or replace by id, whatever ce-type says.",
        lambda calls: [calls.call(updated=True)],
    ),
    Requirement(
        "refuses a call signed with another secret",
        _FORGERY,
        lambda calls: [calls.call(flaw=Flaw.FORGED)],
        wanted="refused",
        of_signatures=True,
    ),
    Requirement(
        "refuses a body that was changed after it was signed",
        _FORGERY,
        lambda calls: [calls.call(flaw=Flaw.CHANGED)],
        wanted="refused",
        of_signatures=True,
    ),
    Requirement(
        "refuses a call without a signature",
        _FORGERY,
        lambda calls: [calls.call(flaw=Flaw.UNSIGNED)],
        wanted="refused",
        of_signatures=True,
    ),
    Requirement(
        "refuses a call that was signed ten minutes ago",
        "Whoever has recorded a call could play it again. Refuse a webhook-timestamp more than five minutes off, by a "
        "clock that NTP sets.",
        lambda calls: [calls.call(flaw=Flaw.OLD)],
        wanted="refused",
        of_signatures=True,
    ),
    Requirement(
        "takes a call with two signatures, its own as the second",
        "So calls are signed while a secret is exchanged for a new one. webhook-signature is a list, parted by spaces.",
        lambda calls: [calls.call(flaw=Flaw.ROTATED)],
        of_signatures=True,
    ),
    Requirement(
        "answers a repeat with 2xx",
        "A call is repeated when its answer was lost. Drop a webhook-id that you have, and say 2xx: else it comes "
        "again for two days.",
        _repeat,
    ),
    Requirement(
        "answers an older change that comes late with 2xx",
        "It may come after a newer one when that was tried first. Drop a ce-sequence lower than you have of its "
        "ce-subject, and say 2xx.",
        _out_of_order,
    ),
    Requirement(
        "takes newer content under a number that it has",
        "So comes a call that is tried again after its reservation was changed once more: ce-sequence is equal, "
        "webhook-id is another.",
        _newer_content,
    ),
    Requirement(
        "takes keys that it does not know",
        "A restaurant can have more columns posted. Ignore what you do not know.",
        lambda calls: [calls.call(loyalty_points=120, customer={"allergies": ["nuts"]})],
    ),
    Requirement(
        "takes a reservation without a telephone call",
        'Where a booking did not come by telephone, "call" is null.',
        lambda calls: [calls.call(call=None)],
    ),
    Requirement(
        "takes a reservation without a customer",
        'Where e-Res has none, "customer" is null.',
        lambda calls: [calls.call(customer=None)],
    ),
    Requirement("takes 20 kB of notes", "Guests write letters.", lambda calls: [calls.call(notes=_LARGE_NOTES)]),
    Requirement(
        "takes emoji and other scripts",
        "The body is UTF-8. Verify and read it as bytes, and store it as Unicode (MySQL: utf8mb4).",
        lambda calls: [calls.call(**_MANY_SCRIPTS)],
    ),
    Requirement(
        "is not upset by a test call",
        "cdc-bridge endpoint test makes it (ce-type cdc-bridge.ping): answer 204 and do nothing. 400 and 422 will do.",
        lambda calls: [calls.ping()],
        wanted="reached",
    ),
    Requirement(
        f"takes {AT_ONCE} calls at once",
        "After an outage many come. Answer at once and do the work afterwards; or answer 429 to what is too much, and "
        "take it when it comes again.",
        lambda calls: [calls.call() for _ in range(AT_ONCE)],
        at_once=True,
    ),
)
