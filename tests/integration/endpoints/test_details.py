"""What is counted for an endpoint: right, bounded, and read by indexes however large the logs are."""

from __future__ import annotations

import pytest

from cdc_bridge.capture.change_log import count_unread, read_page
from cdc_bridge.capture.position import Position, Snapshot
from cdc_bridge.endpoints import details as view
from cdc_bridge.endpoints.details import figures_of
from cdc_bridge.model import EndpointId
from tests.support.databases import Database
from tests.support.plans import explained

OLDEST = Position(Snapshot.parse("1:1:"))
TILL, OTHER = EndpointId(1), EndpointId(2)
BOOKINGS = "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, {}) n"
FILL = """
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at, recorded_at
)
select %(endpoint_id)s, n, 'R' || n, 'U', now(), state, 1, 0, case when state in ('queued', 'retrying') then now() end,
  now() - case when n <= 100 then interval '25 hours' else interval '1 hour' end
from (
  select n, case when n %% 50 = 0 then 'retrying' when n %% 75 = 0 then 'dead' else 'delivered' end as state
  from generate_series(1, %(rows)s) n
) as made
"""


@pytest.fixture
def filled(database: Database) -> Database:
    """A change log of 5,000 changes, and a delivery log with 20,000 rows for each of two endpoints."""
    database.execute("insert into customers (id) values ('C')")
    database.execute(BOOKINGS.format(5000))
    for endpoint_id in (TILL, OTHER):
        database.execute(FILL, {"endpoint_id": endpoint_id, "rows": 20_000})
    database.execute("analyze cdc_bridge.delivery; analyze cdc_bridge.change")
    return database


async def test_figures(filled: Database) -> None:
    async with filled.connection() as connection:
        figures = await figures_of(connection, TILL, OLDEST)
    of_state = "select count(*) from cdc_bridge.delivery where endpoint_id = 1 and state = %s"
    assert figures.pending.number == filled.value(of_state, ("retrying",)) == 400
    assert figures.dead.number == filled.value(of_state, ("dead",))
    assert figures.delivered.number == filled.value(f"{of_state} and seq > 100", ("delivered",))
    assert figures.backlog.number == 5000
    assert figures.delivered.exact
    assert str(figures.pending) == "400"


async def test_counts_have_a_limit_and_say_so(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "COUNT_LIMIT", 60)
    async with filled.connection() as connection:
        figures = await figures_of(connection, TILL, OLDEST)
    assert (figures.pending.number, figures.dead.number, figures.backlog.number) == (60, 60, 60)
    assert str(figures.backlog) == "at least 60"
    assert str(figures.delivered).startswith("at least 5")


async def test_no_log_is_read_as_a_whole(filled: Database) -> None:
    async with filled.connection() as connection:
        position = Position(Snapshot.parse(filled.value("select pg_current_snapshot()::text")))
        plans = await explained(connection)
        await figures_of(connection, TILL, position)
    assert len(plans) == 2
    assert [plan for plan in plans if "Seq Scan on delivery" in plan or "Seq Scan on change" in plan] == []
    assert "delivery_unsettled" in plans[0]


async def test_what_is_counted_as_unread_is_what_is_read(database: Database) -> None:
    """Also inside a large transaction, and with others under way while it was read."""
    database.execute("insert into customers (id) values ('C')")
    async with database.connection(autocommit=False) as early, database.connection() as reading:
        await early.execute("insert into reservations (id, cust_id, reference) values ('EARLY', 'C', 1)")
        database.execute(BOOKINGS.format(50))
        position, unread = OLDEST, [50, 40, 30]
        for number in unread:
            assert await count_unread(reading, position, 1000) == number
            position = (await read_page(reading, position, 10)).position
        await early.commit()
        database.execute("update reservations set adults = 3 where id = 'R1'")
        for number in (22, 12, 2):
            assert await count_unread(reading, position, 1000) == number
            assert await count_unread(reading, position, 5) == min(number, 5)
            position = (await read_page(reading, position, 10)).position
        assert await count_unread(reading, position, 1000) == 0
