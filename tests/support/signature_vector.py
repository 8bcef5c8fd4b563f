"""Makes the contract's test vector with the code that signs requests: ``python -m tests.support.signature_vector``.

It is a file and not made when it is asked for, so that a change of the code that would change it is seen.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from cdc_bridge.model import Change, History, Operation, ReservationId, Seq
from cdc_bridge.transport.message import compose
from cdc_bridge.vendor import contract

FILE = Path(contract.__file__).parent / "documents" / "signature-vector.json"

_KEY, _NEXT_KEY = b"an example: to be used by nobody", b"and the one that comes after it."
_HISTORY = History(1_777_900_000)
_CHANGED_AT = datetime(2026, 5, 4, 17, 20, 9, 531_284, UTC)
_SIGNED_AT = datetime(2026, 5, 4, 17, 20, 10, tzinfo=UTC)


def signature_vector() -> dict[str, Any]:
    """Return the vector."""
    reservation = contract.example("no-call")  # its text is beyond ASCII
    change = Change(Seq(4711), ReservationId(reservation["id"]), Operation.UPDATED, _CHANGED_AT)
    body = orjson.dumps(reservation)
    message = compose(change, change.reservation_id, "/cdc-bridge/eres", _HISTORY, body)
    signed, rotated, forged = (message.headers(_SIGNED_AT, keys) for keys in ([_KEY], [_NEXT_KEY, _KEY], [_NEXT_KEY]))
    late = message.headers(_SIGNED_AT - timedelta(minutes=10), [_KEY])
    newer = signed | {"webhook-timestamp": str(int(signed["webhook-timestamp"]) + 1)}
    unsigned = {name: value for name, value in signed.items() if name != "webhook-signature"}
    return {
        "about": "Test your signature verification with these requests. Set the clock to 'now', as old requests are "
        "rejected. 'body' is UTF-8, the same bytes as 'body_base64'. A case that has a 'body_base64' of its own is "
        "sent with that body instead. A header that a case lacks is missing.",
        "secret": _secret(_KEY),
        "now": int(_SIGNED_AT.timestamp()),
        "body": body.decode(),
        "body_base64": b64encode(body).decode(),
        "cases": [
            _case("signed", signed, valid=True),
            _case("during a rotation: signed with the new secret and with yours", rotated, valid=True),
            _case("signed with another secret", forged, valid=False),
            _case("timestamp altered after signing", newer, valid=False),
            _case("signed ten minutes before 'now'", late, valid=False),
            _case("without a signature", unsigned, valid=False),
            _case("body altered after signing: a space at its end", signed, valid=False, body=body + b" "),
        ],
    }


def _case(what: str, headers: Mapping[str, str], *, valid: bool, body: bytes | None = None) -> dict[str, Any]:
    of_its_own = {} if body is None else {"body": body.decode(), "body_base64": b64encode(body).decode()}
    return {"case": what, "valid": valid, "headers": dict(headers), **of_its_own}


def _secret(key: bytes) -> str:
    return f"whsec_{b64encode(key).decode()}"


def written(vector: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(vector, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(signature_vector()), encoding="utf-8")
