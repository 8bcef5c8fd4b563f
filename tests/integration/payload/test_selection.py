"""Which reservations are selected to try a payload on, and that the search for them ends."""

from __future__ import annotations

import pytest

from cdc_bridge.model import ReservationId
from cdc_bridge.payload import keys, selection
from cdc_bridge.payload.selection import Selection, select_reservations
from cdc_bridge.payload.subscription import Condition, Subscription
from cdc_bridge.sessions import connect
from tests.support.databases import Database
from tests.support.payloads import define_payload

FILL = """
insert into customers (id) values ('C');
insert into reservations (id, cust_id, reference)
select 'R' || lpad(n::text, 3, '0'), 'C', n from generate_series(1, 900) as n;
truncate cdc_bridge.change;
"""


@pytest.fixture
def filled(database: Database) -> Database:
    """Nine hundred reservations, none of which changed lately."""
    database.execute(FILL)
    return database


def of_references(*numbers: int, payload: str = "reservation") -> list[Subscription]:
    """Return the subscriptions of as many endpoints, each of which gets the reservation of a reference."""
    return [Subscription(payload, (Condition("reference", (str(number),)),)) for number in numbers]


async def selected(database: Database, subscriptions: list[Subscription], number: int) -> Selection:
    async with await connect(database.bridge_url) as connection, database.loading_connection() as loading:
        return await select_reservations(connection, loading, subscriptions, number)


FEW, MANY = 3, 30


@pytest.mark.parametrize("endpoints", [FEW, MANY])
async def test_reservation_is_found_wherever_it_is_in_the_table(endpoints: int, filled: Database) -> None:
    found = await selected(filled, of_references(899, *range(1001, 1000 + endpoints)), 20)
    assert found == Selection([ReservationId("R899")])


@pytest.mark.parametrize("endpoints", [FEW, MANY])
async def test_table_without_a_reservation_that_an_endpoint_gets_is_searched_to_its_end(
    endpoints: int, filled: Database
) -> None:
    assert await selected(filled, of_references(*range(1000, 1000 + endpoints)), 20) == Selection([])


@pytest.mark.parametrize("endpoints", [FEW, MANY])
async def test_search_without_time_left_says_that_there_may_be_more(
    endpoints: int, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_LONGEST_SEARCH_SECONDS", -1)
    subscriptions = of_references(*range(1, 1 + endpoints))
    filled.execute("update reservations set notes = 'changed' where reference = 1")
    assert await selected(filled, subscriptions, 20) == Selection([], timed_out=True)


async def test_statement_of_the_search_that_takes_too_long_is_ended(filled: Database) -> None:
    define_payload(filled, "select r.id, r.reference from {reservation} r where pg_sleep(60) is null", "slow")
    assert await selected(filled, [Subscription("slow")], 20) == Selection([], timed_out=True)


async def test_sample_of_many_is_not_cut_off_by_the_length_of_their_keys(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_PAGE_BYTES", 1000)
    assert len((await selected(filled, [Subscription()], 800)).reservation_ids) == 800
