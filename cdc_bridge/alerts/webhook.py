"""Posts an alert to a chat: JSON with a field ``text``, over verified TLS, as deliveries are posted.

Slack, Mattermost and what is compatible with them take it as it is, ntfy with a template in the URL. A workflow of
Teams takes cards only, so its servers get one as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cdc_bridge.alerts.wording import Alert
from cdc_bridge.endpoints.options import Endpoint, endpoint_from
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Delivered

TIMEOUT_SECONDS = 10.0
_OF_TEAMS = (".logic.azure.com", ".powerplatform.com", ".powerautomate.com")
"""Hosts whose URLs "When a Teams webhook request is received" hands out."""
_OF_SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
_MENTION = re.compile(r"@(?=\w)")


@dataclass(frozen=True, slots=True)
class AlertContent:
    """What is posted."""

    body: bytes
    id: str = "alert"

    def headers(self, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:  # noqa: ARG002 - of deliveries
        """Return its headers."""
        return {"content-type": "application/json"}


def receiver_of(url: str) -> Endpoint:
    """Return where alerts are posted.

    Raises:
        ValueError: The URL cannot be used.
    """
    limits = {"timeout_seconds": TIMEOUT_SECONDS, "connect_timeout_seconds": TIMEOUT_SECONDS / 2}
    return endpoint_from("alert", {"url": url} | limits, allow_http=True)


async def post_alert(url: str, alert: Alert) -> str | None:
    """Post an alert; return why that failed, in words that repeat no secret of the URL; ``None``: it was accepted."""
    try:
        transport = HttpTransport(receiver_of(url), may_send=lambda: True)
    except (OSError, ValueError) as error:  # of the environment's proxy, or the system's CA certificates
        return str(error)
    try:
        attempt = await transport.send(AlertContent(body_for(url, alert.text)))
    finally:
        await transport.close()
    if attempt is None or isinstance(attempt.outcome, Delivered):
        return None
    return attempt.outcome.reason


def body_for(url: str, text: str) -> bytes:
    """Return the body that the receiver at a URL takes."""
    host = urlsplit(url).hostname or ""
    text = _MENTION.sub("@\u200b", text)  # Nobody else's words call a whole channel.
    if host in _OF_SLACK:  # It takes <...> for a link or a mention.
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body: dict[str, Any] = {"text": text}
    if host.endswith(_OF_TEAMS):
        body |= {"type": "message", "attachments": [_card(text)]}
    return json.dumps(body, ensure_ascii=False).encode()


def _card(text: str) -> dict[str, Any]:
    first, *others = ({"type": "TextBlock", "text": line, "wrap": True} for line in text.splitlines())
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [first | {"weight": "Bolder"}, *others],
    }
    return {"contentType": "application/vnd.microsoft.card.adaptive", "content": content}
