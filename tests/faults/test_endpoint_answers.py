"""The endpoint responds as it should not: nothing is lost, and only what is at fault is delayed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Manner, Response
from tests.support.waiting import until

WRONG_ANSWERS = {
    "HTTP 500": Response(500),
    "HTTP 503": Response(503, body=b"<html>" + b"try again later" * 1000),
    "HTTP 401": Response(401),
    "HTTP 404": Response(404),
    "a redirect": Response(307, {"location": "/elsewhere"}),
    "a reset": Response(500, manner=Manner.RESET),
    "a reset when it has the delivery": Response(manner=Manner.RESET),
    "a reset within the response": Response(503, manner=Manner.BROKEN_OFF),
    "an acceptance that is broken off": Response(manner=Manner.BROKEN_OFF),
    "a body without an end": Response(503, manner=Manner.ENDLESS),
    "an acceptance without an end": Response(manner=Manner.ENDLESS),
    "an acceptance after the time-out": Response(manner=Manner.TOO_LATE),
    "nonsense": Response(500, body=bytes(range(256)) * 20, manner=Manner.RAW),
    "half a status line": Response(500, body=b"HTTP/1.1 200 O", manner=Manner.RAW),
    "half an acceptance": Response(body=b"HTTP/1.1 200 OK\r\ncontent-len", manner=Manner.RAW),
    "nothing": Response(500, manner=Manner.RAW),
}
WRONG_ONES = chosen(4, 7)
MAX_IN_FLIGHT = 4
SETTINGS = {"CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT": str(MAX_IN_FLIGHT)}

BOOK = (
    "insert into reservations (id, cust_id, reference, duration) "
    "select '{}' || n, 'C', n, 1 from generate_series(1, {}) n"
)
CHANGE = "update reservations set duration = duration + 1 where id like '{}%'"
WAITING = "select reservation_id, failures, last_status from cdc_bridge.delivery where state in ('queued', 'retrying')"
STATUS = "select status from cdc_bridge.endpoint_status"
STEPS_USED = "select count(*) from cdc_bridge.delivery where failures > 0"


@pytest.mark.timeout(chosen(180, 300))
@pytest.mark.parametrize("wrong", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
async def test_nothing_is_lost_and_no_schedule_used_when_the_endpoint_answers_for_a_while_with(
    wrong: Response, load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: wrong if len(receiver.requests) < WRONG_ONES else Response()
    load.commit(BOOK.format("R", 15))
    load.commit(CHANGE.format("R1"))
    patience = "6" if wrong.manner is Manner.TOO_LATE else "15"
    bridge = await bridges.start(**SETTINGS, CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS=patience)
    found = await load.assert_promises_kept()
    assert database.value(STEPS_USED) == 0
    assert found.duplicates <= (WRONG_ONES if wrong.is_success else 0)
    assert {request.path for request in receiver.requests} == {"/reservations"}
    assert await bridge.terminate() == 0


@pytest.mark.parametrize("status", [500, 503])
async def test_reservation_that_alone_is_refused_with_5xx_holds_up_nobody_and_uses_its_own_schedule(
    status: int, load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda request: Response(status if request.reservation_id.startswith("BAD") else 200)
    bridge = await bridges.start(**SETTINGS)
    async with load.running():
        await load.delivered(10)
        load.commit(BOOK.format("BAD", 1))
        await until(lambda: database.execute(WAITING) == [("BAD1", 1, status)], "its own schedule has begun")
        await load.delivered(chosen(20, 500))
    assert [line for line in bridge.log if line["event"] == "endpoint failing"] == []
    receiver.script = lambda _: Response()
    load.commit(CHANGE.format("BAD"))
    await load.assert_promises_kept()
    assert database.value(STEPS_USED) == 1
    assert await bridge.terminate() == 0


async def test_deliveries_refused_with_422_wait_for_their_schedule_and_do_not_open_the_breaker(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    refused = set[str]()

    def script(request: ReceivedRequest) -> Response:
        if not request.reservation_id.startswith("BAD") or request.reservation_id in refused:
            return Response()
        refused.add(request.reservation_id)
        return Response(422)

    receiver.script = script
    bridge = await bridges.start(**SETTINGS)
    async with load.running():
        load.commit(BOOK.format("BAD", 10))
        await until(lambda: len(database.execute(WAITING)) == 10, "all rejected deliveries are scheduled")
        await load.delivered(20)
        load.commit(CHANGE.format("BAD1"))  # A newer change does not wait for the older one's schedule.
        await receiver.wait_for(lambda: {"BAD1", "BAD10"} <= accepted_ids(receiver), "the newer changes")
    assert [line for line in bridge.log if line["event"] == "endpoint failing"] == []
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert accepted_ids(receiver) >= refused
    assert await bridge.terminate() == 0


@pytest.mark.timeout(chosen(180, 300))
@pytest.mark.parametrize("status", chosen([400, 422], [400, 402, 405, 413, 415, 421, 422, 451]))
async def test_endpoint_that_rejects_everything_is_failing_and_no_schedule_is_used_up(
    status: int, load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(status)
    bridge = await bridges.start(**SETTINGS)
    load.commit(BOOK.format("R", 12))
    line = await bridge.wait_for_log("endpoint failing")
    assert line["reason"].startswith(f"it rejects every reservation: HTTP {status}")
    await until(lambda: database.value(STATUS) == "failing", "the status says so")
    receiver.most_under_way = 0
    requests = len(receiver.requests)
    await receiver.wait_for_requests(requests + 3)
    assert receiver.most_under_way == 1
    code, output, _ = await run_command("endpoint", "test", "default", **bridges.settings)
    assert (code, "It accepts nothing" in " ".join(output.split())) == (1, True)

    assert await bridge.terminate() == 0
    bridge = await bridges.start(**SETTINGS)
    await bridge.wait_for_log("endpoint failing")
    assert database.value("select count(*) from cdc_bridge.delivery") == 0
    receiver.script = lambda _: Response()
    await load.assert_promises_kept()
    assert database.value(STEPS_USED) == 0
    await bridge.wait_for_log("endpoint recovered")
    assert await bridge.terminate() == 0


def accepted_ids(receiver: Receiver) -> set[str]:
    return {request.reservation_id for request in receiver.delivered}


def in_three_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_no_call_is_made_before_the_time_that_the_endpoint_asked_for(
    form: str, status: int, load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    def script(_: ReceivedRequest) -> Response:
        if receiver.requests:
            return Response()
        return Response(status, {"retry-after": "2" if form == "seconds" else in_three_seconds()})

    receiver.script = script
    load.commit(BOOK.format("R", 10))
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT="1")
    found = await load.assert_promises_kept()
    first, second, *_ = receiver.requests
    # Dates are told in whole seconds, so of three only two are sure.
    assert second.at - first.at >= timedelta(seconds=2)
    assert (database.value(STEPS_USED), found.duplicates) == (0, 0)
    assert await bridge.terminate() == 0


async def test_endpoint_that_is_gone_is_called_no_more_and_nothing_is_settled_until_it_is_resumed(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    bridge = await bridges.start(**SETTINGS)
    async with load.running():
        await load.delivered(20)
        receiver.script = lambda _: Response(410)
        await bridge.wait_for_log("endpoint disabled")
        await load.committed(10)
    assert await bridge.terminate() == 0
    requests, settled = len(receiver.requests), database.value("select count(*) from cdc_bridge.delivery")
    assert settled == len({request.seq for request in receiver.delivered})

    bridge = await bridges.start(**SETTINGS)
    await bridge.wait_for_log("endpoint disabled")
    assert (len(receiver.requests), database.value("select count(*) from cdc_bridge.delivery")) == (requests, settled)

    receiver.script = lambda _: Response()
    await resume(database, bridge)
    found = await load.assert_promises_kept()
    assert (found.duplicates, database.value(STEPS_USED)) == (0, 0)
    assert await bridge.terminate() == 0


async def resume(database: Database, bridge: Bridge) -> None:
    database.execute("update cdc_bridge.endpoint set disabled_at = null")
    await bridge.wait_for_log("endpoint resumed")
