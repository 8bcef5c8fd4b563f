"""Where the dashboard may be served, and what the daemon rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cdc_bridge.demo.ports import free_port
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import Settings
from cdc_bridge.web.listen_settings import listen_settings
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database

TOKEN = SecretStr("a token of twenty characters")


def settings(**values: Any) -> Settings:
    needed: dict[str, Any] = {"database_url": SecretStr("host=unused"), "web_port": 9187}
    return Settings(**needed | values)


def test_loopback_requires_nothing_and_no_port_means_no_server() -> None:
    listen = listen_settings(settings())
    assert listen is not None
    assert (listen.address, listen.port, listen.is_local) == ("127.0.0.1", 9187, True)
    assert listen_settings(settings(web_port=0)) is None
    ipv6 = listen_settings(settings(web_address="::1"))
    assert ipv6 is not None
    assert ipv6.url == "http://[::1]:9187"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"web_address": "0.0.0.0"}, "WEB_TOKEN is not set"),
        ({"web_address": "::"}, "WEB_TOKEN is not set"),
        ({"web_proxy_address": "127.0.0.1"}, "WEB_TOKEN is not set"),
        ({"web_address": "192.0.2.1", "web_token": TOKEN}, "is reached by other machines"),
        ({"web_address": "till.example", "web_token": TOKEN}, "WEB_ADDRESS is not an IP address"),
        ({"web_proxy_address": "10.1.2.3/28", "web_token": TOKEN}, "is neither an IP address nor a network"),
        ({"web_token": SecretStr("too short")}, "WEB_TOKEN is shorter than 20 characters"),
        ({"web_token": TOKEN, "web_api_token": TOKEN}, "WEB_API_TOKEN is the same as .*WEB_TOKEN"),
        ({"web_api_token": SecretStr("too short")}, "WEB_API_TOKEN is shorter than 20 characters"),
        ({"web_address": "0.0.0.0", "web_api_token": TOKEN}, "is reached by other machines"),
        ({"web_certificate_file": Path("/nowhere")}, "WEB_CERTIFICATE_FILE names /nowhere"),
        ({"web_certificate_file": Path("/dev/zero")}, "it is not a regular file"),
        ({"web_key_file": Path("/nowhere")}, "WEB_KEY_FILE is set, but"),
    ],
)
def test_what_would_be_without_protection_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        listen_settings(settings(**values))


@pytest.mark.parametrize("name", ["web_token", "web_api_token"])
def test_any_token_protects_what_other_machines_reach(name: str) -> None:
    assert listen_settings(settings(**{"web_proxy_address": "127.0.0.1", name: TOKEN})) is not None


def test_proxy_or_certificate_will_do_with_a_token() -> None:
    proxied = listen_settings(settings(web_address="0.0.0.0", web_token=TOKEN, web_proxy_address="10.1.2.0/28"))
    assert proxied is not None
    assert proxied.over_https
    assert not proxied.is_local
    assert proxied.is_proxy("10.1.2.3")
    assert not proxied.is_proxy("10.1.2.77")


async def test_daemon_that_would_serve_without_protection_does_not_start(bridges: Bridges) -> None:
    bridge = bridges.make(CDC_BRIDGE_WEB_PORT=str(free_port()), CDC_BRIDGE_WEB_ADDRESS="0.0.0.0")
    await bridge.start()
    assert await bridge.wait() == 78
    assert "CDC_BRIDGE_WEB_TOKEN is not set" in bridge.text
    assert "openssl rand -hex 24" in bridge.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"CDC_BRIDGE_WEB_PORT": "9187"},
            "dashboard         without web_token, open to named tokens only; metrics at http://127.0.0.1:9187",
        ),
        ({"CDC_BRIDGE_WEB_PORT": "9187", "CDC_BRIDGE_WEB_TOKEN": "x" * 20}, "✓ dashboard        http://127.0.0.1:9187"),
        (
            {"CDC_BRIDGE_WEB_PORT": "9187", "CDC_BRIDGE_WEB_API_TOKEN": "x" * 20},
            "dashboard         without web_token, open to named tokens only; the API and metrics at http://127.0.0.1:9187",
        ),
        (
            {
                "CDC_BRIDGE_WEB_PORT": "9187",
                "CDC_BRIDGE_WEB_TOKEN": "x" * 20,
                "CDC_BRIDGE_WEB_API_TOKEN": "y" * 20,
            },
            "dashboard         http://127.0.0.1:9187, with the API",
        ),
        ({"CDC_BRIDGE_WEB_TOKEN": "x" * 20}, "off, as web_port is not set"),
        ({"CDC_BRIDGE_WEB_TOKEN": "short"}, "✗ dashboard        CDC_BRIDGE_WEB_TOKEN is shorter than 20 characters"),
    ],
)
async def test_check_says_whether_the_dashboard_can_be_served(
    database: Database, given: dict[str, str], words: str
) -> None:
    _, output, _ = await run_command("check", CDC_BRIDGE_DATABASE_URL=database.bridge_url, **given)
    assert " ".join(words.split()) in " ".join(output.split())
    _, output, _ = await run_command("check", CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert " dashboard " not in output
