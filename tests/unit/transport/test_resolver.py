"""Look-ups of an endpoint's name: each in a thread of its own, one at a time, and nobody waits for a silent one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cdc_bridge.transport.resolver import EndpointResolver


class NameServer:
    """Stands for ``socket.getaddrinfo``: silent until it is told to respond."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.responds = threading.Event()

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        self.responds.wait()
        if host.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.responds.set()


async def address_of(resolver: EndpointResolver, host: str) -> str:
    (found,) = await resolver.resolve(host, 443)
    assert found["port"] == 443
    return found["host"]


async def test_silent_look_up_is_given_up_and_not_begun_a_second_time(name_server: NameServer) -> None:
    resolver = EndpointResolver(timeout_seconds=0.01)
    for _ in range(3):
        with pytest.raises(socket.gaierror, match=r"no response from the name server within 0\.01 s"):
            await resolver.resolve("silent.example", 443)
    assert name_server.asked == ["silent.example"]


async def test_look_up_that_ends_late_serves_the_next_attempt(name_server: NameServer) -> None:
    impatient, resolver = EndpointResolver(timeout_seconds=0.01), EndpointResolver(timeout_seconds=60)
    with pytest.raises(socket.gaierror):
        await impatient.resolve("slow.example", 443)
    asking = asyncio.create_task(address_of(resolver, "slow.example"))
    name_server.responds.set()
    assert await asking == "192.0.2.1"
    assert await address_of(resolver, "slow.example") == "192.0.2.1"


async def test_requests_that_need_one_name_at_once_share_a_look_up(name_server: NameServer) -> None:
    resolver = EndpointResolver(timeout_seconds=60)
    asking = [asyncio.create_task(address_of(resolver, "till.example")) for _ in range(16)]
    await asyncio.sleep(0)
    asking[0].cancel()
    name_server.responds.set()
    assert await asyncio.gather(*asking[1:]) == ["192.0.2.1"] * 15
    assert name_server.asked == ["till.example"]


async def test_hundred_silent_look_ups_delay_neither_another_one_nor_the_loop_s_executor(
    name_server: NameServer,
) -> None:
    resolvers = [EndpointResolver(timeout_seconds=60) for _ in range(100)]
    silent = [asyncio.create_task(one.resolve(f"silent{n}.example")) for n, one in enumerate(resolvers)]
    while len(name_server.asked) < 100:
        await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "done") == "done"
    name_server.responds.set()
    assert len(await asyncio.gather(*silent)) == 100


async def test_thread_ends_with_its_look_up(name_server: NameServer) -> None:
    name_server.responds.set()
    resolver = EndpointResolver(timeout_seconds=60)
    for number in range(50):
        await resolver.resolve(f"till{number}.example", 443)
    for thread in threading.enumerate():
        if thread.name == "resolver":
            thread.join()
    assert len(name_server.asked) == 50


async def test_name_that_does_not_exist_is_an_error_and_looked_up_again(name_server: NameServer) -> None:
    name_server.responds.set()
    resolver = EndpointResolver(timeout_seconds=60)
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="Name or service not known"):
            await resolver.resolve("unknown.example", 443)
    assert name_server.asked == ["unknown.example"] * 2
