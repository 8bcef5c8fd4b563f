"""The test vector is what the bridge signs, and an independent library agrees with every verdict in it."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from datetime import UTC, datetime, tzinfo
from textwrap import dedent
from typing import Any

import pytest
import standardwebhooks.webhooks
from standardwebhooks import Webhook

from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.vendor.contract import text_of
from tests.support.signature_vector import signature_vector, written

TEXT = text_of("signature-vector.json")
VECTOR = json.loads(TEXT)


def of_guide(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verify with the guide's lines that use the library."""
    lines = re.compile(r"^    from standardwebhooks import.*?(?=^\S)", re.DOTALL | re.MULTILINE)
    (block,) = lines.findall(guide_text(Guide.VENDOR))
    names: dict[str, Any] = {}
    exec(dedent(block), names)
    genuine: bool = names["is_valid"](secret, headers, body)
    return genuine


def test_vector_is_made_by_the_code_that_signs_requests() -> None:
    assert written(signature_vector()) == TEXT, "python -m tests.support.signature_vector makes it anew"


def test_guide_and_file_say_that_a_case_may_have_a_body_of_its_own() -> None:
    assert [case["case"] for case in VECTOR["cases"] if "body_base64" in case] != []
    for text in (VECTOR["about"], " ".join(guide_text(Guide.VENDOR).split())):
        assert re.search("A case that has a ['`]body_base64['`] of its own is sent with that body instead", text)


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
    if vector["valid"]:
        assert Webhook(vector["secret"]).verify(body, vector["headers"])["customer"]["firstname"] == "Zoë"
    assert of_guide(vector["secret"], vector["headers"], body) is vector["valid"]


@pytest.mark.parametrize("body", [b"{}", b"", b"\xff"])
@pytest.mark.parametrize("signature", ["", "v1", "v1,?", "v1,é", "v1,a,b", "v2,a", ",", "v1,AAAA v1"])
@pytest.mark.parametrize("timestamp", ["", "soon", "nan", "1e999", "9" * 400, "-1", "now"])
def test_guide_catches_whatever_the_library_raises(timestamp: str, signature: str, body: bytes) -> None:
    now = str(int(datetime.now(UTC).timestamp()))
    headers = {"webhook-id": "1-a", "webhook-timestamp": timestamp.replace("now", now), "webhook-signature": signature}
    assert of_guide(VECTOR["secret"], headers, body) is False
