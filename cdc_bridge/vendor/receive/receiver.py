"""Takes calls, judges them as a careful till would, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import JSONDecodeError
from pathlib import Path

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from cdc_bridge.vendor.receive.violations import violations_of
from cdc_bridge.vendor.test_message import TEST_TYPE

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
    """What a till ought to notice: a repeat, an older change, a test call."""
    violations: tuple[str, ...]
    """In what the body departs from the contract's schema."""
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
        self._taken: dict[str, bool] = {}
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
        if self._behaviour.save_to is not None:
            await asyncio.to_thread(_save, self._behaviour.save_to, number, headers, body)
        await asyncio.sleep(self._behaviour.slow_seconds)
        status, failure = await self._answer(number, headers, body, signature)
        remarks = self._remarks(headers, status) if signature == "good" else []
        if failure is not None:
            remarks.append(failure)
        if request.transport is None:
            remarks.append("too late, the caller has hung up")
        is_test_call = headers.get("ce-type") == TEST_TYPE
        self._told(
            Received(
                at=datetime.now(UTC),
                number=number,
                type=headers.get("ce-type", ""),
                subject=headers.get("ce-subject", ""),
                sequence=headers.get("ce-sequence", "").lstrip("0"),
                message_id=headers.get("webhook-id", ""),
                signature=signature,
                remarks=tuple(remarks),
                violations=() if is_test_call else violations_of(body),
                status=status,
                body=body,
            )
        )
        if status is None and request.transport is not None:
            request.transport.abort()  # What is returned then reaches nobody.
        return web.Response(status=status or 204)

    def _judge(self, headers: Mapping[str, str], body: bytes) -> str:
        if "webhook-signature" not in headers:
            return "missing"
        try:
            self._verifier.verify(body, dict(headers))
        except WebhookVerificationError as error:
            return f"wrong: {error}"
        except JSONDecodeError:
            return "good"  # it reads the body once that is verified
        except ValueError:
            return "wrong: it cannot be read, or the body is not UTF-8"
        return "good"

    def _remarks(self, headers: Mapping[str, str], status: int | None) -> list[str]:
        """Return what is to be said of a call. What was answered with 2xx counts as taken, and nothing else does."""
        if headers.get("ce-type") == TEST_TYPE:
            return ["a test call"]
        message_id, subject, sequence = (headers.get(f, "") for f in ("webhook-id", "ce-subject", "ce-sequence"))
        remarks = []
        if message_id in self._taken:
            remarks.append(
                "a repeat, to be dropped"
                if self._taken[message_id]
                else "a repeat of what was not taken, so to be taken"
            )
        highest = self._highest.get(subject, "")
        if sequence < highest:
            remarks.append(f"older than {highest.lstrip('0')}, to be dropped")
        taken = status is not None and 200 <= status < 300
        self._taken[message_id] = self._taken.get(message_id, False) or taken
        if taken:
            self._highest[subject] = max(sequence, highest)
        return remarks

    async def _answer(
        self, number: int, headers: Mapping[str, str], body: bytes, signature: str
    ) -> tuple[int | None, str | None]:
        """Return the status to answer with, and why a call could not be passed on."""
        behaviour = self._behaviour
        misbehaves = number % behaviour.every == 0
        if behaviour.drop and misbehaves:
            return None, None
        if behaviour.status is not None and misbehaves:
            return behaviour.status, None
        if signature != "good":
            return 401, None
        if behaviour.forward_to is not None:
            return await _forwarded(behaviour.forward_to, headers, body)
        return 204, None


def _save(folder: Path, number: int, headers: Mapping[str, str], body: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    (folder / f"{number:06d}.http").write_bytes(lines.encode() + b"\r\n" + body)


async def _forwarded(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
    passed_on = {name: value for name, value in headers.items() if name not in _NOT_PASSED_ON}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=passed_on, allow_redirects=False) as answer,
        ):
            return answer.status, None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return 502, f"not passed on: {str(error) or type(error).__name__}"
