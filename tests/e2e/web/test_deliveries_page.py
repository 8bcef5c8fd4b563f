"""Pages of deliveries: the list and its filters, one of them, and sending again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tests.support.bridge import Bridge
from tests.support.databases import Database
from tests.support.page import Visitor
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
NUMBERS = re.compile(r'<a href="/deliveries/default/(\d+)">')


def recorded(database: Database, number: int) -> bool:
    return bool(database.value("select count(*) from cdc_bridge.delivery") == number)


async def deliver(database: Database, receiver: Receiver, number: int) -> None:
    for one in range(1, number + 1):
        database.execute(BOOKING, (f"R{one}",))
    await receiver.wait_for_delivered(number)
    await until(lambda: recorded(database, number), "all are recorded")


async def test_list_is_filtered_and_goes_on_page_by_page(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 3)
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'S' || n, 'C', n from generate_series(1, 70) n"
    )
    await until(lambda: recorded(database, 73), "all are recorded")
    first = await operator.get("/deliveries")
    numbers = list(map(int, NUMBERS.findall(first.html)))
    assert len(numbers) == 50
    older = re.search(r'href="(\?after=[^"]+)">Older', first.html)
    assert older is not None
    second = await operator.get(f"/deliveries{older[1]}")
    numbers += map(int, NUMBERS.findall(second.html))
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 73
    assert ">Older" not in second.html
    assert ">Newest" in second.html

    async def found(**query: str) -> int:
        return len(NUMBERS.findall((await operator.get("/deliveries", params=query)).html))

    assert await found(reservation="R2") == 1
    assert await found(reservation="no such one") == 0
    assert await found(state="delivered", endpoint="default") == 50
    assert await found(state="dead") == 0
    now = datetime.now(UTC)
    assert await found(since=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}") == 50
    assert await found(since=f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M}") == 0
    assert await found(until=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}") == 0


async def test_wrong_filter_is_told(operator: Visitor) -> None:
    for query, words in [
        ({"endpoint": "defalt"}, "There is no endpoint defalt; did you mean default?"),
        ({"state": "lost"}, "There is no state lost."),
        ({"since": "yesterday"}, "From has to be a time such as 2026-07-01T18:30."),
        ({"until": "9999-12-31T23:59:59-23:59"}, "Until has to be a time"),
        ({"since": "2026-07-02", "until": "2026-07-01"}, "From is not before Until."),
        ({"after": "x"}, "is not a cursor of this list"),
        ({"reservation": "\0"}, "Reservation has a character that no id has."),
    ]:
        answer = await operator.get("/deliveries", params=query)
        assert answer.status == 200
        assert words in answer.text


async def test_delivery_is_shown_with_a_preview_of_its_request(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 1)
    (request,) = receiver.requests
    page = await operator.get("/deliveries/default/1")
    assert request.headers["webhook-id"] in page.text
    assert "webhook-signature (not shown)" in page.text
    assert "x-api-key (not shown)" in page.text
    for name in ("ce-sequence", "ce-subject", "ce-source", "ce-type", "ce-time"):
        assert f"{name} {request.headers[name]}" in page.text
    assert '--header "x-api-key: $X_API_KEY"' in page.text
    database.execute("update reservations set notes = 'by the window'")
    assert '"notes": "by the window"' in (await operator.get("/deliveries/default/1")).text
    database.execute("delete from reservations")
    assert "The reservation was deleted, so nothing would be sent" in (await operator.get("/deliveries/default/1")).text


async def test_delivery_that_is_not_there_is_no_page(operator: Visitor) -> None:
    for path in ("/deliveries/default/4711", "/deliveries/none/1"):
        answer = await operator.get(path)
        assert answer.status == 404
    assert "there is no endpoint none" in answer.text


async def test_one_that_was_delivered_is_sent_again_as_it_stands(
    operator: Visitor, database: Database, receiver: Receiver, page_bridge: Bridge
) -> None:
    await deliver(database, receiver, 1)
    answer = await operator.send("/deliveries/default/1/send")
    assert "Reservation R1 is queued in its current state." in answer.text
    await receiver.wait_for_delivered(2)
    told = await page_bridge.wait_for_log("dashboard change", what="delivery sent again")
    assert (told["endpoint"], told["seq"]) == ("default", 1)


async def test_one_that_waits_is_called_at_once(operator: Visitor, database: Database, receiver: Receiver) -> None:
    receiver.script = lambda _: Response(status=422)
    database.execute(BOOKING, ("R1",))
    await until(lambda: recorded(database, 1), "it is refused")
    assert "retrying: next attempt in" in (await operator.get("/deliveries/default/1")).text
    receiver.script = lambda _: Response()
    answer = await operator.send("/deliveries/default/1/send")
    assert "1 (reservation R1) is due now." in answer.text
    await receiver.wait_for_delivered(1)


async def test_chosen_ones_are_sent_again_and_what_cannot_be_is_told(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 3)
    database.execute("update cdc_bridge.delivery set state = 'dead' where seq < 3")
    answer = await operator.send(
        "/deliveries/retry",
        [("delivery", "default/1"), ("delivery", "default/2"), ("delivery", "default/3"), ("delivery", "none/1"),
         ("delivery", "x"), ("back", "/deliveries?state=dead")],
    )  # fmt: skip
    assert "2 of 5 are due now." in answer.text
    assert "3 was delivered." in answer.text
    assert "There is no endpoint none." in answer.text
    await receiver.wait_for_delivered(5)
    assert "No delivery was selected." in (await operator.send("/deliveries/retry")).text
    away = await operator.send("/deliveries/retry", {"back": "//evil.example/"}, follow=False)
    assert away.headers["location"] == "/deliveries"


async def test_all_dead_letters_of_an_endpoint_are_sent_again(
    operator: Visitor, database: Database, receiver: Receiver, page_bridge: Bridge
) -> None:
    await deliver(database, receiver, 5)
    database.execute("update cdc_bridge.delivery set state = 'dead'")
    page = await operator.get("/deliveries?state=dead&endpoint=default")
    assert "Replay all dead letters of default" in page.text
    answer = await operator.send("/endpoints/default/retry-dead")
    assert "5 reservations with dead letters at default are queued." in answer.text
    await receiver.wait_for_delivered(10)
    refused = await operator.send("/endpoints/none/retry-dead")
    assert "There is no endpoint none." in refused.text
    told = [line for line in page_bridge.log if line["event"] == "dashboard change"]
    assert [(line["endpoint"], line["reservations"], line["all_of_them"]) for line in told] == [("default", 5, True)]


async def test_sending_all_dead_letters_is_not_begun_twice_and_its_end_is_told(
    operator: Visitor, database: Database, receiver: Receiver, page_bridge: Bridge
) -> None:
    await deliver(database, receiver, 3)
    database.execute("update cdc_bridge.delivery set state = 'dead'")
    async with database.connection(autocommit=False) as other:  # So it goes on for as long as that is wanted.
        await other.execute("select from cdc_bridge.endpoint for no key update")
        first = await operator.send("/endpoints/default/retry-dead")
        assert "0 reservations are queued so far. The replay goes on" in first.text
        again = await operator.send("/endpoints/default/retry-dead")
        assert "A replay for default is under way." in again.text
    await receiver.wait_for_delivered(6)
    await page_bridge.wait_for_log("dashboard change", what="dead letters sent again", reservations=3)
    assert "3 reservations with dead letters at default are queued." in (await operator.get("/")).text


async def test_what_is_sent_again_to_a_paused_endpoint_waits_and_that_is_said(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 1)
    await operator.send("/endpoints/default/pause")
    answer = await operator.send("/deliveries/default/1/send")
    assert "Default is paused: nothing is sent until" in answer.text
    database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null")
    for path, fields in (("/endpoints/default/retry-dead", {}), ("/deliveries/retry", {"delivery": "default/1"})):
        database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null")
        assert "Default is paused: nothing is sent until" in (await operator.send(path, fields)).text


async def test_request_that_is_previewed_is_that_of_the_newest_change(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    receiver.script = lambda _: Response(status=422)
    database.execute(BOOKING, ("R1",))
    await until(lambda: recorded(database, 1), "the first is refused")
    database.execute("update reservations set adults = 5")
    await until(lambda: recorded(database, 2), "the second is refused")
    page = await operator.get("/deliveries/default/1")
    assert "this is the request of 2 ." in page.text
    history = database.value("select max(history) from cdc_bridge.history")
    assert f"ce-sequence {history * 10**9 + 2:020d}" in page.text
    assert "ce-type reservation.updated" in page.text
