"""The test vector is what the bridge signs, and an independent library agrees with every verdict in it."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, tzinfo

import pytest
import standardwebhooks.webhooks
from standardwebhooks import Webhook, WebhookVerificationError

from cdc_bridge.vendor.contract import text_of
from tests.support.signature_vector import signature_vector, written

TEXT = text_of("signature-vector.json")
VECTOR = json.loads(TEXT)


def test_vector_is_made_by_the_code_that_signs_requests() -> None:
    assert written(signature_vector()) == TEXT, "python -m tests.support.signature_vector makes it anew"


@pytest.mark.parametrize("case", VECTOR["cases"], ids=lambda case: case["case"])
def test_library_agrees_with_the_vector(case: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Then:
            return cls.fromtimestamp(VECTOR["now"], tz or UTC)

    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Then)
    vector = VECTOR | case
    body = b64decode(vector["body_base64"])
    assert body == vector["body"].encode()
    verifier = Webhook(vector["secret"])
    if vector["valid"]:
        assert verifier.verify(body, vector["headers"])["customer"]["firstname"] == "Zoë"
    else:
        with pytest.raises(WebhookVerificationError):
            verifier.verify(body, vector["headers"])
