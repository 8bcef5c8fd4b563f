"""What pruning deletes, what it never deletes, and that the daemon does it."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

CHANGES = "select array_agg(reservation_id order by reservation_id) from cdc_bridge.change"
DELIVERIES = "select array_agg(reservation_id order by reservation_id) from cdc_bridge.delivery"
ADD_ENDPOINT = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  position, cluster
)
select %s, false, 'https://till.example', '{}', 1, false, 1, 1, pg_current_snapshot(), system_identifier
from pg_control_system()
returning endpoint_id
"""
RECORD = """
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures,
  next_attempt_at, recorded_at
)
values (
  %(endpoint_id)s, %(seq)s, %(reservation_id)s, 'U', now() - %(age)s::interval, %(state)s,
  case %(state)s when 'skipped' then 'deleted' end, 1, 0, case %(state)s when 'retrying' then now() end,
  now() - %(age)s::interval
)
"""


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def book(database: Database, *reservation_ids: str, age: str = "0") -> None:
    """Book, with changes of some age."""
    for reservation_id in reservation_ids:
        database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (reservation_id,))
    database.execute(
        "update cdc_bridge.change set changed_at = now() - %s::interval where reservation_id = any(%s)",
        (age, list(reservation_ids)),
    )


def add_endpoint(database: Database, name: str = "till") -> int:
    return int(database.value(ADD_ENDPOINT, (name,)))


def record(database: Database, endpoint_id: int, seq: int, reservation_id: str, state: str, age: str) -> None:
    row = {"endpoint_id": endpoint_id, "seq": seq, "reservation_id": reservation_id, "state": state, "age": age}
    database.execute(RECORD, row)


def prune(database: Database, *, keep: str = "7 days", keep_dead: str = "30 days") -> tuple[int, int]:
    ((changes, deliveries),) = database.execute("call cdc_bridge.prune(%s::interval, %s::interval)", (keep, keep_dead))
    return changes, deliveries


def test_change_is_kept_for_its_time_and_then_deleted(database: Database) -> None:
    book(database, "OLD", age="7 days 1 second")
    book(database, "NEWER", age="6 days 23 hours")
    add_endpoint(database)
    assert prune(database) == (1, 0)
    assert database.value(CHANGES) == ["NEWER"]
    assert prune(database) == (0, 0)


def test_change_is_kept_while_any_endpoint_has_not_got_it(database: Database) -> None:
    behind = add_endpoint(database, "behind")
    book(database, "OLD", age="100 days")
    add_endpoint(database, "up-to-date")
    for change in ("paused_at = now()", "disabled_at = now()", "paused_at = null"):
        database.execute(f"update cdc_bridge.endpoint set {change} where endpoint_id = {behind}")
        assert prune(database) == (0, 0)
    database.execute(f"delete from cdc_bridge.endpoint where endpoint_id = {behind}")
    assert prune(database) == (1, 0)


def test_change_of_a_transaction_that_an_endpoint_saw_open_is_kept(database: Database) -> None:
    with psycopg.connect(database.url) as late:
        late.execute("insert into reservations (id, cust_id, reference) values ('LATE', 'C', 1)")
        book(database, "OLD", age="100 days")
        endpoint = add_endpoint(database)
        late.commit()
    database.execute("update cdc_bridge.change set changed_at = now() - interval '100 days'")
    assert prune(database) == (1, 0)
    assert database.value(CHANGES) == ["LATE"]
    database.execute(f"update cdc_bridge.endpoint set position = pg_current_snapshot() where endpoint_id = {endpoint}")
    assert prune(database) == (1, 0)


def test_log_without_an_endpoint_is_pruned_too(database: Database) -> None:
    book(database, "OLD", age="8 days")
    assert prune(database) == (1, 0)


def test_nothing_is_pruned_by_positions_of_another_cluster(database: Database) -> None:
    book(database, "OLD", age="8 days")
    endpoint = add_endpoint(database)
    record(database, endpoint, 1, "OLD", "delivered", "8 days")
    database.execute("update cdc_bridge.endpoint set cluster = cluster + 1")
    assert prune(database) == (0, 0)
    database.execute("update cdc_bridge.endpoint set cluster = cluster - 1")
    assert prune(database) == (1, 1)


@pytest.mark.parametrize(
    ("state", "kept_for_days"),
    [("delivered", 7), ("superseded", 7), ("skipped", 7), ("dead", 30), ("retrying", 10_000)],
)
def test_delivery_is_kept_by_its_state(state: str, kept_for_days: int, database: Database) -> None:
    endpoint = add_endpoint(database)
    record(database, endpoint, 1, "OLD", state, f"{kept_for_days + 1} days")
    record(database, endpoint, 2, "NEWER", state, f"{kept_for_days - 1} days")
    assert prune(database) == (0, 0 if state == "retrying" else 1)
    assert database.value(DELIVERIES) == (["NEWER", "OLD"] if state == "retrying" else ["NEWER"])


def test_delivery_settled_recently_is_kept_even_if_its_change_is_old(database: Database) -> None:
    endpoint = add_endpoint(database)
    record(database, endpoint, 1, "OLD", "delivered", "8 days")
    database.execute("update cdc_bridge.delivery set recorded_at = now()")
    assert prune(database) == (0, 0)


def test_removed_endpoint_counts_as_settled(database: Database) -> None:
    for number, state in enumerate(("delivered", "retrying", "dead"), 1):
        record(database, 77, number, state, state, "8 days")
        record(database, 77, number + 10, f"newer-{state}", state, "1 day")
    assert prune(database) == (0, 2)
    assert database.value(DELIVERIES) == ["dead", "newer-dead", "newer-delivered", "newer-retrying"]


def test_delivery_log_of_an_endpoint_with_an_old_unread_change_is_kept(database: Database) -> None:
    """A delivery may have been recorded ahead of the position, and would be sent again."""
    endpoint = add_endpoint(database)
    book(database, "AHEAD", age="8 days")
    record(database, endpoint, 1, "AHEAD", "delivered", "8 days")
    assert prune(database) == (0, 0)
    database.execute("update cdc_bridge.endpoint set position = pg_current_snapshot()")
    assert prune(database) == (1, 1)


def test_what_is_kept_among_the_old_does_not_hide_what_comes_after(database: Database) -> None:
    """More than a page of pending deliveries, then old rows, in both tables and for several endpoints."""
    first, second = add_endpoint(database, "first"), add_endpoint(database, "second")
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures, recorded_at) select e, n, 'R' || n, 'U', now() - interval '9 days', "
        "case when n <= 5000 then 'retrying' else 'delivered' end, 1, 0, now() - interval '9 days' "
        "from generate_series(1, 12000) n, unnest(array[%s, %s]) e",
        (first, second),
    )
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, 7000) n"
    )
    database.execute("update cdc_bridge.endpoint set position = pg_current_snapshot()")
    database.execute("update cdc_bridge.change set changed_at = now() - interval '9 days'")
    assert prune(database) == (7000, 14_000)
    assert database.value("select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')") == 10_000
    assert prune(database) == (0, 0)


def test_daemon_cannot_have_anything_deleted_before_its_time(database: Database) -> None:
    endpoint = add_endpoint(database)
    book(database, "NEW")
    database.execute("update cdc_bridge.endpoint set position = pg_current_snapshot()")
    record(database, endpoint, 1, "NEW", "dead", "0")
    database.execute("update cdc_bridge.change set changed_at = now() + interval '1 minute'")
    database.execute("update cdc_bridge.delivery set recorded_at = now() + interval '1 minute'")
    with psycopg.connect(database.bridge_url, autocommit=True) as daemon:
        daemon.execute("select * from cdc_bridge.prune_changes('-100 years', '0', 0, 2000000000)")
        daemon.execute("select * from cdc_bridge.prune_deliveries(%s, '-100 years', '-100 years', 0, 10)", (endpoint,))
    assert database.value(CHANGES) == ["NEW"]
    assert database.value(DELIVERIES) == ["NEW"]
    assert database.value("select pruned_until is null or pruned_until <= now() from cdc_bridge.endpoint")


def test_dba_without_rights_on_the_tables_cannot_prune_and_is_told(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("set role cdc_bridge_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("call cdc_bridge.prune()")


def test_writer_with_a_snapshot_from_before_still_sees_what_is_deleted(database: Database) -> None:
    add_endpoint(database)
    book(database, "OLD", age="8 days")
    database.execute("update cdc_bridge.endpoint set position = pg_current_snapshot()")
    with psycopg.connect(database.url) as reader:
        reader.execute("set transaction isolation level repeatable read, read only")
        seen = reader.execute("select count(*) from cdc_bridge.change").fetchone()
        assert prune(database) == (1, 0)
        assert reader.execute("select count(*) from cdc_bridge.change").fetchone() == seen


async def test_daemon_prunes_and_delivers_on(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    receiver.script = lambda request: Response(422 if request.reservation_id == "REJECTED" else 200)
    bridge = await bridges.start()
    book(database, "A", "B", "REJECTED")
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 3, "all are recorded")
    assert await bridge.terminate() == 0
    database.execute("update cdc_bridge.change set changed_at = now() - interval '8 days'")
    database.execute(
        "update cdc_bridge.delivery set changed_at = now() - interval '8 days', recorded_at = now() - interval '8 days'"
        ", next_attempt_at = next_attempt_at + interval '1 hour'"  # so that the next change supersedes the retry
    )
    bridge = await bridges.start()
    line = await bridge.wait_for_log("pruned")
    assert (line["changes"], line["deliveries"]) == (3, 2)
    receiver.script = lambda _: Response()
    database.execute("update reservations set adults = 7")
    await until(
        lambda: database.value("select count(*) from cdc_bridge.delivery where state = 'delivered'") == 3,
        "all are delivered after it",
    )
    assert database.value("select state from cdc_bridge.delivery order by seq limit 1") == "superseded"


async def test_retention_is_a_setting(database: Database, bridges: Bridges) -> None:
    book(database, "A", age="3 days")
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_START="now", CDC_BRIDGE_RETENTION_DAYS="2")
    assert (await bridge.wait_for_log("pruned"))["changes"] == 1


async def test_pruning_that_fails_is_told_and_the_daemon_goes_on(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("create or replace function cdc_bridge.prunable_delivery_logs(keep interval, keep_dead interval) "
                     "returns setof bigint language sql as 'select 1 / 0'")  # fmt: skip
    bridge = await bridges.start()
    line = await bridge.wait_for_log("pruning failed")
    assert "DivisionByZero" in line["problem"]
    book(database, "A")
    await receiver.wait_for_delivered(1)


async def test_previous_secret_is_cleared_after_its_time_from_endpoints_that_nobody_leases_too(
    database: Database, bridges: Bridges
) -> None:
    for name in ("leased", "paused", "rotating", "for-ever", "never"):
        add_endpoint(database, name)
    database.execute("update cdc_bridge.endpoint set paused_at = now() where name <> 'leased'")
    until_when = {"leased": "1 second ago", "paused": "40 days ago", "rotating": "tomorrow", "for-ever": "infinity"}
    for name, at in until_when.items():
        database.execute(
            "update cdc_bridge.endpoint set secret = 'new', previous_secret = 'old', "
            "previous_secret_until = case %(at)s when 'infinity' then 'infinity' when 'tomorrow' then now() + '1 day' "
            "else now() - %(age)s::interval end where name = %(name)s",
            {"at": at, "age": at.removesuffix(" ago") if at.endswith("ago") else "0", "name": name},
        )
    bridge = await bridges.start()
    assert (await bridge.wait_for_log("expired secrets cleared"))["endpoints"] == 2
    kept = "select name from cdc_bridge.endpoint where previous_secret is not null order by name"
    assert database.execute(kept) == [("for-ever",), ("rotating",)]
    assert database.value("select count(*) from cdc_bridge.endpoint where secret = 'new'") == 4
    assert database.value("select count(*) from cdc_bridge.endpoint where previous_secret_until < now()") == 0


async def test_pruning_of_secrets_that_fails_ends_no_other(database: Database, bridges: Bridges) -> None:
    book(database, "OLD", age="8 days")
    add_endpoint(database)
    database.execute(
        "update cdc_bridge.endpoint set previous_secret = 'old', previous_secret_until = now(); "
        "create function stop() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$; "
        "create trigger stop before update of previous_secret on cdc_bridge.endpoint execute function stop()"
    )
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_START="now")
    await bridge.wait_for_log("pruning failed")
    assert (await bridge.wait_for_log("pruned"))["changes"] == 1


async def test_what_was_pruned_is_not_reported_as_missing(database: Database, bridges: Bridges) -> None:
    await bridges.start()
    book(database, "PRUNED", "KEPT")
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 2, "both are delivered")
    database.execute("set session_replication_role = replica; insert into reservations (id, cust_id, reference) "
                     "values ('MISSING', 'C', 3)")  # fmt: skip
    for age, names in (("3 days", ["PRUNED"]), ("1 hour", ["KEPT", "MISSING"])):
        database.execute(
            "set session_replication_role = replica; "
            f"update reservations set updated = now() - interval '{age}' where id = any('{{{','.join(names)}}}')"
        )
    database.execute("update cdc_bridge.delivery set changed_at = now() - interval '3 days', recorded_at = now() - "
                     "interval '3 days' where reservation_id = 'PRUNED'")  # fmt: skip
    database.execute("update cdc_bridge.endpoint set created_at = now() - interval '10 days'")
    assert prune(database, keep="2 days") == (0, 1)
    for arguments in ([], ["--since", "2020-01-01"]):
        code, output, _ = await run_command("reconcile", "--json", *arguments, **bridges.settings)
        (found,) = json.loads(output)["endpoints"]
        assert (code, found["ids"]["missing"]) == (1, ["MISSING"])
