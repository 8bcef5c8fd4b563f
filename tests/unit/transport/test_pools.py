"""Which endpoints share a pool, and when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport import pools as pools_module
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.pools import ConnectionPools, PoolKey
from cdc_bridge.transport.proxy import route
from tests.support.certificates import Certificates
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver, accept_all
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")

PROXY = "http://bridge:secret@proxy.example:3128"


@pytest.fixture
async def pools() -> AsyncIterator[ConnectionPools]:
    pools = ConnectionPools()
    yield pools
    await pools.close()


@pytest.fixture
def till(scripted_receiver: ScriptedReceiver, certificates: Certificates) -> Endpoint:
    return replace(TILL, url=scripted_receiver.url, ca_file=certificates.ca_file)


def key_of(pools: ConnectionPools, **options: Any) -> PoolKey:
    endpoint = replace(TILL, **{"url": "https://till.example/a"} | options)
    return pools.key_of(endpoint, route(endpoint.url, endpoint.proxy, {}).proxy)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "https://till.example/b?c"},
        {"url": "https://TILL.example:443"},
        {"name": "bar", "headers": (("x-till", "7"),), "secret": b"s", "timeout_seconds": 3, "max_in_flight": 1},
        {"proxy": "none"},
    ],
)
async def test_endpoints_of_one_origin_share_a_pool(options: dict[str, Any], pools: ConnectionPools) -> None:
    assert key_of(pools, **options) == key_of(pools)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "https://bar.example/a"},
        {"url": "https://till.example./a"},
        {"url": "https://till.example:8443/a"},
        {"url": "http://till.example:443/a"},
        {"connect_timeout_seconds": 1},
        {"proxy": PROXY},
    ],
)
async def test_endpoints_that_differ_in_the_way_to_them_have_pools_of_their_own(
    options: dict[str, Any], pools: ConnectionPools
) -> None:
    assert key_of(pools, **options) != key_of(pools)


async def test_endpoints_that_trust_other_cas_have_pools_of_their_own(
    pools: ConnectionPools, certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "copy.pem").write_bytes(certificates.ca_file.read_bytes())
    keys = [
        key_of(pools, ca_file=file)
        for file in (None, certificates.ca_file, certificates.other_ca_file, tmp_path / "copy.pem")
    ]
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]


async def test_connections_through_a_proxy_are_shared_only_with_the_same_credentials(pools: ConnectionPools) -> None:
    proxies = [PROXY, PROXY.replace("secret", "other"), PROXY.replace("bridge", "other"), "http://proxy.example:3128"]
    keys = [key_of(pools, proxy=proxy) for proxy in [*proxies, PROXY]]
    assert len(set(keys)) == 4
    assert keys[0] == keys[4]
    assert "secret" not in repr(keys)


async def test_pool_is_opened_with_a_request_and_closed_when_it_was_idle_for_long(
    pools: ConnectionPools, till: Endpoint, scripted_receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools_module, "KEEPALIVE_SECONDS", 0.05)
    finish = asyncio.Event()

    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await finish.wait()
        await connection.write(OK)
        await connection.wait_until_closed()

    scripted_receiver.scripts = [script]
    transport = HttpTransport(till, lambda: True, pools=pools)
    assert pools._open == {}
    sending = asyncio.create_task(transport.send(MESSAGE))
    await until(lambda: scripted_receiver.requests, "the request has arrived")
    (pool,) = pools._open.values()
    used_at = pool.timer
    await until(lambda: pool.timer is not used_at, "the pool was found in use")
    assert list(pools._open.values()) == [pool]
    finish.set()
    attempt = await sending
    assert attempt is not None
    assert attempt.outcome.status == 200
    await until(lambda: not pools._open, "the idle pool is closed")
    await scripted_receiver.wait_until_closed(0)
    assert pool.session.closed


async def test_pool_that_was_closed_is_opened_again(
    pools: ConnectionPools, till: Endpoint, scripted_receiver: ScriptedReceiver
) -> None:
    scripted_receiver.scripts = [accept_all]
    transport = HttpTransport(till, lambda: True, pools=pools)
    await transport.send(MESSAGE)
    (key, pool) = next(iter(pools._open.items()))
    del pools._open[key]
    pool.close_idle()
    await scripted_receiver.wait_until_closed(0)
    await transport.send(MESSAGE)
    assert [number for number, _ in scripted_receiver.requests] == [0, 1]


async def test_bytes_behind_a_response_are_the_flaw_of_its_endpoint_which_shares_no_connection_for_a_while(
    pools: ConnectionPools, till: Endpoint, scripted_receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = asyncio.Event()

    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await connection.write(OK)
        await late.wait()
        await connection.write(OK)
        await connection.wait_until_closed()

    scripted_receiver.scripts = [script, accept_all]
    flawed, other = (HttpTransport(replace(till, name=name), lambda: True, pools=pools) for name in ("flawed", "other"))
    await flawed.send(MESSAGE)
    late.set()
    await scripted_receiver.wait_until_closed(0)
    attempts = [await transport.send(MESSAGE) for transport in (other, flawed, flawed, other, other)]
    assert [attempt and attempt.flaw for attempt in attempts] == [None, "bytes behind its end", None, None, None]
    # The flawed one takes a connection that is there, and leaves none.
    assert [number for number, _ in scripted_receiver.requests] == [0, 1, 1, 2, 3, 3]
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + 61)
    await flawed.send(MESSAGE)
    await other.send(MESSAGE)
    assert len({number for number, _ in scripted_receiver.requests[-2:]}) == 1
