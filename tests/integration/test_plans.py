"""On a log of a million changes and a ledger of as many deliveries, each statement looks at what it is about.

A statement that is added to ``queries.sql`` has to be added here as well: to those that are run, or to those that touch
no large table, or to those that walk one for a reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.queries import all_queries
from tests.support.databases import Database, create, drop
from tests.support.plans import explained, most_rows_seen
from tests.support.server import Server

CHANGES = 1_000_000
RESERVATIONS = 50_000
WAITING = 5_000
BIG_TRANSACTION = 100_000
PAGE = 500
NEWEST = 1000 + CHANGES
BIG = NEWEST + 1

FILL = f"""
insert into public.customers (id) select 'C' || n from generate_series(1, 1000) n;
insert into public.reservations (id, cust_id, reference)
select 'R' || n, 'C' || 1 + n % 1000, n from generate_series(0, {RESERVATIONS - 1}) n;
truncate cdc_bridge.change restart identity;
insert into cdc_bridge.change (xid, reservation_id, operation, changed_at)
select (1000 + n)::text::xid8, 'R' || n % {RESERVATIONS}, 'U', now() - interval '1 day'
from generate_series(1, {CHANGES}) n;
insert into cdc_bridge.change (xid, reservation_id, operation, changed_at)
select '{BIG}'::xid8, 'R' || n % {RESERVATIONS}, 'U', now() from generate_series(1, {BIG_TRANSACTION}) n;
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  position, cluster
)
select name, false, 'https://till.example', '{{}}', 1, false, 1, 1, '{BIG}:{BIG}:', system_identifier
from pg_control_system(), unnest(array['till', 'other']) as name;
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at, message_id
)
select e.endpoint_id, n, 'R' || n % {RESERVATIONS}, 'U', now() - interval '1 day',
  case when n <= {WAITING} then 'retrying' when n <= {WAITING + 2000} then 'dead' else 'delivered' end, 1, 1,
  case when n <= {WAITING} then now() + (n - 100) * interval '1 second' end, n || '-0123456789abcdef'
from generate_series(1, {CHANGES}) n
join cdc_bridge.endpoint e on e.name = 'till' or n % 5 = 0;
"""
SOME = [f"R{number}" for number in range(200)]
SETTLED = json.dumps(
    [
        {"seq": CHANGES + number, "reservation_id": f"R{number}", "operation": "U", "state": "delivered",
         "changed_at": "2026-01-01T00:00:00Z", "attempts": 1, "failures": 0}
        for number in range(100)
    ]
)  # fmt: skip
AT_THE_END: dict[str, Any] = {"in_progress": [], "place_xid": None, "place_seq": None, "from_xid": str(BIG + 1)}
FROM_THE_BEGINNING = AT_THE_END | {"from_xid": "1"}
MANY_IN_PROGRESS = AT_THE_END | {"in_progress": [str(2000 + number) for number in range(300)]}
IN_A_BIG_TRANSACTION = AT_THE_END | {"place_xid": str(BIG), "place_seq": CHANGES + BIG_TRANSACTION - 200}
TILL = {"endpoint_id": 1}
PAGE_OF_TILL = TILL | {"limit": PAGE}
EVERYTHING = PAGE_OF_TILL | {"after": "", "reservation_ids": None, "states": None, "since": None, "until": None}

LATEST = {
    "endpoint_ids": [1, 2], "ceilings": [CHANGES, CHANGES], "since": "2000-01-01", "until": None,
    "limit": PAGE, "reservation_id": None,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A statement as it is sent."""

    name: str
    parameters: dict[str, Any]
    most_rows: int = 2 * PAGE
    """So many rows may its busiest step see."""
    as_daemon: bool = True
    shape: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.shape}".strip()


def by_command(name: str, parameters: dict[str, Any], most_rows: int = 2 * PAGE, shape: str = "") -> Asked:
    return Asked(name, parameters, most_rows, as_daemon=False, shape=shape)


ASKED = [
    Asked("read_page", PAGE_OF_TILL | AT_THE_END, shape="at the end"),
    Asked("read_page", PAGE_OF_TILL | FROM_THE_BEGINNING, shape="a million unread"),
    # Each transaction in progress is looked up by itself; and of each as much as a page is taken.
    Asked("read_page", PAGE_OF_TILL | MANY_IN_PROGRESS, shape="many in progress"),
    Asked("read_page", PAGE_OF_TILL | IN_A_BIG_TRANSACTION, shape="in a big transaction"),
    Asked("count_unread", {"limit": 1000} | AT_THE_END, shape="at the end"),
    Asked("count_unread", {"limit": 1000} | FROM_THE_BEGINNING, shape="a million unread"),
    Asked(
        # It looks through the transaction up to the page: the one read that grows with a transaction's size.
        "changed_earlier_in_transaction",
        {"xid": str(BIG), "seq": CHANGES + 1000, "reservation_ids": SOME},
    ),
    Asked("load_reservations", TILL | {"reservation_ids": SOME}),
    Asked("record_deliveries", TILL | {"settlements": SETTLED, "fencing_token": 0}),
    Asked("settle_older", TILL | {"seqs": [CHANGES], "reservation_ids": ["R7"], "states": ["delivered"], "fencing_token": 0}),
    Asked("due_deliveries", PAGE_OF_TILL | {"occupied": SOME}),
    Asked("seconds_until_next_due", TILL | {"occupied": SOME}),
    Asked("with_newer_unread", TILL, most_rows=BIG_TRANSACTION, shape="a big transaction unread"),
    Asked("move_position", TILL | {"position": f"{BIG}:{BIG}:", "place_xid": None, "place_seq": None, "fencing_token": 0}),
    Asked("endpoint_states", {}, 2 * BIG_TRANSACTION),
    by_command("endpoint_counts", TILL | {"limit": 1000}, WAITING),
    by_command("find_deliveries", {"endpoint_id": None, "seq": 4711}),
    by_command("newest_delivery", {"endpoint_ids": [1, 2], "ceilings": [CHANGES // 2, CHANGES]}),
    # It looks through so many numbers as it is told: all of one endpoint, each fifth of the other.
    by_command("latest_deliveries", LATEST | {"above": CHANGES - 20_000, "states": ["skipped"]}, 24_000),
    by_command("latest_unsettled", LATEST | {"states": ["retrying", "dead"]}, 4 * PAGE),
    by_command("latest_of_reservation", LATEST | {"reservation_id": "R7", "states": ["delivered"]}),
    by_command("make_due", TILL | {"seq": 4711}),
    by_command("wait_with_newer", TILL | {"seq": 4711}),
    by_command("supersede", TILL | {"seq": 4711}),
    # Of each reservation all deliveries are passed on the way to the next.
    by_command("newest_deliveries", EVERYTHING, 2 * PAGE * (CHANGES // RESERVATIONS)),
    by_command("newest_deliveries", EVERYTHING | {"reservation_ids": SOME[:20], "states": ["dead"]}, shape="of some"),
    by_command("requeue", TILL | {"seqs": [9000], "reservation_ids": ["R1"], "states": ["delivered"]}),
    by_command("unread_changes", TILL | {"reservation_ids": SOME}, BIG_TRANSACTION, "a big transaction unread"),
    by_command("reservation_keys", {"after": "R2", "since": None, "limit": PAGE}),
    by_command("to_backfill", TILL | {"reservation_ids": SOME, "again": True}),
    by_command("count_pending", TILL, 2 * WAITING),
    by_command("still_pending", TILL | {"seqs": list(range(1, 200))}),
    by_command("queue_reservations", TILL | {"seqs": [2_000_000], "reservation_ids": ["R1"], "newest_seqs": [950_001]}),
    by_command("last_deliveries", TILL | {"reservation_ids": SOME}, 200 * (CHANGES // RESERVATIONS)),
]  # fmt: skip
FUNCTIONS = [
    # What is unread, for each of the two endpoints, is all that they read of the log.
    ("select * from cdc_bridge.prune_changes('12 hours', '0', 0, 500)", 2 * PAGE),
    ("select * from cdc_bridge.prune_deliveries(1, '12 hours', '12 hours', 0, 500)", 2 * PAGE),
    ("select * from cdc_bridge.prune_deliveries(1, '12 hours', '12 hours', 500000, 500)", 2 * PAGE),
    ("select * from cdc_bridge.prunable_delivery_logs('7 days')", 2 * BIG_TRANSACTION),
    ("select * from cdc_bridge.endpoint_state", 2 * BIG_TRANSACTION),
    ("select * from cdc_bridge.unsettled_delivery where state = 'dead' order by age desc limit 50", 5000),
]

WALKING_ALL = {
    "count_reservations": "how many there are is what it asks; once a command, for its progress bar",
    "what_is_kept": "how much an uninstall would delete; asked by a person",
}
SMALL = """
set_up_session plan_once set_up_page set_up_command try_wake_up_lock release_wake_up_lock listen ring own_transaction
oldest_transaction
key_type listen_for_endpoints announce_endpoints declare_endpoint renew_and_list list_endpoints try_heartbeat_lock
acquire_leases end_sessions_of_expired_leases release_lease record_problem disable_endpoint add_endpoint endpoint_facts
endpoint_options set_endpoint pause_endpoint resume_endpoint remove_endpoint rotate_secret is_installed
schema_version has_mapping blocking_sessions our_objects foreign_locks server missing_rights strange_roles
capture_triggers partitions_without_capture captured_unread view_columns hidden_by_row_security
read_nothing_through_view known_endpoints lock_endpoint
clock draw_numbers oldest_writer in_one_snapshot delivery_log_start reconcile_due note_reconciled prune
"""
OF_NO_LARGE_TABLE = set(SMALL.split())


def test_no_statement_is_forgotten() -> None:
    asked = {statement.name for statement in ASKED}
    assert asked | OF_NO_LARGE_TABLE | set(WALKING_ALL) == set(all_queries())
    assert not asked & OF_NO_LARGE_TABLE
    large = re.compile(r"cdc_bridge\.(change|delivery|reservation_payload)\b(?!_)")
    for name in OF_NO_LARGE_TABLE - {"missing_rights", "hidden_by_row_security"}:
        code = re.sub(r"--.*|'[^']*'", "", all_queries()[name])
        assert not large.search(code) or name == "read_nothing_through_view", name


@pytest.fixture(scope="module")
def large(server: Server, installed_template: Database) -> Iterator[Database]:
    """A database after a busy year, more or less."""
    database = create(server, f"{installed_template.name}_large", installed_template.name)
    database.execute(FILL)
    for table in ("cdc_bridge.change", "cdc_bridge.delivery", "cdc_bridge.endpoint", "reservations", "customers"):
        database.execute(f"vacuum analyze {table}")
    yield database
    drop(database)


async def plans_of(
    connection: AsyncConnection[TupleRow], statement: str, parameters: dict[str, Any], *, as_daemon: bool
) -> list[str]:
    """Run a statement, take back what it did, and return the plans of all that was run for it."""
    plans = await explained(connection, as_daemon=as_daemon)
    await connection.execute("set auto_explain.log_analyze = on; set auto_explain.log_nested_statements = on")
    await connection.set_autocommit(False)
    plans.clear()
    text = sql.SQL(statement).format(key_type=sql.SQL("text")) if "{key_type}" in statement else statement.encode()
    await connection.execute(text, parameters or None)
    await connection.execute("set local application_name = 'ends the statement before'")  # only then is its plan told
    found = list(plans)
    await connection.rollback()
    return found


def assert_looks_at_a_part(plans: list[str], most_rows: int) -> None:
    assert plans
    for plan in plans:
        for table in ("change", "delivery", "reservations"):
            assert f"Seq Scan on {table} " not in plan, plan
        assert most_rows_seen(plan) <= most_rows, plan


@pytest.mark.parametrize("asked", ASKED, ids=str)
async def test_statement_looks_at_what_it_is_about(asked: Asked, large: Database) -> None:
    async with large.connection() as connection:
        plans = await plans_of(connection, all_queries()[asked.name], asked.parameters, as_daemon=asked.as_daemon)
    assert_looks_at_a_part(plans, asked.most_rows)


@pytest.mark.parametrize(("statement", "most_rows"), FUNCTIONS)
async def test_function_or_view_looks_at_what_it_is_about(statement: str, most_rows: int, large: Database) -> None:
    async with large.connection() as connection:
        plans = await plans_of(connection, statement, {}, as_daemon=False)
    assert_looks_at_a_part(plans, most_rows)
