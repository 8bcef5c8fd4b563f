"""An idempotency key: the same request is carried out once, whatever dies and whichever daemon gets it."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import aiohttp
import psycopg
import pytest

from cdc_bridge.demo.ports import free_port
from tests.support.api import API_SETTINGS, ApiClient
from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

TILL = {"name": "till", "url": "https://till.example/", "headers": ["x-key: a value that is secret"]}
ENDPOINTS = "select count(*) from cdc_bridge.endpoint where not in_settings"
KEPT = "select count(*) from cdc_bridge.idempotency_key"
VENDORS = "whsec_" + b64encode(b"a secret that the vendor made, 32").decode()


async def test_repeated_request_gets_the_first_response_with_its_secret(api: ApiClient, api_bridge: Bridge) -> None:
    first = await api.post("/endpoints", TILL, key="k")
    repeated = await api.post("/endpoints", TILL, key="k")
    assert (repeated.status, repeated.text) == (first.status, first.text)
    assert repeated.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotent-replayed"), repeated.headers["idempotent-replayed"]) == (None, "true")
    rotated = [await api.post("/endpoints/till/rotate-secret", key="r") for _ in range(3)]
    assert len({each.text for each in rotated}) == 1
    changed = [await api.patch("/endpoints/till", {"max_in_flight": 2}, key="c") for _ in range(2)]
    assert changed[0].headers["etag"] == changed[1].headers["etag"]
    logged = [line["what"] for line in api_bridge.log if line["event"] == "api change"]
    assert logged == ["endpoint added", "secret rotated", "endpoint changed"]
    later = await api.post("/endpoints", TILL, key="k")  # The secret is the previous one by now.
    assert later.text == first.text


async def test_test_request_is_sent_once(api: ApiClient, receiver: Receiver) -> None:
    responses = [await api.post("/endpoints/default/test", key="k") for _ in range(2)]
    assert responses[0].text == responses[1].text
    assert len(receiver.requests) == 1


async def test_key_of_another_request_is_rejected(api: ApiClient, database: Database) -> None:
    await api.post("/endpoints", TILL, key="k")
    for response in [
        await api.post("/endpoints", {**TILL, "name": "other"}, key="k"),
        await api.post("/endpoints/till/rotate-secret", key="k"),
        await api.post("/endpoints", TILL, key="k", if_match='"x"'),
    ]:
        assert (response.status, response.type) == (422, "key-reused")
    assert database.value(ENDPOINTS) == 1
    for key in ("x" * 256, "", "é"):
        assert (await api.post("/endpoints", {**TILL, "name": "other"}, key=key)).faults.keys() == {"Idempotency-Key"}


async def test_each_token_has_keys_of_its_own(api: ApiClient, database: Database) -> None:
    await api.post("/endpoints", TILL, key="k")
    database.execute("update cdc_bridge.idempotency_key set token = 'anna'")
    assert (await api.post("/endpoints", TILL, key="k")).type == "conflict"


async def test_request_is_told_that_the_first_one_is_under_way(api: ApiClient, database: Database) -> None:
    with psycopg.connect(database.url) as other_daemon:
        other_daemon.execute("select pg_advisory_xact_lock(52685, hashtext('web_api_token k'))")
        for path in ("/endpoints", "/endpoints/default/test"):
            response = await api.post(path, TILL if path == "/endpoints" else None, key="k")
            assert (response.status, response.type) == (409, "key-in-use")
            assert int(response.headers["retry-after"]) > 0
    assert (await api.post("/endpoints", TILL, key="k")).status == 201


async def test_error_is_not_kept_and_the_request_can_be_sent_again(api: ApiClient, database: Database) -> None:
    assert (await api.post("/endpoints", {**TILL, "max_in_flight": 0}, key="k")).status == 400
    database.execute("revoke insert on cdc_bridge.idempotency_key from cdc_bridge")
    failed = await api.post("/endpoints", TILL, key="k")
    assert (failed.status, failed.type) == (503, "database-unavailable")
    assert database.value(ENDPOINTS) == 0  # Nothing is done whose response cannot be kept.
    database.execute("grant insert on cdc_bridge.idempotency_key to cdc_bridge")
    assert (await api.post("/endpoints", TILL, key="k")).status == 201


async def test_no_secret_and_no_header_value_is_kept(api: ApiClient, database: Database) -> None:
    added = await api.post("/endpoints", TILL, key="a")
    await api.post("/endpoints/till/rotate-secret", {"secret": VENDORS}, key="b")
    moved = {"url": "https://other.example/", "headers": ["x-key: another secret"], "new_secret": True}
    changed = await api.patch("/endpoints/till", moved, key="c")
    assert database.value(KEPT) == 3
    kept = database.value("select string_agg(k::text, ' ') from cdc_bridge.idempotency_key k")
    for secret in (added.body["secret"], VENDORS, changed.body["secret"], "a value that is secret", "another secret"):
        assert secret not in kept


@pytest.mark.parametrize("how", ["rotated", "removed", "added anew"])
async def test_secret_that_is_there_no_more_is_not_made_up(how: str, api: ApiClient) -> None:
    await api.post("/endpoints", TILL, key="k")
    if how == "rotated":
        await api.post("/endpoints/till/rotate-secret", {"keep_old_hours": 0})
    else:
        await api.delete("/endpoints/till")
    if how == "added anew":
        await api.post("/endpoints", TILL)
    repeated = await api.post("/endpoints", TILL, key="k")
    assert (repeated.status, repeated.type) == (409, "secret-replaced")


async def test_unsigned_endpoint_has_no_secret_to_be_found(api: ApiClient) -> None:
    first = await api.post("/endpoints", {**TILL, "signed": False}, key="k")
    assert first.body["secret"] is None
    await api.delete("/endpoints/till")
    assert (await api.post("/endpoints", {**TILL, "signed": False}, key="k")).text == first.text


async def test_key_expires_after_a_day_and_is_pruned(api: ApiClient, bridges: Bridges, database: Database) -> None:
    for name in ("a", "b"):
        await api.post("/endpoints", {**TILL, "name": name}, key=name)
    database.execute("update cdc_bridge.idempotency_key set recorded_at = now() - interval '25 hours'")
    await api.delete("/endpoints/a")
    anew = await api.post("/endpoints", {**TILL, "name": "a"}, key="a")
    assert (anew.status, anew.headers.get("idempotent-replayed")) == (201, None)
    assert database.value(KEPT) == 2
    await bridges.start()  # It prunes when it starts.
    await until(lambda: database.value(KEPT) == 1, "the expired key is pruned")
    assert (await api.post("/endpoints", {**TILL, "name": "a"}, key="a")).text == anew.text


async def test_key_holds_over_a_kill_and_over_several_daemons(
    api: ApiClient, api_bridge: Bridge, bridges: Bridges, database: Database
) -> None:
    port = free_port()
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), **API_SETTINGS)
    other = ApiClient(port)
    try:
        sent = [(api, other)[number % 2].post("/endpoints", TILL, key="k") for number in range(20)]
        responses = await asyncio.gather(*sent)
        assert {each.status for each in responses} <= {201, 409}
        assert {each.type for each in responses if each.status == 409} <= {"key-in-use"}
        (text,) = {each.text for each in responses if each.status == 201}
        assert database.value(ENDPOINTS) == 1
        await api_bridge.kill()
        repeated = await other.post("/endpoints", TILL, key="k")
        assert (repeated.status, repeated.text) == (201, text)
    finally:
        await other.close()


async def test_request_of_a_daemon_that_is_killed_in_the_middle_is_not_half_done(
    api: ApiClient, api_bridge: Bridge, bridges: Bridges, database: Database
) -> None:
    port = free_port()
    with psycopg.connect(database.url) as blocker:
        blocker.execute(
            "insert into cdc_bridge.idempotency_key (token, key, request, status, body) "
            "values ('web_api_token', 'k', '', 200, '{}')"
        )
        sent = asyncio.create_task(api.post("/endpoints", TILL, key="k"))
        waiting = (
            "select count(*) from pg_stat_activity "
            "where wait_event_type = 'Lock' and query like '%insert into cdc_bridge.idempotency_key%'"
        )
        await until(lambda: database.value(waiting), "the endpoint is added and the response is to be kept")
        assert database.value(ENDPOINTS) == 0  # Nobody sees it yet.
        await api_bridge.kill()
        blocker.rollback()
    with pytest.raises(aiohttp.ClientConnectionError):
        await sent
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), **API_SETTINGS)
    other = ApiClient(port)
    try:
        assert (await other.post("/endpoints", TILL, key="k")).status == 201
    finally:
        await other.close()
    assert database.value(ENDPOINTS) == 1
