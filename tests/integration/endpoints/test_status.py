"""The view that decides an endpoint's status: each status by what brings it about, as a reader sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from cdc_bridge.endpoints.lookup import known_endpoints
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE, EndpointStatus
from cdc_bridge.queries import all_queries
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.databases import Database
from tests.support.plans import explained

DAEMON_NUMBER = 4711
ENDPOINT = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  position, cluster, daemon_id, created_at
)
select 'till', false, 'https://till.example/x?token=t', '{}', 1, false, 1, 1, pg_current_snapshot(), system_identifier,
  %s, now() - interval '1 day'
from pg_control_system()
"""
DAEMON = """
insert into cdc_bridge.daemon (daemon_id, name, alive_until, listening)
overriding system value values (%s, 'host:1', now() + interval '1 hour', true)
"""
DELIVERY = """
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at, last_error,
  last_attempt_at, recorded_at, message_id
)
values (
  1, %(seq)s, 'R' || %(seq)s, 'U', now(), %(state)s, 1, %(failures)s,
  case when %(state)s in ('queued', 'retrying') then now() end, %(last_error)s,
  now() - %(minutes_ago)s * interval '1 minute', now() - %(minutes_ago)s * interval '1 minute', %(seq)s || '-0'
)
"""


@pytest.fixture
def till(database: Database) -> Database:
    """A database with one endpoint, leased to a daemon."""
    database.execute(DAEMON, (DAEMON_NUMBER,))
    database.execute(ENDPOINT, (DAEMON_NUMBER,))
    return database


@pytest.fixture
def live(till: Database) -> Iterator[Database]:
    """The same, and the daemon is live."""
    with live_daemon(till):
        yield till


@contextmanager
def live_daemon(database: Database, number: int = DAEMON_NUMBER) -> Iterator[None]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(52684, %s)", (number,))
        yield


async def overview(database: Database) -> EndpointOverview:
    async with database.connection() as connection:
        await connection.execute("set role cdc_bridge_reader")
        (found,) = await endpoint_overviews(connection)
        return found


def add_delivery(database: Database, seq: int, state: str, **values: Any) -> None:
    values = {"failures": 1, "last_error": "HTTP 422", "minutes_ago": 1} | values
    database.execute(DELIVERY, {"seq": seq, "state": state} | values)


def change(database: Database, columns: str) -> None:
    """Change columns of the endpoint, and behind a semicolon those of its daemon."""
    of_endpoint, _, of_daemon = columns.partition(";")
    database.execute(f"update cdc_bridge.endpoint set {of_endpoint}")
    if of_daemon:
        database.execute(f"update cdc_bridge.daemon set {of_daemon}")


async def test_endpoint_whose_daemon_lives_is_healthy(live: Database) -> None:
    found = await overview(live)
    assert (found.status, found.reason, found.daemon) == (EndpointStatus.HEALTHY, None, "host:1")
    assert found.sentence() == "healthy"
    assert found.url == "https://till.example/x?..."


@pytest.mark.parametrize(
    ("columns", "status", "reason"),
    [
        ("paused_at = now()", "paused", None),
        ("disabled_at = now()", "disabled", "it responded with 410"),
        ("disabled_at = now(), paused_at = now()", "disabled", "it responded with 410"),
        ("paused_at = now(), problem = 'ca_file names /x', daemon_id = null", "paused", None),
        ("daemon_id = null", "unassigned", "no live daemon has it"),
        ("problem = null; alive_until = now() - interval '1 second'", "unassigned", "no live daemon has it"),
        ("daemon_id = null, problem = 'url is no URL'", "invalid", "url is no URL"),
        ("cluster = 1", "invalid", RESTORED_ELSEWHERE),
        ("cluster = 1, daemon_id = null, problem = 'url is no URL'", "invalid", RESTORED_ELSEWHERE),
        ("failing_since = now(), problem = 'HTTP 503'", "failing", "HTTP 503"),
        # What a daemon left that was killed.
        ("failing_since = now(), problem = 'HTTP 503', daemon_id = null", "unassigned", "no live daemon has it"),
    ],
)
async def test_status_of_a_row(live: Database, columns: str, status: str, reason: str | None) -> None:
    change(live, columns)
    found = await overview(live)
    assert (found.status, found.reason) == (status, reason)


@pytest.mark.parametrize("locked", [None, DAEMON_NUMBER + 1])
async def test_daemon_whose_session_ended_is_not_live_though_its_lease_lasts(
    till: Database, locked: int | None
) -> None:
    with live_daemon(till, locked or 1):
        found = await overview(till)
    assert (found.status, found.daemon, found.in_flight) == (EndpointStatus.UNASSIGNED, None, None)


async def test_looking_takes_no_lock(till: Database) -> None:
    """A daemon that takes the endpoint over is not kept from its lock by somebody who looks."""
    with psycopg.connect(till.url) as looking:
        looking.execute("select * from cdc_bridge.endpoint_status")
        looking.execute(all_queries()["known_endpoints"], {"name": None})
        assert till.value(f"select pg_try_advisory_lock(52684, {DAEMON_NUMBER})")


async def test_command_knows_the_daemon_and_what_stops_the_endpoint_as_the_view_does(live: Database) -> None:
    change(live, "disabled_at = now(), paused_at = now()")
    async with live.connection() as connection:
        await connection.execute("set role cdc_bridge_reader")
        (found,) = await known_endpoints(connection)
    assert found.daemon == "host:1"
    assert found.silence == "endpoint till responded with 410: nothing is sent until it is resumed"


@pytest.mark.parametrize(
    ("deliveries", "ever_delivered", "status"),
    [
        (["delivered"], True, "healthy"),
        (["queued"], True, "healthy"),
        (["retrying"], True, "degraded"),
        (["retrying", "retrying"], True, "degraded"),
        (["retrying", "retrying", "retrying"], True, "failing"),
        (["dead", "dead", "retrying"], True, "failing"),
        (["retrying", "retrying", "retrying", "delivered"], True, "degraded"),
        (["retrying"], False, "failing"),
        (["retrying"] * 5, False, "failing"),
        (["retrying", "delivered"], False, "degraded"),
        (["dead"], True, "degraded"),
    ],
)
async def test_status_of_deliveries(
    live: Database, deliveries: list[str], *, ever_delivered: bool, status: str
) -> None:
    if ever_delivered:
        change(live, "last_success_at = now() - interval '1 hour'")
    for seq, state in enumerate(deliveries):
        failures = 0 if state in {"queued", "delivered"} else 1
        add_delivery(live, seq, state, failures=failures, minutes_ago=len(deliveries) - seq)
    found = await overview(live)
    assert found.status == status
    assert found.reason == (None if status == "healthy" else "HTTP 422")


async def test_success_that_only_the_daemon_has_written_ends_failing(live: Database) -> None:
    change(live, "last_success_at = now() - interval '1 hour'")
    for seq in range(3):
        add_delivery(live, seq, "retrying")
    assert (await overview(live)).status is EndpointStatus.FAILING
    change(live, "last_success_at = now()")
    assert (await overview(live)).status is EndpointStatus.DEGRADED


async def test_dead_letters_of_long_ago_are_counted_and_degrade_nothing(live: Database) -> None:
    change(live, "last_success_at = now() - interval '1 hour'")
    add_delivery(live, 1, "dead", minutes_ago=60 * 25)
    found = await overview(live)
    assert (found.status, found.dead) == (EndpointStatus.HEALTHY, 1)


@pytest.mark.parametrize("state", ["dead", "retrying"])
async def test_rejections_of_a_quiet_night_are_not_the_endpoint_failing(live: Database, state: str) -> None:
    change(live, "last_success_at = now() - interval '8 hours'")
    for seq in range(3):
        add_delivery(live, seq, state, minutes_ago=61)
    assert (await overview(live)).status is EndpointStatus.DEGRADED


async def test_endpoint_that_rejects_everything_fails_since_the_oldest_of_these_attempts(live: Database) -> None:
    change(live, "last_success_at = now() - interval '1 hour'")
    for seq in range(3):
        add_delivery(live, seq, "dead", minutes_ago=30 - seq)
    oldest = live.value("select min(last_attempt_at) from cdc_bridge.delivery")
    found = await overview(live)
    assert (found.status, found.since) == (EndpointStatus.FAILING, oldest)


async def test_one_reservation_counts_once_however_many_of_its_changes_are_pending(live: Database) -> None:
    change(live, "last_success_at = now() - interval '1 hour'")
    for seq in range(3):
        add_delivery(live, seq, "retrying")
    live.execute("update cdc_bridge.delivery set reservation_id = 'R'")
    assert (await overview(live)).status is EndpointStatus.DEGRADED


@pytest.mark.parametrize(
    ("columns", "settling"),
    [
        ("daemon_id = null", False),
        ("daemon_id = null, created_at = now()", True),
        ("daemon_id = null, resumed_at = now()", True),
        ("daemon_id = null, fencing_token = 1, released_at = now()", True),
        ("daemon_id = null, fencing_token = 1, released_at = now() - interval '1 minute'", False),
        ("daemon_id = null, fencing_token = 1, released_at = now() - interval '1 minute', resumed_at = now()", True),
        ("problem = null; alive_until = now() - interval '1 second'", True),
        ("problem = null; alive_until = now() - interval '1 minute'", False),
    ],
)
async def test_endpoint_that_a_daemon_may_be_about_to_take_is_settling(
    till: Database, columns: str, *, settling: bool
) -> None:
    change(till, columns)
    found = await overview(till)
    assert (found.status, found.settling) == (EndpointStatus.UNASSIGNED, settling)


@pytest.mark.parametrize(
    ("columns", "since"),
    [
        ("fencing_token = 1", None),
        ("fencing_token = 1, resumed_at = now() - interval '1 hour'", None),
        ("fencing_token = 1; alive_until = now() - interval '1 minute'", "alive_until"),
        ("fencing_token = 1, daemon_id = null, released_at = now() - interval '1 minute'", "released_at"),
        ("fencing_token = 1, daemon_id = null", None),
        ("daemon_id = null", "created_at"),
    ],
    ids=["killed", "killed after a resume", "expired", "released", "released by whom", "never leased"],
)
async def test_unassigned_begins_when_its_daemon_let_go_of_it(till: Database, columns: str, since: str | None) -> None:
    change(till, columns)
    found = await overview(till)
    assert found.status is EndpointStatus.UNASSIGNED
    table = "daemon" if since == "alive_until" else "endpoint"
    assert found.since == (since and till.value(f"select {since} from cdc_bridge.{table}"))


async def test_sentence_has_all_that_is_known(live: Database) -> None:
    change(
        live,
        "failing_since = '2026-11-24 12:00:00+00', next_probe_at = '2026-11-24 12:00:42+00', problem = 'HTTP 503'",
    )
    found = await overview(live)
    assert re.fullmatch(r"failing since 2026-\d\d-\d\d .*, next attempt at \d\d:\d\d:42 .*: HTTP 503", found.sentence())


def test_view_and_enum_have_the_same_words() -> None:
    text = (sql_folder() / "views" / "endpoint_status.sql").read_text()
    (cases,) = re.findall(r"\n    case\n(      when e\.disabled_at.*?)    end as status", text, flags=re.DOTALL)
    decided = set(re.findall(r"(?:then|else) '(\w+)'", cases))
    described = set(re.findall(r"^--   (\w+) {2,}[a-z]", text.partition("A daemon is live")[0], flags=re.MULTILINE))
    assert decided == described == set(EndpointStatus)


async def test_newest_deliveries_are_read_only_where_some_were_rejected(live: Database) -> None:
    never_read = re.compile(r"Index Scan Backward using delivery_pkey on delivery .*\(never executed\)")
    for seq in range(3):
        add_delivery(live, seq, "delivered", failures=0)
    live.execute(
        "insert into cdc_bridge.delivery select 2, generate_series(1, 20000), 'R', 'U', now(), 'delivered', null, 1, 0"
    )
    live.execute("analyze cdc_bridge.delivery")
    async with live.connection() as connection:
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_analyze = on")
        plans.clear()
        await connection.execute("select name, status from cdc_bridge.endpoint_status")
        add_delivery(live, 4, "retrying")
        await connection.execute("select name, status from cdc_bridge.endpoint_status")
        await connection.execute("select")
    healthy, degraded = [plan for plan in plans if "endpoint_status" in plan]
    assert never_read.search(healthy), healthy
    assert not never_read.search(degraded), degraded


async def test_nothing_is_counted_unless_it_is_asked_for(live: Database) -> None:
    async with live.connection() as connection:
        plans = await explained(connection)
        await connection.execute("select name, status, since, reason from cdc_bridge.endpoint_status")
        await connection.execute("select unread, pending, dead from cdc_bridge.endpoint_status")
    status, counts = plans
    assert " on change" not in status
    assert " on change" in counts
    assert len(status) < len(counts)


def test_reservations_that_cannot_be_loaded_are_not_the_endpoint_s_fault(live: Database) -> None:
    for seq in range(1, 9):
        values = {"seq": seq, "state": "retrying", "failures": 1, "last_error": "it cannot be loaded", "minutes_ago": 1}
        live.execute(DELIVERY, values)
    assert live.value("select status from cdc_bridge.endpoint_status") == "failing"
    live.execute("update cdc_bridge.delivery set message_id = null")
    assert live.value("select status from cdc_bridge.endpoint_status") == "degraded"
