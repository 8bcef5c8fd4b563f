"""Connection test of an endpoint: name, address, TLS and certificate, as for a request, and not a byte of HTTP."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from aiohttp.connector import Connection

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.proxy import Route
from cdc_bridge.transport.reasons import reason_of


@dataclass(frozen=True, slots=True)
class Reached:
    """The connection was established."""

    address: str
    """Of the endpoint; of the proxy, if the route leads through one."""
    route: Route
    certificate_ends_at: datetime | None
    """``None``: without TLS."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """The connection failed."""

    reason: str
    route: Route


async def reach(endpoint: Endpoint) -> Reached | Unreached:
    """Connect as a request does, and close. TLS 1.3 tells only later whether the endpoint wants our certificate.

    Raises:
        OSError: A certificate file cannot be read.
        ValueError: The environment names a proxy that cannot be used.
    """
    transport = HttpTransport(endpoint, may_send=lambda: False)
    try:
        async with asyncio.timeout(endpoint.timeout_seconds) as whole:
            return _reached(await transport.connect(), transport.route)
    except TimeoutError:
        seconds = endpoint.timeout_seconds if whole.expired() else endpoint.connect_timeout_seconds
        return Unreached(transport.route.told(f"no connection within {seconds:g} s"), transport.route)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Unreached(reason_of(error, transport.route, endpoint.name), transport.route)
    finally:
        await transport.close()


def _reached(connection: Connection, route: Route) -> Reached:
    try:
        if connection.transport is None:
            raise ConnectionResetError
        address, port, *_ = connection.transport.get_extra_info("peername")
        certificate = connection.transport.get_extra_info("peercert") or {}
    finally:
        connection.close()
    ends = certificate.get("notAfter")
    ends_at = None if ends is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
    return Reached(f"{address}:{port}", route, ends_at)
