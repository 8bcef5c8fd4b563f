"""Signs a request as Standard Webhooks 1.0.0 defines (https://www.standardwebhooks.com, "Signature scheme").

``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>``; during a rotation one
for each secret, separated by spaces.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence


def sign(message_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> str:
    """Return the value of ``webhook-signature``.

    Args:
        message_id: The value of ``webhook-id``.
        timestamp: The attempt's time, in whole seconds since 1970 UTC, as in ``webhook-timestamp``.
        body: The bytes that are sent.
        secrets: The keys, decoded; the current one first.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join("v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets)
