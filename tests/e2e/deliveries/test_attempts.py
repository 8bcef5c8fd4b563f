"""The attempts of a delivery, as the operator sees them, and the responses that an endpoint has kept."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.support.access import add_token
from tests.support.api import API_SETTINGS, API_TOKEN, API_VIEW_TOKEN, ApiClient
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.page import TOKEN, VIEW_TOKEN, Visitor
from tests.support.raw_receiver import RawReceiver, RawResponse
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Manner, Response
from tests.support.waiting import until

BOOKING = (
    "insert into customers (id, surname) values ('C', 'Featherstonehaugh') on conflict do nothing; "
    "insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)
ATTEMPTS = "select number, status, reason from cdc_bridge.attempt order by number"
COUNT = "select count(*) from cdc_bridge.attempt"
RESPONSE = "select response from cdc_bridge.attempt order by number limit 1"
STATE = "select max(state) from cdc_bridge.delivery"
KEEP = {"CDC_BRIDGE_ENDPOINT_KEEP_RESPONSES": "true"}
GUEST = "table 7 has no seat for Featherstonehaugh"


class Times:
    """Rejects the first requests, and accepts those after them."""

    def __init__(self, rejections: int, rejection: Response) -> None:
        self._left = rejections
        self._rejection = rejection

    def __call__(self, _: ReceivedRequest) -> Response:
        self._left -= 1
        return self._rejection if self._left >= 0 else Response(204)


async def shown(bridges: Bridges, *options: str) -> Any:
    """Return what ``delivery show`` has of the first delivery."""
    code, output, errors = await run_command("delivery", "show", "1", "--json", *options, **bridges.settings)
    assert (code, errors) == (0, "")
    return json.loads(output)


async def until_state(database: Database, state: str) -> None:
    await until(lambda: database.value(STATE) == state, f"it is {state}")


async def test_delivery_that_is_rejected_twice_has_three_attempts(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = Times(2, Response(422))
    await bridges.start()
    database.execute(BOOKING)
    await until_state(database, "retrying")
    code, _, errors = await run_command("delivery", "retry", "1", **bridges.settings)
    assert (code, errors) == (0, "")
    await receiver.wait_for_requests(2)
    await until(lambda: database.value(COUNT) == 2, "the second one is recorded")
    await until_state(database, "retrying")
    await run_command("delivery", "retry", "1", **bridges.settings)
    await until_state(database, "delivered")
    rejected = "HTTP 422 Unprocessable Entity"
    assert database.execute(ATTEMPTS) == [(1, 422, rejected), (2, 422, rejected), (3, 204, None)]
    timeline = (await shown(bridges))["timeline"]
    assert [each["status"] for each in timeline] == [422, 422, 204]
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    assert {each["address"] for each in timeline} == {f"127.0.0.1:{port}"}
    assert {each["protocol"] for each in timeline} == {"HTTP/1.1, TLSv1.3"}
    assert [each["message_id"] for each in timeline] == [each.headers["webhook-id"] for each in receiver.requests]
    assert {each["response"] for each in timeline} == {None}
    _, output, _ = await run_command("delivery", "show", "1", **bridges.settings)
    lines = [line.split() for line in output.splitlines()]
    assert [line[0] for line in lines[-3:]] == ["1", "2", "3"]
    assert [line[5:7] for line in lines[-3:]] == [["HTTP", "422"], ["HTTP", "422"], ["HTTP", "204"]]


async def test_delivery_that_succeeds_at_once_has_its_attempt_in_the_delivery_log_only(
    database: Database, bridges: Bridges
) -> None:
    await bridges.start()
    database.execute(BOOKING)
    await until_state(database, "delivered")
    (attempt,) = (await shown(bridges))["timeline"]
    assert (attempt["number"], attempt["status"], attempt["address"]) == (1, 200, None)
    assert database.value(COUNT) == 0


async def test_attempts_are_seen_while_the_endpoint_fails_and_after(
    database: Database, receiver: Receiver, operator: Visitor, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(503)
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 2, "two attempts are written")
    assert database.value("select count(*) from cdc_bridge.delivery") == 0
    delivery = await shown(bridges)
    assert (delivery["reservation_id"], delivery["state"], delivery["recorded_at"]) == ("R", "queued", None)
    assert [each["number"] for each in delivery["timeline"]] == [*range(1, len(delivery["timeline"]) + 1)]
    _, output, _ = await run_command("delivery", "show", "1", **bridges.settings)
    assert "queued: held while the endpoint is failing, and sent when its turn comes" in output
    listed = await operator.get("/deliveries?endpoint=default")
    assert "queued" in listed.text
    assert "HTTP 503" in listed.text
    page = await operator.get("/deliveries/default/1")
    assert page.status == 200
    assert 'id="attempts"' in page.html
    assert page.text.count("HTTP 503") >= 2
    assert "Send again" not in page.text
    receiver.script = lambda _: Response(204)
    await until_state(database, "delivered")
    (*failed, last) = (await shown(bridges))["timeline"]
    assert {each["status"] for each in failed} == {503}
    assert last["status"] == 204
    assert "HTTP 204" in (await operator.get("/deliveries/default/1")).text


async def test_attempts_of_a_reservation_that_is_deleted_meanwhile_belong_to_a_skipped_delivery(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(503)
    await bridges.start()
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 1, "an attempt is written")
    database.execute("delete from reservations")
    await until_state(database, "skipped")
    assert len((await shown(bridges))["timeline"]) >= 1


async def test_gone_endpoint_has_the_attempt_that_it_responded_to(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(410)
    await bridges.start()
    database.execute(BOOKING)
    await until(lambda: database.value("select disabled_at is not null from cdc_bridge.endpoint"), "it is disabled")
    assert database.execute(ATTEMPTS) == [(1, 410, "HTTP 410 Gone")]


async def test_address_that_cannot_be_connected_to_is_named(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await receiver.stop()
    await bridges.start()
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 1, "an attempt is written")
    attempt = (await shown(bridges))["timeline"][0]
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    assert f"127.0.0.1:{port}" in attempt["address"].split(", ")
    assert (attempt["status"], attempt["protocol"]) == (None, None)


async def test_attempts_survive_a_kill_and_go_on(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    receiver.script = lambda _: Response(503)
    bridge = await bridges.start(CDC_BRIDGE_LEASE_SECONDS="3")
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 2, "two attempts are written")
    await bridge.kill()
    before = database.execute(ATTEMPTS)
    await bridges.start(CDC_BRIDGE_LEASE_SECONDS="3")
    await until(lambda: database.value(COUNT) > len(before), "another one is written")
    receiver.script = lambda _: Response(204)
    await until_state(database, "delivered")
    after = database.execute(ATTEMPTS)
    assert after[: len(before)] == before
    assert [number for number, _, _ in after] == [*range(1, len(after) + 1)]
    assert (await shown(bridges))["timeline"][-1]["status"] == 204


BINARY = bytes(range(256)) * 8
BODIES = {
    "text": (Response(422, body=GUEST.encode()), GUEST),
    "binary": (Response(422, body=BINARY), BINARY.decode("utf-8", "replace").replace("\0", "")),
    "latin-1": (
        Response(500, headers={"content-type": "text/html; charset=ISO-8859-1"}, body="Café".encode("latin-1")),
        "Café",
    ),
    "compressed": (
        Response(422, headers={"content-encoding": "gzip"}, body=gzip.compress(GUEST.encode() + b" " * 10**6)),
        GUEST.ljust(2048),
    ),
    "5 MB": (Response(422, body=b"x" * 5_000_000), "x" * 2048),
    "endless": (Response(422, manner=Manner.ENDLESS), "x" * 2048),
    "empty": (Response(422), ""),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_failed_response_is_kept_if_the_endpoint_says_so(
    kind: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    response, kept = BODIES[kind]
    receiver.script = Times(1, response)
    await bridges.start(**KEEP)
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 1, "an attempt is written")
    assert database.value(RESPONSE) == kept
    assert (await shown(bridges))["timeline"][0]["response"] is None
    assert (await shown(bridges, "--responses"))["timeline"][0]["response"] == kept


async def test_response_that_comes_in_drops_delays_no_verdict(
    database: Database, raw_receiver: RawReceiver, bridges: Bridges
) -> None:
    head = b"HTTP/1.1 422 no\r\ncontent-length: 1000\r\n\r\n"
    raw_receiver.responses["R"] = RawResponse(head + b"only this", closes=False)
    await bridges.start(**KEEP, CDC_BRIDGE_ENDPOINT_URL=raw_receiver.url)
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 1, "an attempt is written")
    assert database.value(RESPONSE) == "only this"
    assert database.value("select flaw from cdc_bridge.attempt") == "a body that does not end within 64 KiB and 1 s"
    await until_state(database, "retrying")


async def test_successful_response_is_never_kept(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    receiver.script = lambda _: Response(200, body=GUEST.encode()) if len(receiver.requests) > 1 else Response(503)
    await bridges.start(**KEEP)
    database.execute(BOOKING)
    await until_state(database, "delivered")
    responses = [text for (text,) in database.execute("select response from cdc_bridge.attempt order by number")]
    assert responses == [""] * (len(responses) - 1) + [None]


@pytest.fixture
async def with_response(database: Database, receiver: Receiver, bridges: Bridges, page_port: int) -> Bridge:
    """A daemon with everything, and a delivery whose response is kept."""
    receiver.script = lambda _: Response(422, body=GUEST.encode())
    add_token(database, "viewer", VIEW_TOKEN, "view")
    add_token(database, "api-viewer", API_VIEW_TOKEN, "view")
    bridge = await bridges.start(
        **KEEP, **API_SETTINGS, CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_WEB_TOKEN=TOKEN,
    )  # fmt: skip
    database.execute(BOOKING)
    await until_state(database, "retrying")
    return bridge


@pytest.mark.usefixtures("with_response")
async def test_response_is_for_those_who_may_see_content(page_port: int) -> None:
    for token, sees in [(TOKEN, True), (VIEW_TOKEN, False)]:
        visitor = Visitor(page_port)
        await visitor.sign_in(token)
        page = await visitor.get("/deliveries/default/1")
        assert "HTTP 422" in page.text
        assert (GUEST in page.text) is sees
        await visitor.close()
    for token, sees in [(API_TOKEN, True), (API_VIEW_TOKEN, False)]:
        client = ApiClient(page_port, token)
        (attempt, *_) = (await client.get("/deliveries/default/1")).body["timeline"]
        assert attempt["status"] == 422
        assert attempt["response"] == (GUEST if sees else None)
        await client.close()


async def test_response_is_shown_for_a_day_and_then_removed(
    database: Database, bridges: Bridges, with_response: Bridge
) -> None:
    _, output, _ = await run_command("delivery", "show", "1", "--responses", **bridges.settings)
    assert output.endswith(f"\nresponse to attempt 1:\n{GUEST}\n")
    database.execute("update cdc_bridge.attempt set recorded_at = now() - interval '24 hours 1 second'")
    assert (await shown(bridges, "--responses"))["timeline"][0]["response"] is None
    assert database.value(RESPONSE) == GUEST
    await with_response.terminate()
    await bridges.start(**KEEP)
    await until(lambda: database.value(RESPONSE) is None, "the daemon has removed it")
    assert database.value("select count(*) from cdc_bridge.attempt where status = 422") >= 1


async def test_response_is_not_kept_unless_the_endpoint_says_so(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(503, body=GUEST.encode())
    await bridges.start()
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 1, "an attempt is written")
    assert database.value("select count(response) from cdc_bridge.attempt") == 0


async def test_erase_removes_the_attempts_of_what_is_still_to_be_delivered(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(503, body=GUEST.encode())
    await bridges.start(**KEEP, CDC_BRIDGE_ENDPOINT_MAX_PER_SECOND="0.1")
    database.execute(BOOKING)
    await until(lambda: database.value(COUNT) >= 1, "an attempt is written")
    code, output, errors = await run_command("erase", "R", **bridges.settings)
    assert (code, output) == (1, "Erased: 0 changes, 0 deliveries.\n")
    assert errors.startswith("Still to be delivered: 1 changes, 0 deliveries.")
    assert database.value(COUNT) == 0
