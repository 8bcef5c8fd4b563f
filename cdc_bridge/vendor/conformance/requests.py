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
from cdc_bridge.vendor.contract import example
from cdc_bridge.vendor.test_message import compose_test_request

SOURCE = "/cdc-bridge/conformance"
NOTES = "Conformance test of cdc-bridge: not a real reservation"
_EXPIRED = timedelta(minutes=10)  # Standard Webhooks tolerates five minutes.


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
    them for floating-point numbers cannot tell them apart.
    """

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        """Prepare to make requests.

        Args:
            schema: Schema of the bodies; ``None``: the contract's.
        """
        self._sequence = time.time_ns()
        self._example = example()
        if schema is not None:
            known = contract.schema()["properties"]
            self._example = _shaped(self._example, schema, schema.get("$defs", {}), known)

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
        return _merged(deepcopy(self._example), {"id": new_id(), "notes": NOTES, **changes}, example())

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
