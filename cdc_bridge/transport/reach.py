"""Connection test of an endpoint: name, address, TLS and certificate, and not a byte of HTTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from yarl import URL

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.address_guard import forbidden_reason
from cdc_bridge.transport.client import tls_context
from cdc_bridge.transport.reasons import certificate_reason


@dataclass(frozen=True, slots=True)
class Reached:
    """The connection was established."""

    address: str
    certificate_ends_at: datetime | None
    """``None``: without TLS."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """The connection failed."""

    reason: str


async def reach(endpoint: Endpoint) -> Reached | Unreached:  # noqa: PLR0911 - one for each kind of failure
    """Connect as a request does, and close. TLS 1.3 tells only later whether the endpoint wants our certificate."""
    url = URL(endpoint.url)
    host, port = url.raw_host or "", url.port or 443
    try:
        async with asyncio.timeout(endpoint.connect_timeout_seconds):
            return await _connect(endpoint, host, port, tls=url.scheme == "https")
    except TimeoutError:
        return Unreached(f"no connection within {endpoint.connect_timeout_seconds:g} s")
    except socket.gaierror as error:
        return Unreached(f"the name {host} cannot be resolved: {error.strerror}")
    except UnicodeError:
        return Unreached(f"{host} is not a host name")
    except ssl.SSLCertVerificationError as error:
        return Unreached(certificate_reason(error))
    except ssl.SSLError as error:
        return Unreached(f"TLS failed: {error.reason or error}")
    except OSError as error:
        return Unreached(f"cannot connect to {host}:{port}: {error.strerror or error}")


async def _connect(endpoint: Endpoint, host: str, port: int, *, tls: bool) -> Reached | Unreached:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if forbidden := forbidden_reason(str(address[0]), only_loopback=not tls):
            return Unreached(f"address not allowed: {forbidden}")
    context = tls_context(endpoint) if tls else None
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host if tls else None)
    try:
        certificate = writer.get_extra_info("peercert") or {}
        ends = certificate.get("notAfter")
        ends_at = None if ends is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
        return Reached(f"{writer.get_extra_info('peername')[0]}:{port}", ends_at)
    finally:
        writer.transport.abort()  # At once: an endpoint that does not close TLS properly is reachable all the same.
