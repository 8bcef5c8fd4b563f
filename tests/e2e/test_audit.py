"""Every change is in the audit log, whichever way it came, and nothing that is secret or a guest's is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc_bridge.audit.actor import of_command
from cdc_bridge.audit.log import Action
from tests.e2e.web.test_endpoints_page import LEFT, TILL
from tests.support.access import add_token
from tests.support.api import API_SETTINGS, ApiClient
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.page import CONTENT_TOKEN, TOKEN, VIEW_TOKEN, Visitor
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

GUEST = "featherstonehaugh@example.org"
ENTRIES = "select via, who, action, endpoint, details from cdc_bridge.audit order by at, audit_id"


def told(database: Database, via: str) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Return action, endpoint and details of each entry, without addresses, and sign-ins left out."""
    return [
        (action, endpoint, {name: value for name, value in details.items() if name != "address"})
        for way, _, action, endpoint, details in database.execute(ENTRIES)
        if way == via and action != "signed in"
    ]


def everything_in(database: Database) -> str:
    return str(database.execute("select a::text from cdc_bridge.audit a"))


async def dead_letter(database: Database, receiver: Receiver) -> int:
    """Have a dead letter of a guest's reservation; return its number."""
    receiver.script = lambda _: Response(422)
    database.execute("insert into customers (id) values ('C') on conflict do nothing")
    database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (GUEST,))
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery where state = 'retrying'"), "rejected")
    database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null, failures = 11")
    receiver.script = lambda _: Response()
    return int(database.value("select max(seq) from cdc_bridge.delivery"))


@pytest.mark.departs_from_contract("its id is no id of e-Res")
async def test_commands_are_noted_with_user_host_and_role(
    database: Database, bridges: Bridges, receiver: Receiver, tmp_path: Path
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    seq = await dead_letter(database, receiver)
    manifest = tmp_path / "endpoints.toml"
    manifest.write_text(
        '[endpoints.till]\nurl = "https://till.example/?key=secret"\n[endpoints.bar]\nurl = "https://b"\n'
    )
    for arguments in [
        ("endpoint", "add", "till", "https://till.example/?key=secret", "--header", "x-key: secret"),
        ("endpoint", "add", "till", "https://till.example/"),
        ("endpoint", "set", "till", "--max-in-flight", "3"),
        ("endpoint", "rotate-secret", "till"),
        ("endpoint", "pause", "till"),
        ("endpoint", "pause", "till"),
        ("endpoint", "resume", "till"),
        ("endpoint", "resume", "till"),
        ("endpoint", "apply", str(manifest), "--yes"),
        ("endpoint", "remove", "till", "--yes"),
        ("endpoint", "remove", "nothing", "--yes"),
        ("endpoint", "test", "default"),
        ("delivery", "retry", str(seq), "--endpoint", "default"),
        ("replay", "--endpoint", "default", "--reservation", GUEST),
        ("replay", "--endpoint", "default", "--state", "dead", "--dry-run"),
        ("backfill", "default"),
        ("reconcile", "--endpoint", "default"),
        ("reconcile", "--endpoint", "default", "--repair"),
        ("erase", GUEST),
        ("token", "add", "anna", "--right", "view"),
        ("token", "remove", "anna"),
    ]:
        await run_command(*arguments, **bridges.settings)
    shown = "https://till.example/?..."
    entries = told(database, "command")
    assert entries[:8] == [
        ("endpoint added", "till", {"url": shown}),
        ("endpoint changed", "till", {"options": ["max_in_flight"]}),
        ("secret rotated", "till", entries[2][2]),
        ("endpoint paused", "till", {}),
        ("endpoint resumed", "till", {}),
        ("probe requested", "till", {}),
        ("endpoint added", "bar", {"url": "https://b"}),
        ("endpoint changed", "till", {"options": ["headers", "max_in_flight"]}),
    ]
    assert entries[8:] == [
        ("endpoint removed", "till", {}),
        ("endpoint tested", "default", {}),
        ("delivery retried", "default", {"delivery": seq}),
        ("replay started", "default", {"reservations": 1}),
        ("backfill started", "default", {}),
        ("reconcile with repair started", "default", {"states": ["missing", "stale"]}),
        ("reservation erased", None, entries[14][2]),
        ("token added", None, {"token": "anna", "right": "view"}),
        ("token removed", None, {"token": "anna"}),
    ]
    assert database.execute("select distinct who, role::text, via from cdc_bridge.audit") == [
        (of_command().who, "cdc_bridge", "command")
    ]
    for never in ("secret=", "=secret", GUEST, "whsec_", "cdcb_", "x-key"):
        assert never not in everything_in(database)


@pytest.mark.departs_from_contract("its id is no id of e-Res")
async def test_changes_on_the_dashboard_are_noted_with_the_token_and_the_address(
    database: Database, page_bridge: Bridge, operator: Visitor, receiver: Receiver
) -> None:
    seq = await dead_letter(database, receiver)
    fields = {"name": "till", "url": "https://till.example/?key=secret", "headers": "x-key: secret"}
    for _ in range(2):
        await operator.send("/endpoints/new", TILL | fields)
    await operator.send("/endpoints/till/change", LEFT | {"max_in_flight": "8"})
    await operator.send("/endpoints/till/rotate-secret", {"keep_old_hours": "1"})
    for action in ("pause", "resume", "remove"):
        await operator.send(f"/endpoints/till/{action}")
    await operator.send("/endpoints/default/test")
    await operator.send(f"/deliveries/default/{seq}/send")
    delivered = "select state = 'delivered' from cdc_bridge.delivery"
    await until(lambda: database.value(delivered), "it is delivered")
    await operator.send(f"/deliveries/default/{seq}/send")
    await until(lambda: database.value(delivered), "it is delivered again")
    dead = "update cdc_bridge.delivery set state = 'dead', next_attempt_at = null, failures = 11"
    database.execute(dead)
    await operator.send("/deliveries/send", [("delivery", f"default/{seq}")])
    await until(lambda: database.value(delivered), "it is delivered once more")
    database.execute(dead)
    await operator.send("/endpoints/default/resend", {"state": "dead"})
    noted = "select count(*) from cdc_bridge.audit where action = 'replay started'"
    await until(lambda: database.value(noted) == 2, "the replay, which goes on behind the page, has begun")
    entries = told(database, "dashboard")
    assert [(action, endpoint) for action, endpoint, _ in entries] == [
        ("endpoint added", "till"),
        ("endpoint changed", "till"),
        ("secret rotated", "till"),
        ("endpoint paused", "till"),
        ("endpoint resumed", "till"),
        ("endpoint removed", "till"),
        ("endpoint tested", "default"),
        ("delivery retried", "default"),
        ("replay started", "default"),
        ("delivery retried", "default"),
        ("replay started", "default"),
    ]
    assert [details for *_, details in entries[7:]] == [
        {"delivery": seq}, {"reservations": 1, "delivery": seq}, {"delivery": seq}, {"states": ["dead"]},
    ]  # fmt: skip
    assert set(database.execute("select who, details ->> 'address' from cdc_bridge.audit")) == {
        ("web_token", "127.0.0.1")
    }
    for never in ("=secret", GUEST, "whsec_", "x-key"):
        assert never not in everything_in(database)


@pytest.mark.departs_from_contract("its id is no id of e-Res")
async def test_changes_through_the_api_are_noted_once_and_with_the_token(
    database: Database, bridges: Bridges, page_port: int, receiver: Receiver
) -> None:
    add_token(database, "program", "a token of one program", "change")
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port), **API_SETTINGS)
    await bridge.until_assigned()
    seq = await dead_letter(database, receiver)
    api = ApiClient(page_port, "a token of one program")
    try:
        till = {"name": "till", "url": "https://till.example/?key=secret", "headers": ["x-key: secret"]}
        for _ in range(2):
            assert (await api.post("/endpoints", till, key="k")).status == 201
        assert (await api.post("/endpoints", till)).status == 409
        assert (await api.patch("/endpoints/till", {"max_in_flight": 3})).status == 200
        assert (await api.patch("/endpoints/till", {"max_in_flight": 0})).status == 400
        assert (await api.post("/endpoints/till/rotate-secret")).status == 200
        assert (await api.post("/endpoints/till/pause")).status == 200
        assert (await api.post("/endpoints/till/pause")).status == 200
        assert (await api.post("/endpoints/till/resume")).status == 200
        assert (await api.delete("/endpoints/till")).status == 204
        assert (await api.post("/endpoints/default/test")).status == 200
        assert (await api.post(f"/deliveries/default/{seq}/retry")).status == 200
        assert (await api.post("/endpoints/default/replay", {"reservations": [GUEST]})).status == 200
        assert (await api.post("/endpoints/default/replay", {"states": ["dead"], "dry_run": True})).status == 200
    finally:
        await api.close()
    assert [(action, endpoint) for action, endpoint, _ in told(database, "api")] == [
        ("endpoint added", "till"),
        ("endpoint changed", "till"),
        ("secret rotated", "till"),
        ("endpoint paused", "till"),
        ("endpoint resumed", "till"),
        ("endpoint removed", "till"),
        ("endpoint tested", "default"),
        ("delivery retried", "default"),
        ("replay started", "default"),
    ]
    assert set(database.execute("select who, via from cdc_bridge.audit")) == {("program", "api")}
    for never in ("=secret", GUEST, "whsec_", "x-key"):
        assert never not in everything_in(database)


async def test_what_was_not_done_is_not_in_it(database: Database, bridges: Bridges) -> None:
    await run_command("endpoint", "add", "till", "https://till.example/", **bridges.settings)
    before = told(database, "command")
    database.execute("alter table cdc_bridge.audit add constraint broken check (action <> 'endpoint paused')")
    code, _, _ = await run_command("endpoint", "pause", "till", **bridges.settings)
    assert code == 1
    assert database.value("select paused_at from cdc_bridge.endpoint where name = 'till'") is None
    assert told(database, "command") == before


async def test_sign_ins_are_noted_and_a_flood_of_them_is_counted(
    database: Database, page_bridge: Bridge, visitor: Visitor
) -> None:
    for _ in range(8):
        await visitor.sign_in(VIEW_TOKEN)
    await visitor.sign_in()
    signed_in = "select who, count(*) from cdc_bridge.audit where action = 'signed in' group by who order by who"
    await until(lambda: database.execute(signed_in) == [("viewer", 5), ("web_token", 1)], "they are noted")
    await visitor.sign_in("a wrong token, as of a stranger")
    assert database.value("select count(*) from cdc_bridge.audit") == 6


def test_it_is_kept_for_a_year_whatever_is_asked_for(database: Database) -> None:
    database.execute(
        "insert into cdc_bridge.audit (at, who, via, action) "
        "select now() - age, 'anna', 'command', age::text "
        "from unnest(array[interval '366 days', '364 days', '1 day']) age"
    )
    with psycopg.connect(database.bridge_url, autocommit=True) as connection:
        connection.execute("call cdc_bridge.prune('0', '0')")
    kept = "select action from cdc_bridge.audit order by at"
    assert database.execute(kept) == [("364 days",), ("1 day",)]


def test_more_than_a_page_is_pruned(database: Database) -> None:
    database.execute(
        "insert into cdc_bridge.audit (at, who, via, action) "
        "select now() - interval '2 years', 'anna', 'command', 'x' from generate_series(1, 5000)"
    )
    database.execute("call cdc_bridge.prune()")
    assert database.value("select count(*) from cdc_bridge.audit") == 0


async def test_command_lists_it_newest_first_page_by_page(database: Database, bridges: Bridges) -> None:
    assert await run_command("audit", **bridges.settings) == (0, "The audit log has no entry.\n", "")
    database.execute(
        "insert into cdc_bridge.audit (at, who, via, action, endpoint) "
        "select now() - n / 2 * interval '1 day', 'anna', 'command', n::text, 'till' from generate_series(1, 7) n"
    )
    numbers: list[str] = []
    more: tuple[str, ...] = ()
    while True:
        _, output, _ = await run_command("audit", "--limit", "3", "--json", *more, **bridges.settings)
        page = json.loads(output)
        numbers += [entry["action"] for entry in page["entries"]]
        if page["next"] is None:
            break
        more = ("--after", page["next"])
    assert numbers == ["1", "3", "2", "5", "4", "7", "6"]
    day = database.value(
        "select to_char(now() at time zone 'UTC' - interval '36 hours', 'YYYY-MM-DD\"T\"HH24:MI\"Z\"')"
    )
    _, output, _ = await run_command("audit", "--since", day, "--json", **bridges.settings)
    assert [entry["action"] for entry in json.loads(output)["entries"]] == ["1", "3", "2"]
    _, output, _ = await run_command("audit", **bridges.settings)
    assert "anna (postgres)" in output
    code, _, _ = await run_command("audit", "--after", "nonsense", **bridges.settings)
    assert code == 2


async def test_page_shows_it_to_those_who_may_change_everything(
    database: Database, page_bridge: Bridge, operator: Visitor, page_port: int
) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202e"
    database.execute(
        "insert into cdc_bridge.audit (at, who, via, action, endpoint, details) "
        "select now() - n * interval '1 minute', %s, 'command', 'action ' || n, %s, "
        "jsonb_build_object(%s::text, %s::text) from generate_series(1, 150) n",
        (hostile, hostile, hostile, hostile),
    )
    page = await operator.get("/audit")
    assert page.status == 200
    assert "action 1 " in page.text
    assert "action 150" not in page.text
    assert "<img" not in page.html
    assert "\u202e" not in page.html
    older = page.html.partition('href="/audit?after=')[2].partition('"')[0]
    assert "action 150" in (await operator.get(f"/audit?after={older}")).text
    assert (await operator.get("/audit?after=nonsense")).status == 404
    for token in (VIEW_TOKEN, CONTENT_TOKEN):
        other = Visitor(page_port)
        try:
            await other.sign_in(token)
            assert (await other.get("/audit")).status == 403
            assert "Audit log" not in (await other.get("/")).text
        finally:
            await other.close()


def test_token_names_of_the_settings_are_nobodys(database: Database) -> None:
    for name in ("web_token", "web_api_token"):
        with pytest.raises(psycopg.errors.CheckViolation):
            add_token(database, name, "x", "view")


def test_every_action_fits_its_column() -> None:
    assert max(map(len, Action)) <= 100
    assert TOKEN not in [*Action]
