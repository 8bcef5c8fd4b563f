"""Requests through a real proxy: tinyproxy, as Debian has it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault
from cdc_bridge.transport.reach import Reached, Unreached, reach
from tests.support.certificates import Certificates
from tests.support.http_proxy import ScriptedProxy, Tinyproxy, establishing
from tests.support.receiver import Receiver
from tests.unit.runtime.scripted import TILL
from tests.unit.transport.test_client import MESSAGE

pytestmark = pytest.mark.departs_from_contract("its bodies are short ones, not from a database")

PASSWORD = "unmistakable%2Dpassword"
WITH_PASSWORD = "BasicAuth bridge unmistakable-password"


async def attempts_at(number: int = 1, **options: Any) -> list[Attempt]:
    transport = HttpTransport(replace(TILL, **options), lambda: True)
    try:
        attempts = [await transport.send(MESSAGE) for _ in range(number)]
    finally:
        await transport.close()
    return [attempt for attempt in attempts if attempt is not None]


async def reason(**options: Any) -> str:
    """Send a request that fails as the endpoint's fault; return why. The connection test says the same."""
    (attempt,) = await attempts_at(**options)
    outcome = attempt.outcome
    assert isinstance(outcome, Failed)
    assert (outcome.status, outcome.fault) == (None, Fault.ENDPOINT)
    found = await reach(replace(TILL, **options))
    assert isinstance(found, Unreached)
    assert found.reason == outcome.reason
    return outcome.reason


@pytest.fixture
def options(receiver: Receiver, certificates: Certificates) -> dict[str, Any]:
    return {"url": receiver.url, "ca_file": certificates.ca_file}


def resolving_all_but(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve: Callable[..., Any] = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **keywords: Any) -> Any:
        assert host != name, f"{name} was resolved here"
        return resolve(host, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("with_password", [False, True], ids=["without a password", "with a password"])
async def test_requests_share_a_tunnel_and_the_proxy_resolves_the_name(
    *,
    with_password: bool,
    options: dict[str, Any],
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving_all_but("localhost", monkeypatch)
    async with Tinyproxy(tmp_path, *([WITH_PASSWORD] if with_password else [])) as proxy:
        given = proxy.url.replace("//", f"//bridge:{PASSWORD}@") if with_password else proxy.url
        attempts = await attempts_at(3, **options, proxy=given)
        assert [attempt.outcome for attempt in attempts] == [Delivered(200)] * 3
        assert proxy.tunnels == 1
        found = await reach(replace(TILL, **options, proxy=given))
    assert isinstance(found, Reached)
    assert str(found.route) == f"through the proxy {proxy.url}"
    assert len(receiver.requests) == 3
    assert all("proxy-authorization" not in request.headers for request in receiver.requests)


async def test_missing_and_wrong_password_are_told(options: dict[str, Any], receiver: Receiver, tmp_path: Path) -> None:
    async with Tinyproxy(tmp_path, WITH_PASSWORD) as proxy:
        missing = await reason(**options, proxy=proxy.url)
        wrong = await reason(**options, proxy=proxy.url.replace("//", "//bridge:wrong-password@"))
    rejected = f"the proxy {proxy.url} rejected the connection: HTTP "
    assert missing == f"{rejected}407, it wants a user and password: http://user:password@..."
    assert wrong.startswith(rejected)
    assert wrong.endswith(", it does not accept the user and password")
    assert "wrong-password" not in wrong
    assert receiver.requests == []


@pytest.mark.parametrize("rule", ["port", "filter"])
async def test_rejection_by_rule_is_told(
    rule: str, options: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    filters = tmp_path / "filter"
    filters.write_text("localhost\n", encoding="utf-8")
    directive = "ConnectPort 443" if rule == "port" else f'Filter "{filters}"'
    async with Tinyproxy(tmp_path, directive) as proxy:
        told = await reason(**options, proxy=proxy.url)
    target = receiver.url.removeprefix("https://").partition("/")[0]
    assert told == f"the proxy {proxy.url} rejected the connection: HTTP 403, it allows no connection to {target}"
    assert receiver.requests == []


async def test_endpoint_that_the_proxy_cannot_reach_is_told(options: dict[str, Any], tmp_path: Path) -> None:
    async with Tinyproxy(tmp_path) as proxy:
        for target in ("nothing.invalid:443", "127.0.0.1:9"):
            told = await reason(**options | {"url": f"https://{target}/"}, proxy=proxy.url)
            assert told == (f"the proxy {proxy.url} rejected the connection: HTTP 500, it cannot connect to {target}")


async def test_proxy_that_is_down_is_told_and_used_once_it_is_back(
    options: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    proxy = Tinyproxy(tmp_path)
    async with proxy:
        transport = HttpTransport(replace(TILL, **options, proxy=proxy.url), lambda: True)
        before = await transport.send(MESSAGE)
    try:
        down = await transport.send(MESSAGE)
        async with proxy:
            back = await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert before is not None
    assert down is not None
    assert back is not None
    assert before.outcome == back.outcome == Delivered(200)
    assert down.outcome == Failed(
        None, f"cannot connect to the proxy {proxy.url}: connection refused; nothing listens there"
    )
    assert len(receiver.requests) == 2


async def test_certificate_behind_the_proxy_is_verified(
    certificates: Certificates, receiver: Receiver, tmp_path: Path
) -> None:
    impostor = Receiver(certificates.for_another_host)
    await impostor.start()
    try:
        async with Tinyproxy(tmp_path) as proxy:
            wrong_name = await reason(url=impostor.url, ca_file=certificates.ca_file, proxy=proxy.url)
            wrong_ca = await reason(url=receiver.url, ca_file=certificates.other_ca_file, proxy=proxy.url)
    finally:
        await impostor.stop()
    for told in (wrong_name, wrong_ca):
        assert told.startswith("the endpoint's certificate cannot be verified: ")
        assert told.endswith(f" (through the proxy {proxy.url})")
    assert receiver.requests == impostor.requests == []


async def test_environment_s_proxy_is_used_but_for_its_exceptions(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver(certificates.for_another_host)
    await receiver.start()
    port = int(receiver.url.rpartition(":")[2].partition("/")[0])
    options: dict[str, Any] = {"url": "https://till.example/", "ca_file": certificates.ca_file}
    try:
        # Nobody resolves till.example: a second proxy stands for the world behind the first.
        async with (
            ScriptedProxy(establishing(port)) as world,
            Tinyproxy(tmp_path, f'Upstream http 127.0.0.1:{world.port} "till.example"') as proxy,
        ):
            monkeypatch.setenv("https_proxy", proxy.url)
            (attempt,) = await attempts_at(**options)
            assert attempt.outcome == Delivered(200)
            found = await reach(replace(TILL, **options))
            assert isinstance(found, Reached)
            assert str(found.route) == f"through the proxy {proxy.url} (https_proxy)"
            monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,.example")
            assert "the name till.example cannot be resolved" in await reason(**options)
            assert "the name till.example cannot be resolved" in await reason(**options, proxy="none")
            assert proxy.tunnels == 2
    finally:
        await receiver.stop()
    assert len(receiver.requests) == 1
