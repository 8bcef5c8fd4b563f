"""TLS connections are closed in order: the endpoint sees that nothing is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cdc_bridge.transport import connection as connection_module
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Delivered
from cdc_bridge.transport.reach import Reached, reach
from tests.support.blocking_receiver import BlockingReceiver
from tests.support.certificates import Certificates
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE


@pytest.fixture
def closing_receiver(certificates: Certificates) -> Iterator[BlockingReceiver]:
    receiver = BlockingReceiver(certificates.good)
    yield receiver
    receiver.stop()


async def used(receiver: BlockingReceiver, certificates: Certificates) -> HttpTransport:
    """Return a transport with an idle connection."""
    transport = HttpTransport(replace(TILL, url=receiver.url, ca_file=certificates.ca_file), lambda: True)
    attempt = await transport.send(MESSAGE)
    assert attempt is not None
    assert attempt.outcome == Delivered(200)
    return transport


async def test_idle_connection_is_closed_in_order_when_the_transport_is(
    closing_receiver: BlockingReceiver, certificates: Certificates
) -> None:
    await (await used(closing_receiver, certificates)).close()
    assert await closing_receiver.next_end() == "in order"


async def test_connection_is_closed_in_order_when_its_age_is_over(
    closing_receiver: BlockingReceiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = await used(closing_receiver, certificates)
    try:
        loop = asyncio.get_running_loop()
        now, passed = loop.time, connection_module.MAX_AGE_SECONDS * 1.1
        monkeypatch.setattr(loop, "time", lambda: now() + passed)
        await transport.send(MESSAGE)
        assert await closing_receiver.next_end() == "in order"
    finally:
        await transport.close()


async def test_connection_is_closed_in_order_when_it_was_idle_for_long(
    closing_receiver: BlockingReceiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc_bridge.transport.pools.KEEPALIVE_SECONDS", 0.1)
    transport = await used(closing_receiver, certificates)
    try:
        assert await closing_receiver.next_end() == "in order"
    finally:
        await transport.close()


async def test_connection_test_closes_in_order(closing_receiver: BlockingReceiver, certificates: Certificates) -> None:
    found = await reach(replace(TILL, url=closing_receiver.url, ca_file=certificates.ca_file))
    assert isinstance(found, Reached)
    assert found.certificate_ends_at is not None
    assert await closing_receiver.next_end() == "in order"
