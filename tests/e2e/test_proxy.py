"""An endpoint behind a proxy: daemon, commands and dashboard go the same way, say which, and show no password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.http_proxy import ScriptedProxy, Tinyproxy, establishing
from tests.support.page import Visitor
from tests.support.receiver import Receiver
from tests.support.waiting import until

USER, PASSWORD = "unmistakable-user", "unmistakable-password"
WITH_PASSWORD = f"BasicAuth {USER} {PASSWORD}"
BOOKING = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)
PROXY = "select proxy from cdc_bridge.endpoint where name = %s"
REASON = "select last_failure from cdc_bridge.endpoint where failing_since is not null"
TYPED = {
    "max_in_flight": "16", "timeout_seconds": "15", "connect_timeout_seconds": "5",
    "payload": "reservation", "events": "both",
}  # fmt: skip


@pytest.fixture
async def till_example(certificates: Certificates) -> AsyncIterator[Receiver]:
    """A receiver with a certificate for till.example, a name that this machine cannot resolve."""
    receiver = Receiver(certificates.for_another_host)
    await receiver.start()
    yield receiver
    await receiver.stop()


def with_credentials(url: str) -> str:
    return url.replace("//", f"//{USER}:{PASSWORD}@")


async def test_endpoint_of_the_settings_is_delivered_to_through_the_proxy_or_not_at_all(
    database: Database, bridges: Bridges, receiver: Receiver, tmp_path: Path
) -> None:
    proxy = Tinyproxy(tmp_path, WITH_PASSWORD)
    async with proxy:
        settings = {"CDC_BRIDGE_ENDPOINT_PROXY": with_credentials(proxy.url)}
        bridge = await bridges.start(**settings)
        assigned = await bridge.wait_for_log("endpoint assigned")
        assert assigned["route"] == f"through the proxy {proxy.url}"
        database.execute(BOOKING)
        await receiver.wait_for_delivered(1)
        assert proxy.tunnels == 1
        _, checked, _ = await run_command("check", "--json", **bridges.settings | settings)
        assert f"127.0.0.1:{proxy.port}, through the proxy {proxy.url}; certificate verified" in checked
        _, tested, _ = await run_command("endpoint", "test", "default", **bridges.settings | settings)
        assert f", through the proxy {proxy.url}: HTTP 200, after " in tested
        told = checked + tested
        assert database.value(PROXY, ("default",)) == proxy.url
        await receiver.wait_for_requests(2)
    database.execute("update reservations set adults = 3")
    failing = await bridge.wait_for_log("endpoint failing")
    assert failing["reason"].startswith(f"cannot connect to the proxy {proxy.url}: connection refused")
    await until(lambda: database.execute(REASON), "it is failing")
    assert database.value("select count(*) from cdc_bridge.delivery where attempts > 1 or state <> 'delivered'") == 0
    _, checked, _ = await run_command("check", **bridges.settings | settings)
    _, tested, _ = await run_command("endpoint", "test", "default", "--json", **bridges.settings | settings)
    assert f'"route": "through the proxy {proxy.url}"' in tested
    async with proxy:
        await receiver.wait_for_delivered(3)
        delivered = "select count(*) from cdc_bridge.attempt where status = 200"
        await until(lambda: database.value(delivered) == 1, "the attempt that succeeded is written")
    assert await bridge.terminate() == 0
    attempts = database.execute("select status, address, protocol from cdc_bridge.attempt order by number")
    assert set(attempts[:-1]) == {(None, f"127.0.0.1:{proxy.port}", None)}
    through = f"HTTP/1.1, TLSv1.3, through the proxy {proxy.url}"
    assert attempts[-1] == (200, f"127.0.0.1:{proxy.port}", through)
    delivery_log = database.value("select string_agg(d::text, ' ') from cdc_bridge.delivery d")
    delivery_log += database.value("select string_agg(a::text, ' ') from cdc_bridge.attempt a")
    endpoint = database.value("select string_agg(e::text, ' ') from cdc_bridge.endpoint e")
    written = "".join(bridge.output) + told + checked + tested + delivery_log + endpoint
    assert [secret for secret in (USER, PASSWORD) if secret in written] == []


async def test_proxy_is_given_by_file_shown_without_its_password_and_taken_away(
    database: Database, endpoint: EndpointCommands, tmp_path: Path
) -> None:
    given = f"http://{USER}:{PASSWORD}@proxy:3128"
    file = tmp_path / "proxy"
    file.write_text(f"{given}\n")
    await endpoint.run("add", "till", "https://till.example", "--proxy-file", str(file))
    assert database.value(PROXY, ("till",)) == given
    assert (await endpoint.json("show", "till"))["proxy"] == "http://proxy:3128"
    assert "http://proxy:3128" in await endpoint.run("show", "till")
    for flags, stored in ((("--proxy", "none"), "none"), (("--proxy", ""), None), (("--proxy-file", "-"), given)):
        await endpoint.run("set", "till", *flags, standard_input=given.encode())
        assert database.value(PROXY, ("till",)) == stored
    for value in ("socks5://", "https://"):
        told = await endpoint.refused("set", "till", "--proxy", given.replace("http://", value), code=2)
        assert "--proxy has to be" in told
    file.write_text(f"{given}\n{given}\n")
    assert "has to hold one line, not 2" in await endpoint.refused("set", "till", "--proxy-file", str(file), code=2)
    both = ("--proxy", "none", "--proxy-file", str(file))
    assert "exclude each other" in await endpoint.refused("set", "till", *both, code=2)
    assert PASSWORD not in endpoint.printed
    assert USER not in endpoint.printed


async def test_environment_of_the_daemon_names_the_proxy_and_its_exceptions(
    database: Database,
    bridges: Bridges,
    endpoint: EndpointCommands,
    till_example: Receiver,
    certificates: Certificates,
) -> None:
    port = int(till_example.url.rpartition(":")[2].partition("/")[0])
    async with ScriptedProxy(establishing(port)) as proxy:
        bridges.settings["HTTPS_PROXY"] = with_credentials(proxy.url)
        bridge = await bridges.start()
        assert (await bridge.wait_for_log("endpoint assigned", endpoint="default"))["route"] == "directly"
        await endpoint.run("add", "till", "https://till.example/", "--ca-file", str(certificates.ca_file))
        assigned = await bridge.wait_for_log("endpoint assigned", endpoint="till")
        assert assigned["route"] == f"through the proxy {proxy.url} (HTTPS_PROXY)"
        database.execute(BOOKING)
        await till_example.wait_for_delivered(1)
        given = bridges.settings["HTTPS_PROXY"]
        tested = await endpoint.run("test", "till", HTTPS_PROXY=given)
        assert f"through the proxy {proxy.url} (HTTPS_PROXY): HTTP 200" in tested
        excepted = await endpoint.run("test", "till", code=1, HTTPS_PROXY=given, NO_PROXY="till.example")
        assert ", directly (NO_PROXY): the name till.example cannot be resolved" in excepted
        _, checked, _ = await run_command("check", **bridges.settings, NO_PROXY="till.example")
        assert "cannot be resolved" in checked
        assert "(directly (NO_PROXY))" in " ".join(checked.split())
        assert PASSWORD not in "".join(bridge.output) + tested + excepted + checked


async def test_environment_s_proxy_that_cannot_be_used_makes_endpoints_invalid(
    database: Database, bridges: Bridges, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", "https://till.example/")
    environment = {"HTTPS_PROXY": f"socks5://{USER}:{PASSWORD}@proxy:1080"}
    bridge = await bridges.start(**environment)
    invalid = await bridge.wait_for_log("endpoint invalid", endpoint="till")
    assert invalid["problem"].startswith("HTTPS_PROXY in the environment has to be an HTTP proxy")
    await bridge.until_assigned("default")  # It is on this machine.
    assert (await endpoint.json("show", "till"))["status"] == "invalid"
    told = await endpoint.refused("test", "till", HTTPS_PROXY=environment["HTTPS_PROXY"])
    assert "HTTPS_PROXY in the environment has to be an HTTP proxy" in told
    _, checked, _ = await run_command("check", **bridges.settings | environment)
    assert "HTTPS_PROXY in the environment has to be an HTTP proxy" in " ".join(checked.split())
    code, conformance, errors = await run_command("conformance", "https://till.example/", "--yes", **environment)
    assert code == 1
    assert "HTTPS_PROXY in the environment has to be an HTTP proxy" in " ".join(errors.split())
    await endpoint.run("set", "till", "--proxy", "none")
    await bridge.wait_for_log("endpoint assigned", endpoint="till", route="directly")
    assert PASSWORD not in "".join(bridge.output) + told + checked + conformance + errors + endpoint.printed


async def test_dashboard_takes_a_proxy_shows_it_without_its_password_and_takes_it_away(
    operator: Visitor, database: Database, receiver: Receiver, certificates: Certificates, tmp_path: Path
) -> None:
    async with Tinyproxy(tmp_path, WITH_PASSWORD) as proxy:
        new: dict[str, Any] = {"name": "till", "url": receiver.url, "ca_file": str(certificates.ca_file), **TYPED}
        refused = await operator.send("/endpoints/new", new | {"proxy": with_credentials("socks5://proxy:1080")})
        assert refused.status == 400
        assert "Proxy has to be an HTTP proxy" in refused.text
        await operator.send("/endpoints/new", new | {"proxy": with_credentials(proxy.url)})
        assert database.value(PROXY, ("till",)) == with_credentials(proxy.url)
        shown, form = await operator.get("/endpoints/till"), await operator.get("/endpoints/till/change")
        assert proxy.url in shown.text
        assert f"Now {proxy.url}; leave it empty to keep that." in form.text
        tested = await operator.send("/endpoints/till/test")
        assert f"Test request, through the proxy {proxy.url}: HTTP 200, after " in tested.text
        assert PASSWORD not in shown.html + form.html + tested.html
        again = TYPED | {"max_in_flight": "many", "proxy": with_credentials(proxy.url)}
        rejected = await operator.send("/endpoints/till/change", again)
        assert "Concurrency limit has to be a number" in rejected.text
        assert PASSWORD not in rejected.html
        kept = TYPED | {"ca_file": str(certificates.ca_file), "proxy": "", "payload": "reservation", "events": "both"}
        await operator.send("/endpoints/till/change", kept)
        assert database.value(PROXY, ("till",)) == with_credentials(proxy.url)
        await operator.send("/endpoints/till/change", kept | {"drop_proxy": "on"})
        assert database.value(PROXY, ("till",)) is None
        form = await operator.get("/endpoints/till/change")
        assert "drop_proxy" not in form.html
        tested = await operator.send("/endpoints/till/test")
        assert "Test request, directly: HTTP 200" in tested.text
