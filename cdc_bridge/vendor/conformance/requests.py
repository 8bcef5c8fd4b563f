"""The calls of the acceptance test: right ones, and some that are wrong in one point each."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from secrets import token_bytes, token_hex
from typing import Any

from cdc_bridge.transport.message import Message, message_id
from cdc_bridge.transport.signature import sign
from cdc_bridge.vendor.contract import example
from cdc_bridge.vendor.test_message import compose_test_request

SOURCE = "/cdc-bridge/conformance"
NOTES = "Conformance test of cdc-bridge: not a real reservation"
_OLD = timedelta(minutes=10)  # Standard Webhooks: five minutes are tolerated


class Flaw(StrEnum):
    """What is wrong with a call."""

    NONE = "none"
    FORGED = "forged"
    """Signed with another secret."""
    CHANGED = "changed"
    """The body is not the one that was signed."""
    UNSIGNED = "unsigned"
    """Without a signature."""
    OLD = "old"
    """Rightly signed, ten minutes ago."""
    ROTATED = "rotated"
    """Nothing is wrong: signed with a secret that the endpoint does not know, and with its own as the second one."""


@dataclass(frozen=True, slots=True)
class FlawedMessage(Message):
    """A message with one flaw."""

    flaw: Flaw = Flaw.NONE

    def headers(self, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:
        """Return the headers of an attempt, with the flaw."""
        ours = Message.headers(self, at - _OLD if self.flaw is Flaw.OLD else at, secrets)
        timestamp = int(ours["webhook-timestamp"])
        match self.flaw:
            case Flaw.FORGED:
                ours["webhook-signature"] = sign(self.id, timestamp, self.body, [token_bytes(32)])
            case Flaw.CHANGED:
                ours["webhook-signature"] = sign(self.id, timestamp, self.body + b" ", secrets)
            case Flaw.UNSIGNED:
                del ours["webhook-signature"]
            case Flaw.ROTATED:
                ours["webhook-signature"] = sign(self.id, timestamp, self.body, [token_bytes(32), *secrets])
            case Flaw.NONE | Flaw.OLD:
                pass
        return ours


class Calls:
    """Makes calls about invented reservations. Their numbers grow with time, also from one test to the next."""

    def __init__(self) -> None:
        self._number = time.time_ns() // 1_000_000

    def call(
        self, *, flaw: Flaw = Flaw.NONE, updated: bool = False, number: int | None = None, **changes: Any
    ) -> FlawedMessage:
        """Return a call about a reservation of its own.

        Args:
            flaw: what is wrong with it.
            updated: it is a change of the reservation that ``id`` names, not a new one.
            number: the change's; ``None``: the next one.
            changes: keys of the reservation, and what stands there instead; one that is a mapping is merged.
        """
        if number is None:
            self._number += 1
            number = self._number
        body = json.dumps(_reservation(changes), ensure_ascii=False, separators=(",", ":")).encode()
        return FlawedMessage(
            id=message_id(number, body),
            type="reservation.updated" if updated else "reservation.created",
            source=SOURCE,
            time=datetime.now(UTC),
            body=body,
            subject=str(json.loads(body)["id"]),
            sequence=number,
            flaw=flaw,
        )

    @staticmethod
    def ping() -> Message:
        """Return a test call as ``endpoint test`` makes it."""
        return compose_test_request(datetime.now(UTC), SOURCE)


def new_id() -> str:
    """Return a reservation's id."""
    return token_hex(16).upper()


def _reservation(changes: dict[str, Any]) -> dict[str, Any]:
    reservation = deepcopy(example())
    reservation |= {"id": new_id(), "notes": NOTES}
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(reservation.get(key), dict):
            reservation[key] |= value
        else:
            reservation[key] = value
    return reservation
