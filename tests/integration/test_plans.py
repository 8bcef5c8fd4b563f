"""With a million changes and as many deliveries, each statement reads only the rows it needs, by an index.

A statement that is added to a ``queries.sql`` has to be added here: to those that are run, to those that touch no large
table, or to those that have a reason to read a whole one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql

from cdc_bridge.payload.definition import PayloadDefinition, payload_definition
from cdc_bridge.payload.isolated import run_isolated
from cdc_bridge.payload.shape import canonical_texts, column_of, loader_of
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import all_queries
from tests.support.databases import Database, create, drop
from tests.support.plans import explained, most_rows_seen, plans_of
from tests.support.server import Server

CHANGES = 1_000_000
RESERVATIONS = 50_000
PENDING = 5_000
BIG_TRANSACTION = 100_000
ATTEMPTED = 10_000
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
  case when n <= {PENDING} then 'retrying' when n <= {PENDING + 2000} then 'dead' else 'delivered' end, 1, 1,
  case when n <= {PENDING} then now() + (n - 100) * interval '1 second' end, n || '-0123456789abcdef'
from generate_series(1, {CHANGES}) n
join cdc_bridge.endpoint e on e.name = 'till' or n % 5 = 0;
insert into cdc_bridge.attempt (
  endpoint_id, seq, number, reservation_id, operation, changed_at, began_at, duration_seconds, status, reason, response,
  recorded_at
)
select 1, {CHANGES} - {ATTEMPTED} + n, number, 'R' || n, 'U', now(), now(), 0.1, 422, 'HTTP 422',
  case when number > 15 then 'no' end, now() - (20 - number) * interval '2 hours'
from generate_series(1, {ATTEMPTED}) n, generate_series(1, 20) number;
"""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
SOME = [f"R{number}" for number in range(200)]
SETTLED = json.dumps(
    [
        {"endpoint_id": 1, "fencing_token": 0, "seq": CHANGES + number, "reservation_id": f"R{number}",
         "operation": "U", "state": "delivered", "changed_at": "2026-01-01T00:00:00Z", "attempts": 1, "failures": 0}
        for number in range(100)
    ]
)  # fmt: skip
ATTEMPTS = json.dumps(
    [
        {"endpoint_id": 1, "fencing_token": 0, "place": number, "seq": CHANGES - number, "number": 21,
         "reservation_id": f"R{number}", "operation": "U", "changed_at": "2026-01-01T00:00:00Z",
         "began_at": "2026-01-01T00:00:00Z", "duration": 0.1, "status": 422}
        for number in range(100)
    ]
)  # fmt: skip
AT_THE_END: dict[str, Any] = {"in_progress": [], "place_xid": None, "place_seq": None, "from_xid": str(BIG + 1)}
FROM_THE_BEGINNING = AT_THE_END | {"from_xid": "1"}
MANY_IN_PROGRESS = AT_THE_END | {"in_progress": [str(2000 + number) for number in range(300)]}
IN_A_BIG_TRANSACTION = AT_THE_END | {"place_xid": str(BIG), "place_seq": CHANGES + BIG_TRANSACTION - 200}
TILL = {"endpoint_id": 1}
OURS = {"daemon_id": 1, "daemon_table": 0, "endpoint_ids": [1], "fencing_tokens": [0]}
PAGE_OF_LOG = {"limit": PAGE, "max_bytes": 1_000_000}
PAGE_OF_TILL = TILL | PAGE_OF_LOG
EVERYTHING = PAGE_OF_TILL | {
    "after_hash": -(2**63),
    "after_id": None,
    "reservation_ids": None,
    "states": None,
    "since": None,
    "until": None,
}

LATEST = {
    "endpoint_id": None, "after_seq": CHANGES, "after_endpoint_id": 0, "states": ["delivered"], "since": "2000-01-01",
    "until": None, "limit": PAGE,
}  # fmt: skip
BACKWARDS = {
    "from_xid": "1000", "after_xid": str(NEWEST), "after_seq": CHANGES, "look_at": 100, "reservation_id": None,
    "until": None, "limit": 100,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A statement as it is sent."""

    name: str
    parameters: dict[str, Any]
    most_rows: int = 2 * PAGE
    """Rows that its busiest step may see."""
    as_daemon: bool = True
    shape: str = ""
    index: str = ""
    """The index of ``cdc_bridge.delivery`` that it has to use."""

    def __str__(self) -> str:
        return f"{self.name} {self.shape}".strip()


def by_command(
    name: str, parameters: dict[str, Any], most_rows: int = 2 * PAGE, shape: str = "", index: str = ""
) -> Asked:
    return Asked(name, parameters, most_rows, as_daemon=False, shape=shape, index=index)


ASKED = [
    Asked("read_page", PAGE_OF_LOG | AT_THE_END, shape="at the end"),
    Asked("read_page", PAGE_OF_LOG | FROM_THE_BEGINNING, shape="a million unread"),
    # Each transaction in progress is looked up by itself, and a page of each is read.
    Asked("read_page", PAGE_OF_LOG | MANY_IN_PROGRESS, shape="many in progress"),
    Asked("read_page", PAGE_OF_LOG | IN_A_BIG_TRANSACTION, shape="in a big transaction"),
    Asked("sample", TILL),
    Asked("count_unread", {"limit": 1000} | AT_THE_END, shape="at the end"),
    Asked("count_unread", {"limit": 1000} | FROM_THE_BEGINNING, shape="a million unread"),
    Asked(
        # The one read that grows with a transaction's size: it reads the transaction up to the page.
        "changed_earlier_in_transaction",
        {"xid": str(BIG), "seq": CHANGES + 1000, "reservation_ids": SOME},
    ),
    Asked(
        "known_deliveries",
        {"endpoint_ids": [1] * 200, "seqs": list(range(200)), "reservation_ids": SOME},
        200 * (CHANGES // RESERVATIONS),
    ),
    Asked("record_deliveries", OURS | {"settlements": SETTLED}),
    # Of each delivery it reads the attempts, which are never many.
    Asked("keep_attempts", OURS | {"attempts": ATTEMPTS}, 100 * 25),
    Asked(
        "settle_older",
        OURS | {"seqs": [CHANGES], "reservation_ids": ["R7"], "states": ["delivered"], "skip_reasons": [None]},
        index="delivery_pending",
    ),
    Asked("due_retries", PAGE_OF_TILL | {"occupied": SOME}, index="delivery_due"),
    Asked("seconds_until_next_due", TILL | {"occupied": SOME}, index="delivery_due"),
    Asked(
        "with_newer_unread",
        TILL | {"max_bytes": 1_000_000},
        most_rows=BIG_TRANSACTION,
        shape="a big transaction unread",
    ),
    Asked("next_due", {"endpoint_ids": [1, 2]}, index="delivery_due"),
    Asked("acquire_leases", {"daemon_id": 1, "endpoint_ids": [1, 2]}),
    Asked("last_bodies", TILL | {"reservation_ids": SOME}, 200 * (CHANGES // RESERVATIONS)),
    Asked(
        "endpoint_overviews", {"name": None, "after": None, "limit": None, "endpoint_ids": None}, 2 * BIG_TRANSACTION
    ),
    Asked(
        "survey_endpoints",
        {
            "search": "till", "statuses": ["healthy"], "max_lag_seconds": 60, "settling_seconds": 10, "most_named": 10,
            "by_name": False, "limit": 50, "offset": 0,
        },
        2 * BIG_TRANSACTION,
    ),
    Asked("assigned_statuses", {"endpoint_ids": [1, 2]}),
    Asked("assigned_by_status", {"endpoint_ids": [1, 2]}),
    by_command("known_endpoints", {"name": None}),
    by_command("undelivered_of_endpoints", {"endpoint_ids": [1, 2]}, 2 * BIG_TRANSACTION),
    by_command("endpoint_counts", TILL | {"limit": 1000}, PENDING),
    by_command("find_deliveries", {"endpoint_id": None, "seq": 4711}),
    by_command("find_held_deliveries", {"endpoint_id": None, "seq": CHANGES}),
    by_command("attempts", TILL | {"seq": CHANGES}, 25),
    by_command("attempts_with_responses", TILL | {"seq": CHANGES}, 25),
    # Of each endpoint one delivery, and of each that has the newest ones a part of the step.
    by_command("scan_deliveries", LATEST | {"states": ["skipped"], "most_endpoints": 2, "most_each": 10_000}, 24_000),
    by_command("scan_deliveries", LATEST | {"most_endpoints": 1, "most_each": 10}, shape="a short step"),
    by_command(
        "scan_deliveries",
        LATEST | {"since": None, "most_endpoints": 51, "most_each": 51, "limit": 51},
        shape="all of them",
    ),
    by_command("latest_unsettled", LATEST | {"states": ["retrying", "dead"]}, 4 * PAGE, index="delivery_unsettled"),
    by_command(
        "latest_of_reservation", LATEST | {"reservation_id": "R7"}, index="delivery_of_reservation"
    ),
    by_command("endpoints_behind", {"endpoint_id": None}),
    by_command("changes_backwards", BACKWARDS),
    by_command("changes_backwards", BACKWARDS | {"look_at": 20_000, "reservation_id": "R7"}, 20_000, "one of them"),
    by_command("change_of_number", {"seq": 4711}),
    by_command("change_of_number", {"seq": CHANGES + BIG_TRANSACTION // 2}, shape="in a big transaction"),
    by_command("change_of_number", {"seq": CHANGES + 2 * BIG_TRANSACTION}, 20_000, "that nobody has"),
    by_command("last_attempts", {"endpoint_ids": [1] * 50, "seqs": list(range(1, 51))}),
    by_command(
        "changed_before",
        {"xid": str(BIG), "seq": NEWEST + 1000, "reservation_ids": SOME, "times": [LONG_AGO] * len(SOME)},
        2 * BIG_TRANSACTION,
    ),
    by_command("note_compared", TILL | {"missing": 0, "stale": 0}),
    by_command("make_due", TILL | {"seq": 4711}),
    by_command("queue_behind_newer", TILL | {"seq": 4711}),
    by_command("supersede", TILL | {"seq": 4711}),
    # It passes all deliveries of a reservation on the way to the next one.
    by_command("newest_deliveries", EVERYTHING, 2 * PAGE * (CHANGES // RESERVATIONS)),
    by_command(
        "newest_deliveries",
        EVERYTHING | {"after_hash": 4711, "after_id": "R7"},
        2 * PAGE * (CHANGES // RESERVATIONS),
        shape="a later page",
        index="delivery_of_reservation",
    ),
    by_command(
        "newest_deliveries",
        EVERYTHING | {"reservation_ids": SOME[:20], "states": ["dead"]},
        shape="of some",
        index="delivery_of_reservation",
    ),
    by_command("requeue", TILL | {"seqs": [9000], "reservation_ids": ["R1"], "states": ["delivered"]}),
    by_command("unread_changes", TILL | {"reservation_ids": SOME}, BIG_TRANSACTION, "a big transaction unread"),
    by_command("to_backfill", TILL | {"reservation_ids": SOME, "again": True}),
    by_command("count_pending", TILL, 2 * PENDING, index="delivery_due"),
    by_command("still_pending", TILL | {"seqs": list(range(1, 200))}),
    by_command("queue_reservations", TILL | {"seqs": [2_000_000], "reservation_ids": ["R1"], "newest_seqs": [950_001]}),
    by_command("last_changed", {"limit": PAGE}),
    by_command("last_deliveries", TILL | {"reservation_ids": SOME}, 200 * (CHANGES // RESERVATIONS)),
]  # fmt: skip
KEYS = Subscription().parameters | {
    "after": None, "since": None, "created": False, "limit": PAGE, "max_bytes": 1_000_000
}  # fmt: skip
LOADING = [
    Asked("load_reservations", {"daemon_id": 1, "reservation_ids": SOME, "max_bytes": 65_536}, shape="a page"),
    Asked("load_reservations", {"daemon_id": None, "reservation_ids": ["R7"], "max_bytes": 65_536}, shape="one"),
    Asked("load_retyped", {"payload": "reservation", "daemon_id": 1, "reservation_ids": SOME, "max_bytes": 65_536}),
    Asked("payload_values_of_few", {"reservation_ids": SOME[:20]}),
    Asked("payload_sizes", {"payload": "reservation", "reservation_ids": SOME}),
    Asked("payload_values", {"payload": "reservation", "columns": ["room_name"], "reservation_ids": SOME}),
    Asked("payload_keys", KEYS, shape="from the first"),
    Asked("payload_keys", KEYS | {"after": "R2"}, shape="from one on"),
    Asked("payload_keys", KEYS | {"after": "R2", "since": LONG_AGO}, shape="since a time"),
]
"""They run by run_isolated, and what they read is in functions."""
FUNCTIONS = [
    # They read only the unread end of the change log, for each of the two endpoints.
    ("select * from cdc_bridge.prune_changes('12 hours', '0', 0, 500)", 2 * PAGE),
    ("select * from cdc_bridge.prune_deliveries(1, '12 hours', '12 hours', 0, 500)", 2 * PAGE),
    ("select * from cdc_bridge.prune_deliveries(1, '12 hours', '12 hours', 500000, 500)", 2 * PAGE),
    ("select * from cdc_bridge.prune_attempts('12 hours', '-infinity', 0, 0, 0, 500)", 500 * 20),
    ("select * from cdc_bridge.prune_attempts('12 hours', now() - interval '20 hours', 0, 0, 0, 500)", 500 * 20),
    ("select cdc_bridge.prune_responses(500)", 2 * PAGE),
    ("select * from cdc_bridge.prunable_delivery_logs('12 hours', '12 hours')", 2 * BIG_TRANSACTION),
    ("select * from cdc_bridge.endpoint_status", 2 * BIG_TRANSACTION),
    ("select * from cdc_bridge.unsettled_delivery where state = 'dead' order by age desc limit 50", 5000),
]

READING_ALL = {
    "count_keys": "counts them; once a command, for its progress bar",
    "count_kept": "counts what an uninstall would delete; run by hand",
    "losses_of_uninstall": "counts what an uninstall would lose; run by hand",
}
SMALL = """
set_up_session set_up_daemon_session server_incarnation newest_history connections_left queue_usage
limit_loading plan_once set_up_dashboard_session
try_wake_up_lock release_wake_up_lock listen notify
own_transaction oldest_transaction
announce_endpoints declare_endpoint list_endpoints try_heartbeat_lock
register_daemon renew_daemon report_states current_snapshot changed_endpoints endpoint_ids end_daemon free_all_but
still_leased end_sessions_of_expired release_leases record_problem disable_endpoints add_endpoint
lock_endpoints limit_lock_of_endpoints declared_endpoints add_endpoints set_endpoints replace_secrets remove_endpoints
hold_registration move_daemon move_endpoints follow
endpoint_options number_of_endpoints some_names set_endpoint pause_endpoint resume_endpoint remove_endpoint
rotate_secret endpoint_secrets set_secrets has_encrypted_secrets endpoints_to_encrypt keys_in_use
define_probe columns_of_probe rights_missing_for_probe probe_runs_code is_null missing_row text_of row_of_values
tables_of_e_res schemas_of_e_res table_of_e_res unique_indexes foreign_keys expanded_payload payloads_to_build_on
is_installed set_up_changing_session lock_key lock_key_until_commit kept_response forget_expired_response keep_response
schema_version has_mapping has_capture note_mapping mapping_notes wait_briefly how_to_attach may_do_more
blocking_sessions installed_objects locks_on_other_tables server missing_rights strange_roles
faults_of_capture captured_tables problem_of_capture partitions_without_capture captured_unread views_read
payload_definition defined_payloads canonical_values payload_types lock_endpoint subscriptions
catalog_writes live_daemons
export_snapshot clock draw_numbers oldest_writer in_one_snapshot delivery_log_start reconcile_due note_reconciled prune
read_alert claim_alert note_alert failing_alert
expired_secrets clear_expired_secrets prune_idempotency_keys
audit_entries append_audit access_token_version access_tokens note_token_uses number_of_named_tokens
add_token list_tokens remove_token add_portal_token remove_portal_token
catalogue_tables catalogue_others catalogue_columns catalogue_keys catalogue_foreign_keys catalogue_checks time_zones
has_related changed_rows draw_change_numbers append_related related_waiting related_keys erase
"""
OF_NO_LARGE_TABLE = set(SMALL.split())


def test_no_statement_is_forgotten() -> None:
    asked = {statement.name for statement in [*ASKED, *LOADING]}
    named = asked | OF_NO_LARGE_TABLE | set(READING_ALL)
    assert named == set(all_queries()), "name it in SMALL, in ASKED with parameters, or in READING_ALL"
    assert not asked & OF_NO_LARGE_TABLE
    large = re.compile(r"cdc_bridge\.(change|delivery|attempt|load_reservation)\b(?!_)")
    for name in OF_NO_LARGE_TABLE - {"missing_rights"}:
        code = re.sub(r"--.*|'[^']*'", "", all_queries()[name])
        assert not large.search(code), name


@pytest.fixture(scope="module")
def large(server: Server, installed_template: Database) -> Iterator[Database]:
    """A database with about a year of changes."""
    database = create(server, f"{installed_template.name}_large", installed_template.name)
    database.execute(FILL)
    tables = ("change", "delivery", "attempt", "endpoint")
    for table in (*(f"cdc_bridge.{name}" for name in tables), "reservations", "customers"):
        database.execute(f"vacuum analyze {table}")
    yield database
    drop(database)


def assert_reads_a_part(plans: list[str], most_rows: int) -> None:
    assert plans
    for plan in plans:
        for table in ("change", "delivery", "attempt", "reservations"):
            assert f"Seq Scan on {table} " not in plan, plan
        assert most_rows_seen(plan) <= most_rows, plan


@pytest.mark.parametrize("asked", ASKED, ids=str)
async def test_statement_reads_only_what_it_needs(asked: Asked, large: Database) -> None:
    async with large.connection() as connection:
        plans = await plans_of(connection, all_queries()[asked.name], asked.parameters, as_daemon=asked.as_daemon)
    assert_reads_a_part(plans, asked.most_rows)
    assert any(asked.index in plan for plan in plans)


@pytest.mark.parametrize("asked", LOADING, ids=str)
async def test_reservations_are_found_by_the_index_of_their_key(asked: Asked, large: Database) -> None:
    async with large.loading_connection(as_superuser=True) as connection:
        definition = await payload_definition(connection, "reservation")
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_analyze = on; set auto_explain.log_nested_statements = on")
        plans.clear()
        await run_isolated(connection, loading_statement(asked.name, definition), asked.parameters)
    nested = [plan for plan in plans if "reservations" in plan]
    assert any("Index" in plan and "reservations_pkey" in plan for plan in nested), plans
    assert_reads_a_part(nested, asked.most_rows)


def loading_statement(name: str, definition: PayloadDefinition) -> bytes:
    """Return a statement of the loader, with the columns that it has for a payload."""
    if "{" not in all_queries()[name]:
        return all_queries()[name].encode()
    canonical = canonical_texts(definition, ["room_name"])
    declared = [
        sql.SQL("cdc_bridge_{} {}").format(number, sql.SQL(type_)) for number, type_ in enumerate(definition.types, 1)
    ]
    statement = sql.SQL(all_queries()[name]).format(
        loader=loader_of(definition),
        key=column_of(definition, "id"),
        canonical=canonical[0] if name.endswith("few") else sql.SQL(", ") + canonical[0],
        declared=sql.SQL(", ").join(declared),
    )
    return statement.as_bytes(None)


@pytest.mark.parametrize(("statement", "most_rows"), FUNCTIONS)
async def test_function_or_view_reads_only_what_it_needs(statement: str, most_rows: int, large: Database) -> None:
    async with large.connection() as connection:
        plans = await plans_of(connection, statement, {}, as_daemon=False)
    assert_reads_a_part(plans, most_rows)
