"""Ten thousand endpoints: what is shown stays short, and nothing that is wrong is left out."""

from __future__ import annotations

import json
import re

import pytest

from cdc_bridge.demo.ports import free_port
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.http import figures, get, until_told
from tests.support.many_endpoints import BY_STATUS, ENDPOINTS
from tests.support.page import TOKEN, Visitor

NUMBER = ENDPOINTS + 1
"""The endpoint of the settings is there as well."""
LONGEST_PAGE = 400_000


@pytest.fixture
def database(many_endpoints: Database) -> Database:
    return many_endpoints


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def bridge(bridges: Bridges, port: int) -> Bridge:
    """A daemon beside the two that have nearly all endpoints; it leases those of nobody."""
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_WEB_TOKEN=TOKEN)
    await bridge.until_assigned()
    return bridge


@pytest.fixture
def settings(database: Database) -> dict[str, str]:
    return {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}


@pytest.mark.usefixtures("bridge")
async def test_health_and_metrics_are_bounded_and_name_those_in_trouble(port: int) -> None:
    text = await until_told(
        port, 503, "10 endpoints are failing", "endpoints are behind", "restaurant-09971 is disabled"
    )
    assert len(text.splitlines()) < 20
    assert (await get(port, "/healthz"))[0] == 200
    found = await figures(port)
    statuses = {(endpoint, status): value for (name, endpoint, status), value in two_labels(found, "endpoint_status")}
    endpoints = {endpoint for endpoint, _ in statuses}
    assert "_others" in endpoints
    assert len(endpoints) < 100
    assert sum(statuses.values()) == NUMBER
    assert statuses["restaurant-00001", "failing"] == statuses["restaurant-09971", "disabled"] == 1
    assert statuses["_others", "paused"] == BY_STATUS["paused"]  # type: ignore[index]
    assert found["cdc_bridge_lag_seconds", "_others"] > 0
    assert len(found) < 3000


def two_labels(found: dict[tuple[str, ...], float], name: str) -> list[tuple[tuple[str, str, str], float]]:
    return [
        ((key[0], key[1], key[2]), value)
        for key, value in found.items()
        if len(key) == 3 and key[0] == f"cdc_bridge_{name}"
    ]


@pytest.mark.usefixtures("bridge")
async def test_dashboard_shows_a_page_of_endpoints_those_in_trouble_first(port: int) -> None:
    visitor = Visitor(port)
    try:
        await visitor.sign_in()
        first = await visitor.get("/")
        assert f"{NUMBER:,} endpoints: " in first.text
        # Besides, this daemon leases those of nobody, and there are then fewer in trouble than a page shows.
        in_trouble, _, _ = first.text.partition(" healthy ")
        assert in_trouble.index("restaurant-09971") < in_trouble.index("restaurant-00001")
        assert "restaurant-00104" not in first.text
        assert len(first.html) < LONGEST_PAGE
        (after,) = re.findall(r'href="(/\?page=2)"', first.html)
        second = await visitor.get(after)
        assert f"51 to 100 of {NUMBER:,}" in second.text
        found = await visitor.get("/?search=0777&order=name")
        assert [f"restaurant-0777{number}" in found.text for number in range(10)] == [True] * 10
        assert "11 match" in found.text
        paused = await visitor.get("/?status=paused")
        assert f"{BY_STATUS['paused']} match" in paused.text  # type: ignore[index]
        assert "No endpoint matches" in (await visitor.get("/?search=nobody")).text
        deliveries = await visitor.get("/deliveries")
        assert len(deliveries.html) < LONGEST_PAGE
        assert '<input id="endpoint" name="endpoint"' in deliveries.html
        of_one = await visitor.get("/deliveries?endpoint=restaurant-00002&state=dead")
        assert "restaurant-00002" in of_one.text
        assert "There is no endpoint restaurant-2" in (await visitor.get("/deliveries?endpoint=restaurant-2")).text
    finally:
        await visitor.close()


async def test_status_shows_numbers_and_those_in_trouble_and_json_has_all(settings: dict[str, str]) -> None:
    code, output, errors = await run_command("status", **settings, COLUMNS="200")
    assert (code, errors) == (0, "")
    assert f"{ENDPOINTS:,} endpoints: 10 invalid, 5 disabled" in output
    assert "restaurant-09971" in output
    assert len(output.splitlines()) < 100
    code, output, _ = await run_command("status", "--json", **settings)
    assert len(json.loads(output)["endpoints"]) == ENDPOINTS
    code, output, _ = await run_command("status", "--all", **settings)
    assert "restaurant-04711" in output


async def test_list_is_cut_and_can_be_narrowed(settings: dict[str, str]) -> None:
    code, output, errors = await run_command("endpoint", "list", **settings, COLUMNS="200")
    assert code == 0
    assert "restaurant-00100" in output
    assert "restaurant-00101" not in output
    assert f"{ENDPOINTS - 100:,} more" in errors
    code, output, errors = await run_command(
        "endpoint", "list", "--status", "disabled", "--status", "invalid", "--order", "trouble", "--json", **settings
    )
    listed = [endpoint["name"] for endpoint in json.loads(output)]
    assert listed == [f"restaurant-{number:05}" for number in [*range(9976, 9986), *range(9971, 9976)]]
    code, output, _ = await run_command("endpoint", "list", "--search", "nobody", **settings)
    assert (code, output) == (0, "No endpoint matches.\n")
    code, output, _ = await run_command("endpoint", "show", "restaurant-04711", **settings)
    assert code == 0
    assert "restaurant-04711" in output


async def test_check_is_short_and_tries_few_servers(settings: dict[str, str], database: Database) -> None:
    code, output, _ = await run_command("check", **settings, COLUMNS="200")
    assert code == 1
    assert "restaurant-09976 is invalid" in output
    assert "9 more are invalid" in output
    assert len(output.splitlines()) < 40
    assert output.count("reach ") == 1, "all have the same server"
    database.execute(
        "update cdc_bridge.endpoint set url = format('https://%s.invalid/', name); "
        "update cdc_bridge.endpoint set problem = null, disabled_at = null"
    )
    code, output, _ = await run_command("check", **settings, COLUMNS="200")
    assert len(output.splitlines()) < 90
    assert "other servers of endpoints were not tried" in output
    assert re.search(rf"endpoints +{ENDPOINTS:,}: ", output)


async def test_deliveries_of_all_endpoints_are_listed_and_found(settings: dict[str, str]) -> None:
    code, output, errors = await run_command("deliveries", "--limit", "5", "--json", **settings)
    assert code == 0
    first = json.loads(output)
    numbers = [delivery["seq"] for delivery in first["deliveries"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5
    code, output, _ = await run_command("deliveries", "--limit", "5", "--after", first["next"], "--json", **settings)
    assert max(delivery["seq"] for delivery in json.loads(output)["deliveries"]) <= numbers[-1]
    code, _, errors = await run_command("delivery", "show", str(numbers[0]), **settings)
    assert code != 0
    assert "several endpoints have delivery" in errors
    assert len(errors) < 1000
    code, output, _ = await run_command("deliveries", "--reservation", "R2", "--limit", "3", **settings)
    assert len(output.splitlines()) == 4
