"""Takes calls, judges them as a careful till would, and answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from cdc_bridge.contract import column_names
from cdc_bridge.delivery.ping import PING_TYPE

_LARGEST_BODY_BYTES = 8 * 1024 * 1024
_NOT_PASSED_ON = {"host", "content-length", "connection", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How calls are answered."""

    status: int | None = None
    """With this status; ``None``: with 204."""
    drop: bool = False
    """Not at all: the connection is closed."""
    every: int = 1
    """Only each so-many-th call is answered so; the others with 204."""
    slow_seconds: float = 0.0
    """Every answer comes so much later."""
    forward_to: str | None = None
    """Calls are passed on to this URL, and its answer is the answer."""
    save_to: Path | None = None
    """Folder for a file with headers and body of each call."""


@dataclass(frozen=True, slots=True)
class Received:
    """A call, and what was made of it."""

    at: datetime
    number: int
    type: str
    subject: str
    sequence: str
    message_id: str
    signature: str
    """``good``, or why it is not."""
    remarks: tuple[str, ...]
    """What a till ought to notice: a repeat, an older change, keys that are missing."""
    status: int | None
    """What was answered; ``None``: nothing."""
    body: bytes = field(repr=False)


class Receiver:
    """Takes calls."""

    def __init__(self, secret: str, behaviour: Behaviour, told: Callable[[Received], None]) -> None:
        """Prepare to receive.

        Args:
            secret: the signing secret, ``whsec_...``.
            behaviour: how it answers.
            told: is told of each call, once it is answered.
        """
        self._verifier = Webhook(secret)
        self._behaviour = behaviour
        self._told = told
        self._number = 0
        self._seen: set[str] = set()
        self._highest: dict[str, str] = {}

    def application(self) -> web.Application:
        """Return what serves it, at every path."""
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_post("/{path:.*}", self._receive)
        return application

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._number += 1
        number, headers = self._number, {name.lower(): value for name, value in request.headers.items()}
        signature = self._judge(headers, body)
        remarks = self._remarks(headers, body) if signature == "good" else ()
        if self._behaviour.save_to is not None:
            await asyncio.to_thread(_save, self._behaviour.save_to, number, headers, body)
        await asyncio.sleep(self._behaviour.slow_seconds)
        status = await self._answer(number, headers, body, signature)
        self._told(
            Received(
                at=datetime.now(UTC),
                number=number,
                type=headers.get("ce-type", ""),
                subject=headers.get("ce-subject", ""),
                sequence=headers.get("ce-sequence", "").lstrip("0"),
                message_id=headers.get("webhook-id", ""),
                signature=signature,
                remarks=remarks,
                status=status,
                body=body,
            )
        )
        if status is None:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError
        return web.Response(status=status)

    def _judge(self, headers: Mapping[str, str], body: bytes) -> str:
        if "webhook-signature" not in headers:
            return "none"
        try:
            self._verifier.verify(body, dict(headers))
        except (WebhookVerificationError, ValueError) as error:
            return f"wrong: {error}"
        return "good"

    def _remarks(self, headers: Mapping[str, str], body: bytes) -> tuple[str, ...]:
        if headers.get("ce-type") == PING_TYPE:
            return ("a test call",)
        message_id, subject, sequence = (headers.get(f, "") for f in ("webhook-id", "ce-subject", "ce-sequence"))
        remarks = ["a repeat, to be dropped"] if message_id in self._seen else []
        highest = self._highest.get(subject, "")
        if sequence < highest:
            remarks.append(f"older than {highest.lstrip('0')}, to be dropped")
        self._seen.add(message_id)
        self._highest[subject] = max(sequence, highest)
        if missing := missing_keys(body):
            remarks.append(f"lacks {', '.join(missing[:5])}")
        return tuple(remarks)

    async def _answer(self, number: int, headers: Mapping[str, str], body: bytes, signature: str) -> int | None:
        behaviour = self._behaviour
        misbehaves = number % behaviour.every == 0
        if behaviour.drop and misbehaves:
            return None
        if behaviour.status is not None and misbehaves:
            return behaviour.status
        if signature != "good":
            return 401
        if behaviour.forward_to is not None:
            return await _forwarded(behaviour.forward_to, headers, body)
        return 204


def missing_keys(body: bytes) -> list[str]:
    """Return which of the contract's keys a body lacks; the body itself, where it is not an object of JSON."""
    try:
        reservation: Any = json.loads(body)
    except ValueError:
        return ["everything: it is not JSON"]
    if not isinstance(reservation, dict):
        return ["everything: it is not an object"]
    return [name for name in column_names() if not _has(reservation, name)]


def _has(reservation: dict[str, Any], name: str) -> bool:
    outer, _, inner = name.partition(".")
    if not inner:
        return outer in reservation
    nested = reservation.get(outer, {})
    return inner in nested if isinstance(nested, dict) else outer in reservation  # "call": null


def _save(folder: Path, number: int, headers: Mapping[str, str], body: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    (folder / f"{number:06d}.http").write_bytes(lines.encode() + b"\r\n" + body)


async def _forwarded(url: str, headers: Mapping[str, str], body: bytes) -> int:
    passed_on = {name: value for name, value in headers.items() if name not in _NOT_PASSED_ON}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=passed_on, allow_redirects=False) as answer,
        ):
            return answer.status
    except (aiohttp.ClientError, OSError, TimeoutError):
        return 502
