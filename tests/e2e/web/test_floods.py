"""Whoever reaches the port opens connections and stalls, at each step: deliveries and /healthz go on."""

from __future__ import annotations

import asyncio
import resource
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.support.bridge import Bridge, Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.page import TOKEN
from tests.support.receiver import Receiver
from tests.support.waiting import PATIENCE_SECONDS, until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DESCRIPTORS = 256
MALFORMED = "malformed web requests"
LIMITED = "web connections limited"
HALF_A_FORM = (
    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 100\r\n\r\ntoken="
)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
STYLE = b"GET /static/dashboard.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@dataclass
class Port:
    """The port of a daemon that has few descriptors, over TLS."""

    bridge: Bridge
    number: int
    tls: ssl.SSLContext

    async def connect(self, *, tls: bool = True, local_address: str = "127.0.0.1") -> Streams:
        local = (local_address, 0)
        if not tls:
            return await asyncio.open_connection("127.0.0.1", self.number, local_addr=local)
        return await asyncio.open_connection(
            "127.0.0.1", self.number, local_addr=local, ssl=self.tls, server_hostname="localhost"
        )

    async def health(self) -> int:
        """Ask /healthz once, over a new connection."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.tls)) as client,
            client.get(f"https://localhost:{self.number}/healthz") as answer,
        ):
            return answer.status

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.bridge.pid}/fd").iterdir()))


@pytest.fixture
async def port(database: Database, bridges: Bridges, page_port: int, certificates: Certificates) -> Port:
    database.execute("insert into customers (id) values ('C')")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    bridge = bridges.make(
        CDC_BRIDGE_WEB_PORT=str(page_port),
        CDC_BRIDGE_WEB_ADDRESS="0.0.0.0",
        CDC_BRIDGE_WEB_TOKEN=TOKEN,
        CDC_BRIDGE_WEB_CERTIFICATE_FILE=str(certificates.server_certificate_file),
        CDC_BRIDGE_WEB_KEY_FILE=str(certificates.server_key_file),
    )
    await bridge.start()
    resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, limit[1]))
    await bridge.wait_for_log("started")
    await bridge.until_assigned()
    return Port(bridge, page_port, ssl.create_default_context(cafile=str(certificates.ca_file)))


@asynccontextmanager
async def flood(opened: Callable[[], Awaitable[Streams]], number: int) -> AsyncIterator[list[Streams]]:
    """Hold so many connections; some of them may be closed by the daemon as soon as they are made."""
    async with AsyncExitStack() as stack:
        held: list[Streams] = []
        for _ in range(number):
            with suppress(OSError):
                held.append(await opened())
                stack.callback(held[-1][1].transport.abort)
        yield held


async def delivered(database: Database, receiver: Receiver) -> None:
    """Have a reservation delivered over new connections, to PostgreSQL and to the endpoint."""
    database.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'cdc_bridge'")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await receiver.wait_for_delivered(1)


def is_over(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None


STALLS = {
    "silent": (False, b""),
    "half a TLS hello": (False, HALF_A_HELLO),
    "no request": (True, b""),
    "half the headers": (True, HEALTH[:-2]),
    "huge headers": (True, b"GET /healthz HTTP/1.1\r\n" + b"x: " + b"x" * 8000),
    "half a form": (True, HALF_A_FORM),
    "idle": (True, HEALTH),
    "responses that nobody reads": (True, STYLE * 500),
    "upgrade": (True, UPGRADE + b"\x00" * 100_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("stall", STALLS)
async def test_who_stalls_holds_up_neither_deliveries_nor_health_checks(
    port: Port, database: Database, receiver: Receiver, stall: str
) -> None:
    tls, sent = STALLS[stall]

    async def opened() -> Streams:
        reader, writer = await port.connect(tls=tls)
        writer.write(sent)
        return reader, writer

    before = port.descriptors
    async with flood(opened, 300 if not tls else 150) as held:
        assert await port.health() == 200
        assert port.descriptors - before <= DESCRIPTORS // 4
        await delivered(database, receiver)
        assert await port.health() == 200
        # Whoever still holds one is hung up on.
        if stall != "responses that nobody reads":  # Whoever does not read does not notice.
            await asyncio.gather(*(asyncio.wait_for(_read_all(reader), 60) for reader, _ in held))
    await until(lambda: port.descriptors <= before + 10, "descriptors are free again")
    lines = Counter(line["event"] for line in port.bridge.log if "web" in line["event"])
    assert all(number <= 2 for number in lines.values()), lines  # The first, and the number of the others.
    assert lines.keys() <= {LIMITED, MALFORMED}
    assert "out of system resource" not in "".join(port.bridge.output)


async def _read_all(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        await reader.read()


async def test_deliveries_and_health_checks_go_on_while_silent_connections_are_opened_without_end(
    port: Port, database: Database, receiver: Receiver
) -> None:
    async def keep_opening() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await port.connect(tls=False)
                try:
                    await _read_all(reader)
                finally:
                    writer.transport.abort()

    flooding = [asyncio.create_task(keep_opening()) for _ in range(100)]
    try:
        await port.bridge.wait_for_log(LIMITED)
        await delivered(database, receiver)
        async with asyncio.timeout(PATIENCE_SECONDS):  # One of many connections may be closed before its turn.
            while not await responds(port):
                pass
    finally:
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)


async def test_health_checks_themselves_may_flood(port: Port, database: Database, receiver: Receiver) -> None:
    responses = 0

    async def keep_asking() -> None:
        nonlocal responses
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await port.connect()
                try:
                    while True:
                        writer.write(HEALTH)
                        await reader.readuntil(b"alive\n")
                        responses += 1
                finally:
                    writer.transport.abort()

    flooding = [asyncio.create_task(keep_asking()) for _ in range(60)]
    try:
        await until(lambda: responses > 100, "the flood has begun")
        await delivered(database, receiver)
        async with asyncio.timeout(PATIENCE_SECONDS):  # One of many connections may be closed before its turn.
            while not await responds(port):
                pass
    finally:
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)


async def responds(port: Port) -> bool:
    with suppress(aiohttp.ClientError):
        return await port.health() == 200
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
async def test_one_client_takes_no_connection_from_another(port: Port) -> None:
    reader, writer = await port.connect(local_address="127.0.0.2")
    writer.write(HEALTH)
    await reader.readuntil(b"alive\n")
    async with flood(port.connect, 100):
        writer.write(HEALTH)
        await reader.readuntil(b"alive\n")
    writer.transport.abort()


async def test_connection_with_a_right_token_outlasts_a_flood_from_its_own_address(port: Port) -> None:
    reader, writer = await port.connect()
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert b"200" in await reader.readline()
    async with flood(port.connect, 100):
        writer.write(HEALTH)
        await reader.readuntil(b"alive\n")
    writer.transport.abort()


async def test_malformed_requests_cost_one_line_and_their_text_is_not_in_it(port: Port) -> None:
    reservation = "guest-0471"
    for sent in [
        f"GET / HTTP/1.1\r\nHost: x\r\nx-{reservation}\x00: {reservation}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\n{reservation}\r\n\r\n",
        f"{reservation} {reservation}\r\n\r\n",
        f"GET /{reservation} HTTP/9.9\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\ncontent-length: {reservation}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nx: {reservation * 2000}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n" + f"x: {reservation}\r\n" * 5000 + "\r\n",
        f"POST /sign-in HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n{reservation}\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\ncookie: {reservation}=\x01; \x02{reservation}\r\n\r\n",
        f"GET http://[{reservation}/ HTTP/1.1\r\nHost: x\r\n\r\n",
        f"CONNECT {reservation} HTTP/1.1\r\nHost: x\r\n\r\n",
    ] * 3:
        reader, writer = await port.connect()
        writer.write(sent.encode("latin-1"))
        writer.write_eof() if writer.can_write_eof() else None
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(3):
                await reader.readline()
        writer.transport.abort()
    await port.bridge.wait_for_log(MALFORMED)
    assert await port.bridge.terminate() == 0
    lines = [line for line in port.bridge.log if line["event"] == MALFORMED]
    assert len(lines) == 2  # The first, and at the end those that came in the same minute.
    assert lines[1]["count"] >= 15
    assert {line["event"] for line in port.bridge.log if line["level"] == "error"} == set()
    assert reservation not in "".join(port.bridge.output)
