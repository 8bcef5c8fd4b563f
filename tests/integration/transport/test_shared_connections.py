"""Many endpoints over the connections of one daemon: they share what they may, and nothing of one reaches another."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed
from cdc_bridge.transport.pools import ConnectionPools
from tests.support.certificates import Certificates
from tests.support.http_proxy import ScriptedProxy, establishing
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.scripted_connections import OK, ScriptedConnection, ScriptedReceiver, accept_all
from tests.support.waiting import until
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")

MANY = 1000
AT_ONCE = 8


@pytest.fixture
async def pools() -> AsyncIterator[ConnectionPools]:
    pools = ConnectionPools()
    yield pools
    await pools.close()


@pytest.fixture
def till(scripted_receiver: ScriptedReceiver, certificates: Certificates) -> Endpoint:
    scripted_receiver.scripts = [accept_all]
    return replace(TILL, url=scripted_receiver.url, ca_file=certificates.ca_file)


async def send(pools: ConnectionPools, endpoint: Endpoint) -> Attempt:
    """Open a transport to an endpoint, and send one request."""
    transport = HttpTransport(endpoint, lambda: True, pools=pools)
    attempt = await transport.send(MESSAGE)
    await transport.close()
    assert attempt is not None
    return attempt


def paths_of(endpoint: Endpoint, number: int) -> list[Endpoint]:
    """Return endpoints that are paths of one receiver."""
    return [replace(endpoint, name=f"e{each}", url=f"{endpoint.url}{each}") for each in range(number)]


async def test_endpoints_of_one_receiver_need_as_many_connections_as_requests_in_flight(
    pools: ConnectionPools, till: Endpoint, scripted_receiver: ScriptedReceiver
) -> None:
    transports = [HttpTransport(endpoint, lambda: True, pools=pools) for endpoint in paths_of(till, MANY)]
    assert (len(pools._open), len(pools._contexts._used)) == (0, 1)
    free = asyncio.Semaphore(AT_ONCE)

    async def send_one(transport: HttpTransport) -> None:
        async with free:
            attempt = await transport.send(MESSAGE)
            assert attempt is not None
            assert attempt.outcome == Delivered(200)

    await asyncio.gather(*map(send_one, transports))
    assert len(scripted_receiver.requests) == MANY
    assert len(scripted_receiver.connections) <= AT_ONCE
    assert len(pools._open) == 1


async def test_each_endpoint_gets_the_responses_to_its_own_requests(
    pools: ConnectionPools, receiver: Receiver, certificates: Certificates
) -> None:
    statuses = [200, 201, 204, 401, 404, 409, 422, 429, 500, 503]

    def respond(request: Any) -> Response:
        number = int(request.path.rpartition("/")[2])
        return Response(statuses[number % 10], after_seconds=0.01 * (number % 3))

    receiver.script = respond
    endpoints = paths_of(replace(TILL, url=f"{receiver.url}/", ca_file=certificates.ca_file), 100)
    transports = [HttpTransport(endpoint, lambda: True, pools=pools) for endpoint in endpoints]
    for _ in range(5):
        attempts = await asyncio.gather(*(transport.send(MESSAGE) for transport in transports))
        found = [attempt and attempt.outcome.status for attempt in attempts]
        assert found == [statuses[number % 10] for number in range(100)]
        assert {attempt and attempt.flaw for attempt in attempts} == {None}


async def test_connections_of_one_endpoint_are_not_for_one_that_trusts_another_ca(
    pools: ConnectionPools, till: Endpoint, certificates: Certificates, scripted_receiver: ScriptedReceiver
) -> None:
    assert (await send(pools, till)).outcome == Delivered(200)
    outcome = (await send(pools, replace(till, ca_file=certificates.other_ca_file))).outcome
    assert isinstance(outcome, Failed)
    assert "certificate cannot be verified" in outcome.reason
    assert (await send(pools, till)).outcome == Delivered(200)
    assert [number for number, _ in scripted_receiver.requests] == [0, 0]


async def test_changed_ca_file_is_used_from_the_next_opening_on(
    pools: ConnectionPools, till: Endpoint, certificates: Certificates, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(certificates.ca_file.read_bytes())
    till = replace(till, ca_file=file)
    opened = HttpTransport(till, lambda: True, pools=pools)
    await opened.send(MESSAGE)
    file.write_bytes(certificates.other_ca_file.read_bytes())
    assert isinstance((await send(pools, till)).outcome, Failed)
    attempt = await opened.send(MESSAGE)
    assert attempt is not None
    assert attempt.outcome == Delivered(200)


async def test_each_endpoint_presents_its_own_client_certificate(pools: ConnectionPools, tmp_path: Path) -> None:
    ca, presented = trustme.CA(), list[tuple[str, Any]]()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.verify_mode = ssl.CERT_OPTIONAL
    ca.issue_cert("localhost").configure_cert(tls)
    ca.configure_trust(tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        names = (writer.get_extra_info("peercert") or {}).get("subjectAltName", ())
        connection = ScriptedConnection(reader, writer, lambda _: None)
        while not reader.at_eof():
            try:
                head = await connection.head()
            except asyncio.IncompleteReadError:
                break
            await connection.body_of(head)
            presented.append((head.split(b" ")[1].decode(), names))
            await connection.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    endpoints = [replace(TILL, name="none", url=f"{url}none", ca_file=tmp_path / "ca.pem")]
    for name in ("a.example", "b.example"):
        certificate = ca.issue_cert(name)
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / name)
        endpoints.append(replace(endpoints[0], name=name, url=url + name, client_certificate_file=tmp_path / name))
    async with server:
        transports = [HttpTransport(endpoint, lambda: True, pools=pools) for endpoint in endpoints]
        for _ in range(3):
            attempts = await asyncio.gather(*(transport.send(MESSAGE) for transport in transports))
            assert [attempt and attempt.outcome for attempt in attempts] == [Delivered(200)] * 3
        await pools.close()
    assert {*presented} == {
        ("/none", ()),
        ("/a.example", (("DNS", "a.example"),)),
        ("/b.example", (("DNS", "b.example"),)),
    }


async def test_each_endpoint_s_requests_use_its_own_credentials_at_the_proxy(
    pools: ConnectionPools, till: Endpoint, scripted_receiver: ScriptedReceiver
) -> None:
    async with ScriptedProxy(establishing(scripted_receiver.port)) as proxy:
        for user in ("a", "b", "a"):
            through = replace(till, proxy=proxy.url.replace("//", f"//{user}:secret@"))
            assert (await send(pools, through)).outcome == Delivered(200)
        assert (await send(pools, replace(till, proxy="none"))).outcome == Delivered(200)
    expected = [b"Basic " + b64encode(f"{user}:secret".encode()) for user in ("a", "b")]
    assert [head.partition(b"Proxy-Authorization: ")[2].partition(b"\r\n")[0] for head in proxy.heads] == expected
    assert [number for number, _ in scripted_receiver.requests] == [0, 1, 0, 2]


async def test_endpoint_that_is_closed_leaves_the_others_their_requests_in_flight(
    pools: ConnectionPools, till: Endpoint, scripted_receiver: ScriptedReceiver
) -> None:
    finish = asyncio.Event()

    async def script(connection: ScriptedConnection) -> None:
        await connection.request()
        await finish.wait()
        await connection.write(OK)
        await accept_all(connection)

    scripted_receiver.scripts = [accept_all, script, script]
    closed, waits, ends = (HttpTransport(each, lambda: True, pools=pools) for each in paths_of(till, 3))
    await closed.send(MESSAGE)
    waiting = [asyncio.create_task(transport.send(MESSAGE)) for transport in (closed, waits, ends)]
    await until(lambda: len(scripted_receiver.requests) == 4, "all requests have arrived")
    waiting[2].cancel()  # as a pipeline does whose lease is lost
    await closed.close()
    finish.set()
    attempt = await waiting[1]
    assert attempt is not None
    assert attempt.outcome == Delivered(200)
    assert (await send(pools, till)).outcome == Delivered(200)


async def test_slow_endpoint_does_not_delay_the_others(
    pools: ConnectionPools, receiver: Receiver, certificates: Certificates
) -> None:
    finish = asyncio.Event()
    receiver.script = lambda request: Response(after=finish if request.path.endswith("/0") else None)
    slow, quick = paths_of(replace(TILL, url=f"{receiver.url}/", ca_file=certificates.ca_file), 2)
    transport = HttpTransport(slow, lambda: True, pools=pools)
    waiting = [asyncio.create_task(transport.send(MESSAGE)) for _ in range(150)]
    await receiver.wait_for_requests(150)
    for _ in range(3):
        assert (await send(pools, quick)).outcome == Delivered(200)
    assert not any(each.done() for each in waiting)
    finish.set()
    await asyncio.gather(*waiting)
