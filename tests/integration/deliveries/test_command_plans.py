"""The statements of commands use indexes on a large delivery log and a long change log."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_bridge.queries import all_queries
from cdc_bridge.sessions import connect
from tests.support.databases import Database
from tests.support.plans import explained

# So many that PostgreSQL 15 and 16, too, take the index on a delivery log that was never analyzed: they do not see that
# the pages of cdc_bridge.endpoint are half empty, and expect 150 endpoints to look up one by one.
FILL = """
insert into cdc_bridge.change (xid, reservation_id, operation, changed_at)
select (1000 + n)::text::xid8, 'R' || n % 5000, 'U', now() from generate_series(1, 100000) n;
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  position, cluster
)
values ('till', false, 'https://till.example', '{}', 1, false, 1, 1, '100900:100900:', 1);
insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures)
select endpoint_id, seq, reservation_id, operation, changed_at, 'delivered', 1, 0
from cdc_bridge.change, cdc_bridge.endpoint where seq <= 99000
"""
SOME = [f"R{number}" for number in range(200)]
STATEMENTS: dict[str, dict[str, Any]] = {
    "find_deliveries": {"endpoint_id": None, "seq": 4711},
    "unread_changes": {"endpoint_id": 1, "reservation_ids": SOME},
    "with_newer_unread": {"endpoint_id": 1, "max_bytes": 1_000_000},
    "to_backfill": {"endpoint_id": 1, "reservation_ids": SOME, "again": True},
    "last_deliveries": {"endpoint_id": 1, "reservation_ids": SOME},
    "count_pending": {"endpoint_id": 1},
    "still_pending": {"endpoint_id": 1, "seqs": list(range(100))},
    "requeue": {"endpoint_id": 1, "seqs": [1, 2], "reservation_ids": ["R1", "R2"], "states": ["delivered"] * 2},
    "queue_reservations": {"endpoint_id": 1, "seqs": [90001], "reservation_ids": ["R1"], "newest_seqs": [1]},
}


@pytest.mark.parametrize("analyzed", ["analyze", "select"])
async def test_no_statement_reads_a_whole_log(analyzed: str, database: Database) -> None:
    database.execute(FILL)
    database.execute(analyzed)
    async with await connect(database.url) as connection:
        plans = await explained(connection)
        for name, parameters in STATEMENTS.items():
            plans.clear()
            await connection.execute(all_queries()[name], parameters)
            (plan,) = plans
            assert "Seq Scan on delivery" not in plan, f"{name}:\n{plan}"
            # Without statistics the planner does not know that the change log is in the order of its key.
            assert "Seq Scan on change" not in plan or analyzed == "select", f"{name}:\n{plan}"
            assert "delivery_pkey" not in plan or name in {
                "find_deliveries", "still_pending", "unread_changes", "requeue",
            }, f"{name}:\n{plan}"  # fmt: skip
