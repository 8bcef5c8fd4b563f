"""Requests of the conformance test: valid ones, and some with one thing wrong in their signature."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from secrets import token_bytes, token_hex
from typing import Any

import orjson

from cdc_bridge.transport.message import Message, message_id
from cdc_bridge.transport.signature import sign
from cdc_bridge.vendor import contract
from cdc_bridge.vendor.contract import example, instant
from cdc_bridge.vendor.test_message import compose_test_request

SOURCE = "/cdc-bridge/conformance"
NOTES = "Conformance test of cdc-bridge: not a real reservation"
_EXPIRED = timedelta(minutes=10)  # Standard Webhooks tolerates five minutes.

_SITTINGS = (12, 14, 18, 20)
"""Hours (UTC) at which visits begin. Each lasts for two."""
_TABLES = 5
_PLACED = ("reference", "datetime", "tables", "created", "updated")
"""Keys that say which reservation it is, and when and where the visit is."""


class Signature(StrEnum):
    """How a request is signed."""

    VALID = "valid"
    ROTATED = "rotated"
    """Valid: signed with a secret the endpoint does not know, and with its own as the second one."""
    OTHER_KEY = "other key"
    ALTERED_BODY = "altered body"
    MISSING = "missing"
    EXPIRED = "expired"
    """Signed ten minutes ago."""


@dataclass(frozen=True, slots=True)
class SignedMessage(Message):
    """A message with a choice of signature."""

    signature: Signature = Signature.VALID

    def headers(self, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:
        """Return the headers of an attempt, signed as chosen."""
        headers = Message.headers(self, at - _EXPIRED if self.signature is Signature.EXPIRED else at, secrets)
        timestamp = int(headers["webhook-timestamp"])
        match self.signature:
            case Signature.OTHER_KEY:
                headers["webhook-signature"] = sign(self.id, timestamp, self.body, [token_bytes(32)])
            case Signature.ALTERED_BODY:
                headers["webhook-signature"] = sign(self.id, timestamp, self.body + b" ", secrets)
            case Signature.MISSING:
                del headers["webhook-signature"]
            case Signature.ROTATED:
                headers["webhook-signature"] = sign(self.id, timestamp, self.body, [token_bytes(32), *secrets])
            case Signature.VALID | Signature.EXPIRED:
                pass
        return headers


class RequestFactory:
    """Makes requests for invented reservations.

    Sequences grow with time, also from one test run to the next, and are as long as the daemon's: a receiver that takes
    them for floating-point numbers cannot tell them apart. All visits are in the days to come, and no two at the same
    table at the same time: a till may reject what it takes for a mistake.
    """

    def __init__(self, schema: Mapping[str, Any] | None = None, now: datetime | None = None) -> None:
        """Prepare to make requests.

        Args:
            schema: Schema of the bodies; ``None``: the contract's.
            now: The first visit is on the day after; ``None``: the time.
        """
        self._sequence = time.time_ns()
        self._began_at = datetime.now(UTC) if now is None else now
        self._numbers: dict[Any, int] = {}
        self._example = example()
        self._placed: Collection[str] = _PLACED
        if schema is not None:
            known = contract.schema()["properties"]
            self._example = _shaped(self._example, schema, schema.get("$defs", {}), known)
            self._placed = [key for key in _PLACED if schema["properties"].get(key) == known[key]]

    @property
    def keys(self) -> Collection[str]:
        """The keys of every body."""
        return self._example.keys()

    def reservation(
        self,
        *,
        signature: Signature = Signature.VALID,
        updated: bool = False,
        sequence: int | None = None,
        **changes: Any,
    ) -> SignedMessage:
        """Return a request for a new reservation, unless ``id`` is among the changes.

        Args:
            signature: How it is signed.
            updated: Sent as an update, not as a creation.
            sequence: The change's number; ``None`` takes the next one.
            changes: Keys of the reservation and their values, as orjson writes them; a mapping is merged. Those of the
                contract that bodies do not have are left out.
        """
        if sequence is None:
            self._sequence += 1
            sequence = self._sequence
        body = orjson.dumps(self._reservation(changes))
        return SignedMessage(
            id=message_id(sequence, body),
            type="reservation.updated" if updated else "reservation.created",
            source=SOURCE,
            time=datetime.now(UTC),
            body=body,
            subject=str(orjson.loads(body)["id"]),
            sequence=sequence,
            signature=signature,
        )

    def _reservation(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        reservation = {"id": new_id(), "notes": NOTES, **changes}
        number = self._numbers.setdefault(reservation["id"], len(self._numbers))
        return _merged(deepcopy(self._example), {**self._place(number), **reservation}, example())

    def _place(self, number: int) -> dict[str, Any]:
        """Return what is different about each reservation, as far as bodies have it."""
        day, of_day = divmod(number, len(_SITTINGS) * _TABLES)
        table, sitting = divmod(of_day, len(_SITTINGS))
        midnight = self._began_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        values = (
            int(self._began_at.timestamp()) + number,
            instant(midnight + timedelta(days=day + 1, hours=_SITTINGS[sitting])),
            str(table + 1),
            instant(self._began_at),
            instant(max(self._began_at, datetime.now(UTC))),
        )
        return {key: value for key, value in zip(_PLACED, values, strict=True) if key in self._placed}

    @staticmethod
    def test() -> Message:
        """Return a test request, as ``endpoint test`` sends it."""
        return compose_test_request(datetime.now(UTC), SOURCE)


def new_id() -> str:
    """Return an id for an invented reservation."""
    return token_hex(16).upper()


def _merged(reservation: dict[str, Any], changes: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        if key in known and key not in reservation:
            continue
        if isinstance(value, dict) and isinstance(reservation.get(key), dict):
            _merged(reservation[key], value, known.get(key) or {})
        else:
            reservation[key] = value
    return reservation


def _shaped(
    value: Mapping[str, Any], schema: Mapping[str, Any], forms: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an object of a schema: what is described as in the contract is the example's, the rest invented."""
    shaped: dict[str, Any] = {}
    for key, described in schema["properties"].items():
        inner, as_known = value.get(key), known.get(key, {})
        if "properties" in described:
            of_example = inner if isinstance(inner, dict) else {}
            shaped[key] = _shaped(of_example, described, forms, as_known.get("properties", {}))
        else:
            shaped[key] = inner if described == as_known else _invented(described, forms)
    return shaped


def _invented(described: Mapping[str, Any], forms: Mapping[str, Any]) -> Any:
    form = forms.get(str(described.get("$ref", "")).rpartition("/")[2], described)
    for values in (form.get("enum"), form.get("examples")):
        if values:
            return values[0]
    types = form.get("type", "null")
    return {"string": "", "integer": 1, "number": 1, "boolean": False, "array": [], "object": {}}.get(
        types if isinstance(types, str) else types[0]
    )
