"""A page of ten thousand endpoints costs what its endpoints cost, and not what all of them do."""

from __future__ import annotations

from cdc_bridge.endpoints.lookup import known_endpoints
from cdc_bridge.endpoints.overview import overview_page
from tests.support.databases import Database
from tests.support.plans import explained, most_rows_seen

ENDPOINTS = """
insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster)
select
  'e' || lpad(n::text, 5, '0'), false, 'https://till.example/', pg_current_snapshot(),
  (select system_identifier from pg_control_system())
from generate_series(1, 10000) n
"""
SIZE = 100


async def test_each_page_is_read_by_the_index_of_names(database: Database) -> None:
    database.execute(ENDPOINTS)
    database.execute("analyze cdc_bridge.endpoint")
    async with database.connection() as connection:
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_analyze = on")
        plans.clear()
        last, names = None, []
        for _ in range(12):  # More often than it takes until a statement is prepared and planned once and for all.
            page = await overview_page(connection, last, SIZE)
            names += [each.name for each in page]
            last = names[-1]
            (one,) = await known_endpoints(connection, last)
            assert one.name == last
        await connection.execute("select 'ends the statement before'")
    assert names == [f"e{number:05}" for number in range(1, 12 * SIZE + 1)]
    about_endpoints = [plan for plan in plans if "cdc_bridge.endpoint" in plan]
    assert len(about_endpoints) >= 24
    for plan in about_endpoints:
        assert "Seq Scan on endpoint" not in plan, plan
        assert most_rows_seen(plan) <= 2 * SIZE, plan
