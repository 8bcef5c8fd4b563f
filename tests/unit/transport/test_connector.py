"""How many connections are established at a time, and that no request waits for one that is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.connector import EndpointConnector
from cdc_bridge.transport.outcome import Attempt, Delivered
from tests.support.certificates import Certificates
from tests.support.http_proxy import ProxyConnection, Script, ScriptedProxy, establishing
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver, accept_all
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")

AT_A_TIME = 16


@pytest.fixture
async def proxy() -> AsyncIterator[ScriptedProxy]:
    async with ScriptedProxy() as proxy:
        yield proxy


@pytest.fixture
async def transport(
    scripted_receiver: ScriptedReceiver, certificates: Certificates, proxy: ScriptedProxy
) -> AsyncIterator[HttpTransport]:
    """Connect through a proxy, which decides when there is a connection."""
    till = replace(TILL, url=scripted_receiver.url, ca_file=certificates.ca_file, proxy=proxy.url, timeout_seconds=60)
    transport = HttpTransport(replace(till, connect_timeout_seconds=60), lambda: True)
    yield transport
    await transport.close()


def opening_when(opened: asyncio.Event, port: int) -> Script:
    """Return a script of a proxy that makes its tunnel when an event is set."""

    async def script(connection: ProxyConnection) -> None:
        await opened.wait()
        await establishing(port)(connection)

    return script


async def test_many_requests_at_once_need_few_connections(
    transport: HttpTransport, scripted_receiver: ScriptedReceiver, proxy: ScriptedProxy
) -> None:
    opened = asyncio.Event()
    proxy.scripts = [opening_when(opened, scripted_receiver.port)]
    scripted_receiver.scripts = [accept_all]
    sending = [asyncio.create_task(transport.send(MESSAGE)) for _ in range(400)]
    await until(lambda: len(proxy.heads) == AT_A_TIME, "the first are being established")
    opened.set()
    attempts = await asyncio.gather(*sending)
    assert [attempt and attempt.outcome for attempt in attempts] == [Delivered(200)] * 400
    assert len(scripted_receiver.connections) < 200


@dataclass
class Stuck:
    """A first request that waits for its response, as many that connect as may, and others that wait for them."""

    first: asyncio.Task[Attempt | None]
    connecting: list[asyncio.Task[Attempt | None]]
    waiting: list[asyncio.Task[Attempt | None]]
    connector: EndpointConnector
    finish: asyncio.Event
    """Set to have the first response sent."""


@pytest.fixture
async def stuck(
    transport: HttpTransport, scripted_receiver: ScriptedReceiver, proxy: ScriptedProxy
) -> AsyncIterator[Stuck]:
    opened, finish = asyncio.Event(), asyncio.Event()

    async def slow_at_first(connection: ScriptedConnection) -> None:
        await connection.request()
        await finish.wait()
        await connection.write(OK)
        await accept_all(connection)

    proxy.scripts = [establishing(scripted_receiver.port), opening_when(opened, scripted_receiver.port)]
    scripted_receiver.scripts = [slow_at_first, accept_all]
    first = asyncio.create_task(transport.send(MESSAGE))
    await until(lambda: scripted_receiver.requests, "the first request has arrived")
    connecting = [asyncio.create_task(transport.send(MESSAGE)) for _ in range(AT_A_TIME)]
    await until(lambda: len(proxy.heads) == 1 + AT_A_TIME, "the others are being established")
    waiting = [asyncio.create_task(transport.send(MESSAGE)) for _ in range(3)]
    (pool,) = transport._pools._open.values()
    await until(lambda: sum(map(len, pool.connector._waiters.values())) == 3, "the last ones wait")
    yield Stuck(first, connecting, waiting, pool.connector, finish)
    opened.set()
    await asyncio.gather(*connecting)


async def test_waiting_request_takes_a_connection_that_becomes_idle(
    stuck: Stuck, scripted_receiver: ScriptedReceiver
) -> None:
    stuck.finish.set()
    attempts = await asyncio.gather(stuck.first, *stuck.waiting)
    assert [attempt and attempt.outcome for attempt in attempts] == [Delivered(200)] * 4
    assert [number for number, _ in scripted_receiver.requests] == [0] * 4


async def test_turn_of_a_request_that_is_cancelled_is_the_next_one_s(
    stuck: Stuck, scripted_receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = stuck.connector._release_waiter

    def release_and_cancel() -> None:
        release()
        if stuck.connector._conns:
            stuck.waiting[0].cancel()

    monkeypatch.setattr(stuck.connector, "_release_waiter", release_and_cancel)
    stuck.finish.set()
    attempts = await asyncio.gather(*stuck.waiting[1:])
    assert [attempt and attempt.outcome for attempt in attempts] == [Delivered(200)] * 2
    assert stuck.waiting[0].cancelled()
    await stuck.first


async def test_waiting_request_goes_on_when_one_before_it_could_not_connect(
    transport: HttpTransport, scripted_receiver: ScriptedReceiver, proxy: ScriptedProxy
) -> None:
    rejected = asyncio.Event()

    async def reject(connection: ProxyConnection) -> None:
        await rejected.wait()
        await connection.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")

    proxy.scripts = [*[reject] * AT_A_TIME, establishing(scripted_receiver.port)]
    scripted_receiver.scripts = [accept_all]
    sending = [asyncio.create_task(transport.send(MESSAGE)) for _ in range(2 * AT_A_TIME)]
    await until(lambda: len(proxy.heads) == AT_A_TIME, "the first are being established")
    rejected.set()
    attempts = await asyncio.gather(*sending)
    statuses = [attempt and attempt.outcome.status for attempt in attempts]
    assert statuses == [None] * AT_A_TIME + [200] * AT_A_TIME
