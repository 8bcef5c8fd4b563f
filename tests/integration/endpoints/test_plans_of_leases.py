"""What a daemon writes of its endpoints costs a look-up for each, also just after it has leased them.

Statistics are then of before: they know no endpoint of this daemon, so that a join that looks cheap compares each with
each.
"""

from __future__ import annotations

from typing import Any

import pytest

from cdc_bridge.endpoints.endpoint_state import REPORTED_COLUMNS
from cdc_bridge.queries import all_queries
from tests.support.databases import Database
from tests.support.plans import most_rows_seen, plans_of

ENDPOINTS = 10_000
REPORTED = 2_500
FILL = f"""
insert into cdc_bridge.endpoint (name, in_settings, url, cluster, position)
select 'restaurant-' || n, false, 'https://till.example', system_identifier, '1:1:'
from generate_series(1, {ENDPOINTS}) as n, pg_control_system();
"""
LEASE = """
insert into cdc_bridge.daemon (name, alive_until, listening, position)
values ('host:1', now() + interval '1 day', true, '1:1:');
update cdc_bridge.endpoint set daemon_id = 1, fencing_token = 1;
"""


def of_each(**values: Any) -> dict[str, list[Any]]:
    return {name: [value] * REPORTED for name, value in values.items()}


COUNTS = of_each(skipped_deleted=0, skipped_filtered=0, skipped_event=0, skipped_unchanged=1)
STATES = of_each(
    failing_since=None,
    next_probe_at=None,
    problems=None,
    rate_limited_since=None,
    in_flight=1,
    deliveries_per_second=1.0,
) | of_each(**dict.fromkeys(REPORTED_COLUMNS))
WRITTEN = {
    "report_states": STATES,
    "release_leases": STATES,
    "still_leased": {},
    "disable_endpoints": {},
    "move_endpoints": of_each(positions="2:2:", place_xids=None, place_seqs=None) | COUNTS,
    "follow": {},
}


@pytest.mark.parametrize("as_daemon", [True, False], ids=["planned once", "planned for its parameters"])
@pytest.mark.parametrize("name", WRITTEN)
async def test_leased_endpoints_are_written_by_a_look_up_each(
    name: str, database: Database, *, as_daemon: bool
) -> None:
    database.execute(FILL)
    database.execute("vacuum analyze cdc_bridge.endpoint")
    database.execute(LEASE)
    ids = [id_ for (id_,) in database.execute(f"select endpoint_id from cdc_bridge.endpoint limit {REPORTED}")]
    table = database.value("select tableoid::bigint from cdc_bridge.daemon")
    ours = {"daemon_id": 1, "daemon_table": table, "endpoint_ids": ids, "fencing_tokens": [1] * REPORTED}
    async with database.connection() as connection:
        plans = await plans_of(connection, all_queries()[name], ours | WRITTEN[name], as_daemon=as_daemon)
    assert plans
    assert max(map(most_rows_seen, plans)) <= ENDPOINTS, plans
    assert f"loops={REPORTED}" in "".join(plans), "the endpoints are looked up"
