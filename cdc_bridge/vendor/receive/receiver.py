"""A webhook receiver for development: verifies every request as a careful till would, and responds as configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import JSONDecodeError
from pathlib import Path

import aiohttp
from aiohttp import web
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook, WebhookVerificationError

from cdc_bridge.own_files import write_own
from cdc_bridge.vendor.test_message import TEST_TYPE
from cdc_bridge.vendor.violations import violations_of

VALID = "valid"

_LARGEST_BODY_BYTES = 8 * 1024 * 1024
_NOT_FORWARDED = {"host", "content-length", "connection", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How to respond; the default is 204, or 401 if the signature is not valid."""

    status: int | None = None
    """Respond with this status."""
    drop: bool = False
    """Close the connection without a response."""
    every: int = 1
    """Apply the two above to every n-th request only."""
    slow_seconds: float = 0.0
    """Delay every response."""
    forward_to: str | None = None
    """Forward valid requests to this URL, and return its response."""
    save_to: Path | None = None
    """Existing folder for a file with headers and body of each request."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request, and what was made of it."""

    at: datetime
    number: int
    type: str
    subject: str
    sequence: str
    message_id: str
    signature: str
    """:data:`VALID`, or why it is not."""
    remarks: tuple[str, ...]
    """What a till has to handle: a duplicate, an older change, a test request."""
    violations: tuple[str, ...]
    """Where the body departs from the schema."""
    status: int | None
    """The response; ``None``: none was sent."""
    body: bytes = field(repr=False)

    @property
    def is_accepted(self) -> bool:
        """Whether the response was 2xx."""
        return _is_success(self.status)

    @property
    def is_valid(self) -> bool:
        """Whether the signature is valid and the body follows the schema."""
        return self.signature == VALID and not self.violations


class Receiver:
    """Handles requests, and remembers which it has accepted."""

    def __init__(
        self,
        secret: str,
        behaviour: Behaviour,
        on_request: Callable[[ReceivedRequest], None],
        validator: Draft202012Validator | None = None,
    ) -> None:
        """Prepare to receive.

        Args:
            secret: The signing secret, ``whsec_...``.
            behaviour: How to respond.
            on_request: Called for each request, with the response decided.
            validator: Of another schema than the contract's.
        """
        self._verifier = Webhook(secret)
        self._behaviour = behaviour
        self._on_request = on_request
        self._validator = validator
        self._number = 0
        self._accepted: dict[str, bool] = {}
        self._highest_sequence: dict[str, str] = {}

    def application(self) -> web.Application:
        """Return the application that receives at every path."""
        application = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        application.router.add_post("/{path:.*}", self._receive)
        return application

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._number += 1
        number, headers = self._number, {name.lower(): value for name, value in request.headers.items()}
        signature = self._verify(headers, body)
        not_saved = None
        if self._behaviour.save_to is not None:
            not_saved = await asyncio.to_thread(_save, self._behaviour.save_to, number, headers, body)
        await asyncio.sleep(self._behaviour.slow_seconds)
        status, failure = await self._respond(number, headers, body, signature)
        remarks = self._remarks(headers, status) if signature == VALID else []
        remarks += [problem for problem in (failure, not_saved) if problem is not None]
        if request.transport is None:
            remarks.append("too late: the client has disconnected")
        is_test = headers.get("ce-type") == TEST_TYPE
        self._on_request(
            ReceivedRequest(
                at=datetime.now(UTC),
                number=number,
                type=headers.get("ce-type", ""),
                subject=headers.get("ce-subject", ""),
                sequence=headers.get("ce-sequence", "").lstrip("0"),
                message_id=headers.get("webhook-id", ""),
                signature=signature,
                remarks=tuple(remarks),
                violations=() if is_test else violations_of(body, self._validator),
                status=status,
                body=body,
            )
        )
        if status is None and request.transport is not None:
            request.transport.abort()  # The response below reaches nobody.
        return web.Response(status=status or 204)

    def _verify(self, headers: Mapping[str, str], body: bytes) -> str:
        if "webhook-signature" not in headers:
            return "missing"
        try:
            self._verifier.verify(body, dict(headers))
        except WebhookVerificationError as error:
            return f"invalid: {error}"
        except JSONDecodeError:
            return VALID  # The library parses the body once it is verified.
        except ValueError:
            return "invalid: it cannot be decoded, or the body is not UTF-8"
        return VALID

    def _remarks(self, headers: Mapping[str, str], status: int | None) -> list[str]:
        if headers.get("ce-type") == TEST_TYPE:
            return ["test request"]
        message_id, subject, sequence = (headers.get(f, "") for f in ("webhook-id", "ce-subject", "ce-sequence"))
        remarks = []
        if message_id in self._accepted:
            remarks.append(
                "duplicate, to be dropped"
                if self._accepted[message_id]
                else "retry of a request that was not accepted, to be processed"
            )
        highest = self._highest_sequence.get(subject, "")
        if sequence < highest:
            remarks.append(f"older than {highest.lstrip('0')}, to be dropped")
        is_accepted = _is_success(status)
        self._accepted[message_id] = self._accepted.get(message_id, False) or is_accepted
        if is_accepted:
            self._highest_sequence[subject] = max(sequence, highest)
        return remarks

    async def _respond(
        self, number: int, headers: Mapping[str, str], body: bytes, signature: str
    ) -> tuple[int | None, str | None]:
        """Return the status to respond with, and why a request could not be forwarded."""
        behaviour = self._behaviour
        misbehaves = number % behaviour.every == 0
        if behaviour.drop and misbehaves:
            return None, None
        if behaviour.status is not None and misbehaves:
            return behaviour.status, None
        if signature != VALID:
            return 401, None
        if behaviour.forward_to is not None:
            return await _forward(behaviour.forward_to, headers, body)
        return 204, None


def _is_success(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _save(folder: Path, number: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """Save a request; return why it was not."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    file = folder / f"{number:06d}.http"
    try:
        write_own(file, lines.encode(errors="surrogateescape") + b"\r\n" + body)
    except OSError as error:
        return f"not saved as {file}: {error.strerror}"
    return None


async def _forward(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
    forwarded = {name: value for name, value in headers.items() if name not in _NOT_FORWARDED}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=forwarded, allow_redirects=False) as response,
        ):
            return response.status, None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return 502, f"not forwarded: {str(error) or type(error).__name__}"
