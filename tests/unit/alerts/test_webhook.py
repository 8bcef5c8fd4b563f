from __future__ import annotations

import json
from typing import Any

import pytest

from cdc_bridge.alerts.webhook import body_for

TEXT = "cdc-bridge is in trouble.\n- mapping: a < b & c, @channel"
CHAT = "https://chat.example/hooks/x"


def body(url: str, text: str = TEXT) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(body_for(url, text))
    return parsed


def test_text_is_all_that_a_chat_gets() -> None:
    assert body(CHAT, "hello\nworld") == {"text": "hello\nworld"}


def test_nobody_is_called_by_what_an_error_says() -> None:
    assert "@channel" not in body(CHAT)["text"]


def test_slack_gets_what_it_takes_for_markup_escaped() -> None:
    assert "a &lt; b &amp; c" in body("https://hooks.slack.com/services/T/B/x")["text"]
    assert "a < b & c" in body("https://hooks.slack.com.evil.example/x")["text"]


@pytest.mark.parametrize(
    "url",
    [
        "https://prod-1.westeurope.logic.azure.com:443/workflows/x/triggers/manual/paths/invoke?sig=s",
        "https://default1.2.environment.api.powerplatform.com/powerautomate/x?sig=s",
    ],
)
def test_workflow_of_teams_gets_a_card_with_a_block_for_each_line(url: str) -> None:
    sent = body(url, "one\ntwo")
    assert sent["type"] == "message"
    assert sent["text"] == "one\ntwo"
    (card,) = sent["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert [block["text"] for block in card["content"]["body"]] == ["one", "two"]
    assert all(block["wrap"] for block in card["content"]["body"])
