"""Change log and delivery log stay within a bound, week after week, also beside transactions left open for a day."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database, install_bridge, load_example
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.server import Server
from tests.support.simulated_days import KEEP_DAYS, SimulatedDays, Sizes, left_open
from tests.support.waiting import until

CHANGES_A_DAY = chosen(400, 2000)
PRUNINGS_A_DAY = chosen(1, 4)
DAYS_BEFORE, DAYS_AFTER = chosen((2, 5), (14, 14))
"""Of a whole retention: before the transactions are left open for a day, and after it."""
BOUND = 1.5
VERSION_BYTES = 500
"""More than a version of an endpoint's row takes, with its share of a page that is half free."""

A_FEW_PAGES = 8 * 8192

REFUSED = ["NO-1", "NO-2", "NO-3"]
BOOK_REFUSED = "insert into reservations (id, cust_id, reference) select unnest(%s::text[]), 'C', 0"
WAITING = "select seq::text from cdc_bridge.delivery where state in ('queued', 'retrying') order by seq"
DRAWN = "select last_value from cdc_bridge.change_seq_seq"


@pytest.fixture
def vacuumed_database(vacuumed_server: ThrowawayPostgres) -> Database:
    """The example e-Res with the bridge installed, where autovacuum looks every second."""
    database = Database(Server("own", vacuumed_server.url, vacuumed_server.binaries), "postgres")
    load_example(database)
    install_bridge(database)
    return database


@pytest.fixture
async def bridges(vacuumed_database: Database, bridge_settings: dict[str, str]) -> AsyncIterator[Bridges]:
    there = {"CDC_BRIDGE_DATABASE_URL": vacuumed_database.bridge_url, "CDC_BRIDGE_LOG_LEVEL": "info"}
    bridges = Bridges(bridge_settings | there, vacuumed_database)
    yield bridges
    await bridges.close()


@pytest.fixture
def arrived(receiver: Receiver) -> list[int]:
    """The numbers of the changes that were delivered: all but those of some reservations, which are always rejected."""
    numbers: list[int] = []
    receiver.keep_requests = False
    receiver.on_delivered = lambda request: numbers.append(request.seq)
    receiver.script = lambda request: Response(422 if _is_refused(request) else 200)
    return numbers


def _is_refused(request: ReceivedRequest) -> bool:
    return request.headers["ce-subject"] in REFUSED


@pytest.mark.slow
@pytest.mark.timeout(chosen(180, 900))
async def test_both_logs_stay_within_a_bound_beside_transactions_open_for_a_day_and_keep_what_is_not_settled(
    vacuumed_database: Database, receiver: Receiver, arrived: list[int], bridges: Bridges, figures: Figures
) -> None:
    database = vacuumed_database
    days = SimulatedDays(database, changes_a_day=CHANGES_A_DAY, prunings_a_day=PRUNINGS_A_DAY)
    bridge = await bridges.start()
    database.execute(BOOK_REFUSED, (REFUSED,))
    (*_, full) = await days.live(KEEP_DAYS)
    before = await days.live(DAYS_BEFORE)
    with left_open(database):
        (held,) = await days.live(vacuumed=False)
    after = await days.live(DAYS_AFTER)
    for when, sizes in {
        "first": full,
        "before": before[-1],
        "with transactions open": held,
        "after": after[-1],
    }.items():
        figures(f"{when}: {sizes.bytes / full.bytes:.2f} times the first retention; {sizes}")

    assert {sizes.changes // CHANGES_A_DAY for sizes in (full, *before, held, *after)} == {KEEP_DAYS}
    assert max(sizes.bytes for sizes in (*before, held, *after)) <= BOUND * full.bytes
    assert_growth_is_of_the_time_they_were_open(full.bytes / KEEP_DAYS, before[-1], held, after)
    assert_endpoint_stays_small(full, before[-1], held, after)
    waiting = [seq for (seq,) in database.execute(WAITING)]
    assert len(waiting) == len(REFUSED)

    receiver.script = lambda _: Response()
    await run_command("delivery", "retry", *waiting, CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    await until(lambda: not database.execute(WAITING), "what was rejected is delivered")
    assert sorted(arrived) == list(range(1, database.value(DRAWN) + 1))
    assert await bridge.terminate() == 0


def assert_growth_is_of_the_time_they_were_open(a_day: float, before: Sizes, held: Sizes, after: list[Sizes]) -> None:
    """See that what could not be cleared away is no more than what came, and that its space is used again."""
    assert max(sizes.bytes for sizes in (held, *after)) - before.bytes <= 1.25 * a_day
    assert max(sizes.bytes for sizes in after[1:]) <= 1.02 * after[0].bytes


def assert_endpoint_stays_small(full: Sizes, before: Sizes, held: Sizes, after: list[Sizes]) -> None:
    """See that its row's versions pile up only while a transaction may want to see them."""
    assert before.endpoint_bytes <= full.endpoint_bytes + A_FEW_PAGES
    assert held.endpoint_bytes <= before.endpoint_bytes + CHANGES_A_DAY * VERSION_BYTES
    assert max(sizes.endpoint_bytes for sizes in after) <= held.endpoint_bytes + A_FEW_PAGES
