"""Makes one call: a POST over verified TLS, and says what came of it.

The bytes posted are the bytes signed. Redirects are not followed, cookies not kept, proxies of the environment not
used, and of an answer only the status counts: its body is read a little way, so that the connection can serve
again, and dropped.

Whether the call may be made is asked at the last moment, when the body is about to be written: connecting takes time,
and the process may have been stopped meanwhile (:mod:`~cdc_bridge.endpoints.lease`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from cdc_bridge import __version__
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.address_guard import ForbiddenAddress, guarded_socket_factory
from cdc_bridge.transport.outcome import Attempt, Failed, Outcome, judge

if TYPE_CHECKING:
    from cdc_bridge.transport.message import Message

_ANSWER_LIMIT_BYTES = 64 * 1024
_ANSWER_PATIENCE_SECONDS = 1.0
_KEEPALIVE_SECONDS = 60.0
_CA_FILE = "endpoint_ca_file in the settings, or --ca-file FILE with cdc-bridge endpoint set NAME and conformance"


class Sender:
    """Calls one endpoint over kept-alive connections."""

    def __init__(self, endpoint: Endpoint, may_call: Callable[[], bool]) -> None:
        """Prepare to call; must run inside the event loop.

        Args:
            endpoint: who is called.
            may_call: asked when a body is about to be written.

        Raises:
            OSError: a certificate's file cannot be read, or holds none (``ssl.SSLError`` is an ``OSError``).
        """
        self._endpoint = endpoint
        self._may_call = may_call
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=endpoint.max_in_flight,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                ssl=tls_context(endpoint),
                socket_factory=guarded_socket_factory(only_loopback=endpoint.url.startswith("http://")),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=endpoint.timeout_seconds, sock_connect=endpoint.connect_timeout_seconds
            ),
            headers=_headers(endpoint),
            skip_auto_headers=("accept-encoding",),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(self, message: Message) -> Attempt | None:
        """Make the call and say what came of it; ``None``: it might not be made. Only a cancellation is raised."""
        began_at, began = datetime.now(UTC), monotonic()
        body = _WatchedBody(message.body, self._may_call)
        outcome = await self._post(body, message.headers(began_at, self._endpoint.secrets_at(began_at)))
        return None if body.withheld else Attempt(message.id, began_at, monotonic() - began, outcome)

    async def _post(self, body: _WatchedBody, headers: Mapping[str, str]) -> Outcome:
        try:
            async with self._session.post(
                self._endpoint.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                outcome = judge(answer.status, answer.headers, datetime.now(UTC))
                if not await _drain(answer):
                    answer.close()
                return outcome
        except TimeoutError as error:
            return Failed(None, self._too_late(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(None, reason_of(error))

    def _too_late(self, error: TimeoutError) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection within {self._endpoint.connect_timeout_seconds:g} s"
        return f"no answer within {self._endpoint.timeout_seconds:g} s"


class _WatchedBody(aiohttp.BytesPayload):
    """A body that is written only if the call may still be made."""

    def __init__(self, body: bytes, may_call: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
        self._may_call = may_call
        self.withheld = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.withheld = not self._may_call()
        if self.withheld:
            raise ConnectionAbortedError
        await super().write_with_length(writer, content_length)


def _headers(endpoint: Endpoint) -> dict[str, str]:
    configured = dict(endpoint.headers)
    # A name in other letters is the same header: sent twice, it makes a strict server refuse every call.
    if any(name.lower() == "user-agent" for name in configured):
        return configured
    return {"user-agent": f"cdc-bridge/{__version__}"} | configured


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return how an endpoint is verified, and who we say we are.

    Raises:
        OSError: a certificate's file cannot be read, or holds none.
    """
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.client_certificate_file is not None:
        # Without a password's callback OpenSSL would ask for it on the terminal.
        context.load_cert_chain(endpoint.client_certificate_file, endpoint.client_key_file, password=lambda: "")
    return context


async def _drain(answer: aiohttp.ClientResponse) -> bool:
    """Read the rest of a short, quick answer, so that its connection can be used again; say whether it was one."""
    if answer.content.at_eof():
        return True
    unread = _ANSWER_LIMIT_BYTES
    try:
        async with asyncio.timeout(_ANSWER_PATIENCE_SECONDS):
            while unread > 0 and not answer.content.at_eof():
                unread -= len(await answer.content.read(unread))
    except (TimeoutError, aiohttp.ClientError, OSError):
        return False
    return unread > 0


def reason_of(error: Exception) -> str:  # noqa: PLR0911 - one a kind of failure
    """Return why a call failed, in words that say what to do where one can tell."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return certificate_reason(error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return f"TLS failed: {error.os_error}"
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} cannot be resolved: {error.os_error.strerror or error.os_error}"
        case aiohttp.ClientConnectorError(os_error=ForbiddenAddress() as forbidden):
            return f"address refused: {forbidden}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "the endpoint closed the connection without an answer"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case ForbiddenAddress():
            return f"address refused: {error}"
        case _:
            return f"the connection failed: {type(error).__name__}"


def certificate_reason(error: Exception) -> str:
    """Return why an endpoint's certificate was not accepted."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"the endpoint's certificate cannot be verified: {error}"
    reason = f"the endpoint's certificate cannot be verified: {error.verify_message}"
    unknown_issuer = {18, 19, 20, 21}  # X509_V_ERR_..._SELF_SIGNED_CERT, ..._UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ...
    if error.verify_code in unknown_issuer:
        return f"{reason}; if it was issued by a CA of its own, name that CA's file: {_CA_FILE}"
    return reason
