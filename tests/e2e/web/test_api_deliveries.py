"""The API's operations on deliveries, against a real daemon."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.api import ApiClient
from tests.support.bridge import Bridge
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

BOOKINGS = "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, %s) n"
DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
MAKE_DEAD = "update cdc_bridge.delivery set state = 'dead' where reservation_id = any (%s) returning seq"


async def deliver(database: Database, number: int) -> None:
    database.execute(BOOKINGS, (number,))
    await until(lambda: database.value(DELIVERED) == number, "all are delivered and recorded")


async def all_pages(api: ApiClient, link: str | None) -> list[Any]:
    found: list[Any] = []
    while link is not None:
        page = (await api.get(link)).body
        found += page["deliveries"]
        link = page["next"]
    return found


async def test_deliveries_are_listed_by_page_and_filter(api: ApiClient, database: Database) -> None:
    await deliver(database, 25)
    database.execute(MAKE_DEAD, (["R3", "R7"],))
    first = (await api.get("/deliveries?limit=10")).body
    assert [each["reservation_id"] for each in first["deliveries"]] == [f"R{n}" for n in range(25, 15, -1)]
    database.execute("insert into reservations (id, cust_id, reference) values ('late', 'C', 1)")
    await until(lambda: database.value(DELIVERED) == 24, "another one is delivered meanwhile")
    rest = await all_pages(api, first["next"])
    assert [each["reservation_id"] for each in rest] == [f"R{n}" for n in range(15, 0, -1)]
    assert rest[0].keys() == {
        "endpoint", "seq", "reservation_id", "operation", "changed_at", "state", "skip_reason", "attempts", "failures",
        "next_attempt_at", "last_status", "last_error", "message_id", "last_attempt_at", "duration_seconds",
        "recorded_at",
    }  # fmt: skip

    async def found(query: str) -> list[str]:
        return sorted(each["reservation_id"] for each in await all_pages(api, f"/deliveries?limit=2&{query}"))

    assert await found("state=dead") == ["R3", "R7"]
    assert await found("state=dead&state=delivered&reservation=R7") == ["R7"]
    assert await found("endpoint=default&reservation=R8") == ["R8"]
    assert await found("since=2100-01-01T00:00:00Z") == []
    assert len(await found("since=2000-01-01T00:00:00%2B01:00&until=2100-01-01t00:00:00z")) == 26


async def test_filter_that_cannot_be_used_is_named(api: ApiClient) -> None:
    assert (await api.get("/deliveries?endpoint=defalt")).type == "not-found"
    query = "state=lost&since=yesterday&until=2026-07-01T18:30&reservation=%00&cursor=eA==&limit=1001"
    assert (await api.get(f"/deliveries?{query}")).faults.keys() == {
        "state", "since", "until", "reservation", "cursor", "limit"
    }  # fmt: skip
    for since in ("9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "2026-07-01T18:30:00 01:00"):
        assert (await api.get(f"/deliveries?since={since}")).faults.keys() == {"since"}
    same = "2026-07-01T00:00:00Z"
    assert (await api.get(f"/deliveries?since={same}&until={same}")).faults == {"since": "since has to be before until"}


async def test_delivery_is_shown_by_its_number_and_by_its_webhook_id(
    api: ApiClient, database: Database, receiver: Receiver
) -> None:
    await deliver(database, 1)
    ((seq, message_id),) = database.execute("select seq, message_id from cdc_bridge.delivery")
    for id_ in (seq, message_id):
        shown = (await api.get(f"/deliveries/default/{id_}")).body
        assert (shown["seq"], shown["state"], shown["last_status"]) == (seq, "delivered", 200)
        assert (shown["newest_seq"], shown["newer_delivered_seq"]) == (seq, None)
    for path in (f"/deliveries/default/{seq + 1}", f"/deliveries/till/{seq}", "/deliveries/default/x"):
        missing = await api.get(path)
        assert (missing.status, missing.type) == (404, "not-found"), path


async def test_dead_delivery_is_retried(
    api: ApiClient, database: Database, receiver: Receiver, api_bridge: Bridge
) -> None:
    await deliver(database, 1)
    ((seq,),) = database.execute(MAKE_DEAD, (["R1"],))
    receiver.delivered.clear()
    retried = await api.post(f"/deliveries/default/{seq}/retry")
    assert retried.body == {"seq": seq, "action": "due", "newer_seq": None, "warnings": []}
    await receiver.wait_for_delivered(1)
    await until(lambda: database.value(DELIVERED) == 1, "it is delivered")
    again = await api.post(f"/deliveries/default/{seq}/retry")
    assert (again.status, again.type) == (409, "conflict")
    assert "cdc-bridge replay" in again.body["remedy"]
    database.execute(MAKE_DEAD, (["R1"],))
    await api.post("/endpoints/default/pause")
    assert "is paused" in (await api.post(f"/deliveries/default/{seq}/retry")).body["warnings"][0]
    logged = [line for line in api_bridge.log if line.get("what") == "delivery sent again"]
    assert [(line["endpoint"], line["seq"]) for line in logged] == [("default", seq)] * 2


async def test_reservations_are_sent_again(
    api: ApiClient, database: Database, receiver: Receiver, api_bridge: Bridge
) -> None:
    await deliver(database, 3)
    database.execute(MAKE_DEAD, (["R1", "R2"],))
    receiver.delivered.clear()
    dead = {"states": ["dead"]}
    counted = await api.post("/endpoints/default/replay", dead | {"dry_run": True})
    assert counted.body == {"selected": 2, "queued": 0, "complete": True, "warnings": []}
    replayed = await api.post("/endpoints/default/replay", dead)
    assert (replayed.status, replayed.body) == (
        200, {"selected": 2, "queued": 2, "complete": True, "warnings": []}
    )  # fmt: skip
    await receiver.wait_for_delivered(2)
    await until(lambda: database.value(DELIVERED) == 3, "all are delivered")
    for dry_run in (True, False):
        some = {"reservations": ["R3", "no such one"], "dry_run": dry_run}
        assert (await api.post("/endpoints/default/replay", some)).faults.keys() == {"reservations[1]"}
    assert database.value(DELIVERED) == 3
    assert (await api.post("/endpoints/default/replay", {"reservations": ["R3"]})).body["queued"] == 1
    logged = [line for line in api_bridge.log if line.get("what") == "reservations sent again"]
    assert [(line["reservations"], line["all_of_them"]) for line in logged] == [(2, True), (1, True)]


async def test_replay_without_a_selection_or_with_a_wrong_one_queues_nothing(api: ApiClient) -> None:
    nothing: list[Any] = [None, {}, {"states": [], "reservations": []}]
    for body in nothing:
        rejected = await api.post("/endpoints/default/replay", body)
        assert (rejected.status, rejected.type) == (400, "invalid-input")
        assert "Say which reservations" in rejected.body["detail"]
    wrong = {"since": 7, "until": "tomorrow", "reservations": ["\0"], "states": ["lost"], "dry_run": "no"}
    assert (await api.post("/endpoints/default/replay", wrong)).faults.keys() == wrong.keys()
    too_many = {"reservations": [str(number) for number in range(501)]}
    assert (await api.post("/endpoints/default/replay", too_many)).faults.keys() == {"reservations"}


async def test_replay_that_takes_long_goes_on_after_the_response(api: ApiClient, database: Database) -> None:
    await deliver(database, 2)
    dead = {"states": ["dead"]}
    database.execute(MAKE_DEAD, (["R1", "R2"],))
    with psycopg.connect(database.url) as blocker:
        blocker.execute("select from cdc_bridge.endpoint for no key update")
        begun = await api.post("/endpoints/default/replay", dead, key="k")
        assert (begun.status, begun.body["complete"], begun.body["queued"]) == (202, False, 0)
        for key in ("k", "another"):
            response = await api.post("/endpoints/default/replay", dead, key=key)
            assert (response.status, response.type) == (409, "conflict")
    await until(lambda: database.value(DELIVERED) == 2, "both are delivered")
    kept = "select count(*) from cdc_bridge.idempotency_key"
    await until(lambda: database.value(kept) == 1, "its end is kept")
    ended = await api.post("/endpoints/default/replay", dead, key="k")
    assert (ended.status, ended.body["queued"], ended.body["complete"]) == (200, 2, True)
    assert ended.headers["idempotent-replayed"] == "true"
