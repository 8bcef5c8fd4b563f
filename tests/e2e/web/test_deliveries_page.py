"""Pages of deliveries: the list and its filters, one of them, and sending again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tests.support.bridge import Bridge
from tests.support.databases import Database
from tests.support.page import VIEW_TOKEN, Visitor, until_on_page
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

    assert await found(search="R2") == 1
    assert await found(search="no such one") == 0
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
        ({"search": "\0"}, "Search has a character that no booking has."),
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
    page = await operator.get("/deliveries/default/1")
    assert "retrying next attempt in" in page.text
    assert "What it responded beside the status is not kept." in page.text
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
        "/deliveries/send",
        [("delivery", "default/1"), ("delivery", "default/2"), ("delivery", "default/3"), ("delivery", "none/1"),
         ("delivery", "x"), ("back", "/deliveries?state=dead")],
    )  # fmt: skip
    assert "3 of 5 are sent again." in answer.text
    assert "There is no endpoint none." in answer.text
    await receiver.wait_for_delivered(6)
    assert "No delivery was selected." in (await operator.send("/deliveries/send")).text
    away = await operator.send("/deliveries/send", {"back": "//evil.example/"}, follow=False)
    assert away.headers["location"] == "/deliveries"


async def test_bookings_are_sent_again_by_a_filter_after_a_look_at_how_many(
    operator: Visitor, database: Database, receiver: Receiver, page_bridge: Bridge
) -> None:
    await deliver(database, receiver, 5)
    database.execute("update cdc_bridge.delivery set state = 'dead' where seq > 2")
    page = await operator.get("/deliveries?state=dead&endpoint=default")
    assert '"/endpoints/default/resend?state=dead"' in page.html
    asked = await operator.get("/endpoints/default/resend?state=dead")
    assert "3 bookings will be sent again to default." in asked.text
    assert "0 bookings will be" in (await operator.get("/endpoints/default/resend?since=2126-01-01T00:00")).text
    assert (
        "From is not before Until."
        in (await operator.get("/endpoints/default/resend?since=2026-02-02&until=2026-02-01")).text
    )
    await operator.send("/endpoints/default/resend", {"state": "dead"})
    await receiver.wait_for_delivered(8)
    text = await until_on_page(operator, "/endpoints/default", "3 bookings queued. Done")
    assert "Sending bookings again, begun" in text
    assert (await operator.send("/endpoints/none/resend", {"state": "dead"})).status == 404
    told = await page_bridge.wait_for_log("dashboard change", what="sending bookings again")
    assert (told["endpoint"], told["result"], told["problem"]) == ("default", "3 bookings queued", None)


async def test_what_takes_long_is_not_begun_twice_and_can_be_stopped(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 3)
    async with database.connection(autocommit=False) as other:  # So it goes on for as long as that is wanted.
        await other.execute("select from cdc_bridge.endpoint for no key update")
        begun = await operator.send("/endpoints/default/resend", {"state": "delivered"})
        assert "0 bookings queued" in begun.text
        assert "Stop" in begun.text
        again = await operator.send("/endpoints/default/backfill")
        assert "Sending bookings again is under way for default." in again.text
        await operator.send("/endpoints/default/stop-work")
        await until_on_page(operator, "/endpoints/default", "Stopped; what is queued by now is delivered.")
    assert "Nothing is under way for default." in (await operator.send("/endpoints/default/stop-work")).text


async def test_bookings_that_an_endpoint_never_had_are_sent_and_compared(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    database.execute("select cdc_bridge.disable_capture()")
    for number in range(4):
        database.execute(BOOKING, (f"B{number}",))
    database.execute("select cdc_bridge.enable_capture()")
    assert "4 bookings will be sent to default." in (await operator.get("/endpoints/default/backfill")).text
    await operator.send("/endpoints/default/backfill")
    await receiver.wait_for_delivered(4)
    await until_on_page(operator, "/endpoints/default", "4 bookings looked at, 4 queued. Done")
    await until(lambda: recorded(database, 4), "they are recorded")
    await operator.send("/endpoints/default/reconcile")
    await until_on_page(operator, "/endpoints/default", "4 bookings compared: all as they are in e-Res. Done")
    database.execute("select cdc_bridge.disable_capture()")
    database.execute("update reservations set notes = 'by the window' where id = 'B1'")
    database.execute("select cdc_bridge.enable_capture()")
    database.execute("update cdc_bridge.endpoint set reconciled_stale = 1")
    await until_on_page(operator, "/", "The last comparison found 1 booking that default does not have as it is.")
    await operator.send("/endpoints/default/reconcile", {"deliver": "on"})
    await receiver.wait_for_delivered(5)
    await until_on_page(
        operator, "/endpoints/default", "4 bookings compared: 1 stale, 3 as they are in e-Res; 1 queued. Done"
    )
    assert database.value("select reconciled_stale from cdc_bridge.endpoint") == 0


async def test_guest_time_covers_and_table_are_shown_to_those_who_may_see_them_and_found(
    operator: Visitor, visitor: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 2)
    database.execute("update customers set firstname = 'Graham', surname = 'Murt', mobile = '07000 000123'")
    database.execute("update reservations set adults = 2, children = 1, tables = '17', reference = 920 where id = 'R1'")
    await until(lambda: len(receiver.delivered) >= 3, "the change is delivered")
    page = await operator.get("/deliveries")
    assert "Graham Murt 920" in page.text
    assert re.search(r'data-label="Covers"[^>]*>3<', page.html)
    assert re.search(r'data-label="Table"[^>]*>17<', page.html)
    for text in ("murt", "920", "R1", "0000123"):
        assert "R1" in (await operator.get("/deliveries", params={"search": text})).html, text
    assert "No delivery matches." in (await operator.get("/deliveries", params={"search": "nobody"})).text
    shown = await operator.get(f"/deliveries/default/{NUMBERS.findall(page.html)[0]}")
    assert re.search("Booking Graham Murt 920, for .*, 3 covers, table 17", shown.text)
    await visitor.sign_in(VIEW_TOKEN)
    seen = await visitor.get("/deliveries?search=R1")
    assert "R1" in seen.text
    assert "Murt" not in seen.text + (await visitor.get("/deliveries?search=murt")).text


async def test_queued_deliveries_are_on_the_page_and_are_not_to_be_sent_by_hand(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await operator.send("/endpoints/default/pause")
    await until(lambda: database.value("select daemon_id from cdc_bridge.endpoint") is None, "nobody delivers")
    for number in range(12):
        database.execute(BOOKING, (f"Q{number}",))
    page = await operator.get("/deliveries?endpoint=default&state=queued")
    assert page.text.count(" queued") >= 12
    assert 'name="delivery"' not in page.html
    number = NUMBERS.findall(page.html)[0]
    shown = await operator.get(f"/deliveries/default/{number}")
    assert "is sent when its turn comes" in shown.text
    assert "queued in the change log" in (await operator.send(f"/deliveries/default/{number}/send")).text


async def test_what_is_sent_again_to_a_paused_endpoint_waits_and_that_is_said(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await deliver(database, receiver, 1)
    await operator.send("/endpoints/default/pause")
    answer = await operator.send("/deliveries/default/1/send")
    assert "Endpoint default is paused: nothing is sent until" in answer.text
    database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null")
    for path, fields in (
        ("/endpoints/default/resend", {"state": "dead"}),
        ("/deliveries/send", {"delivery": "default/1"}),
    ):
        database.execute("update cdc_bridge.delivery set state = 'dead', next_attempt_at = null")
        assert "Endpoint default is paused: nothing is sent until" in (await operator.send(path, fields)).text


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
