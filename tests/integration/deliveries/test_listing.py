"""The list of deliveries: every filter, every page, nothing left out and nothing twice."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from cdc_bridge.deliveries import log_listing as module
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.log_listing import LogPlace
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.sessions import CommandSessions
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import DeliveryState, ReservationId
from tests.support.bridge import run_command
from tests.support.databases import Database

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DELIVERIES = 300
FILL = f"""
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position,
  cluster
)
select name, false, 'https://till.example', '{{}}', 1, false, 1, 1, '1:1:', system_identifier
from pg_control_system(), unnest(array['till', 'bar']) as name;
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures, next_attempt_at
)
select e.endpoint_id, 10 * n, 'R' || n % 7, 'U', '{NOON:%Y-%m-%d %H:%M:%S+00}'::timestamptz + n * interval '1 minute',
  case n % 10 when 0 then 'retrying' when 1 then 'dead' when 2 then 'skipped' else 'delivered' end,
  case n % 10 when 2 then 'deleted' end, 1, 1, case n % 10 when 0 then now() end
from generate_series(1, {DELIVERIES}) n
join cdc_bridge.endpoint e on e.name = 'till' or n % 3 = 0;
"""


@pytest.fixture(autouse=True)
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.execute(FILL)
    for step in ("_FIRST_STEP", "_STEP"):
        monkeypatch.setattr(module, step, 20)  # ten deliveries of each endpoint
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 60.0)


async def all_pages(database: Database, filter_: DeliveryFilter, limit: int) -> list[LoggedDelivery]:
    found: list[LoggedDelivery] = []
    after: Cursor | None = None
    while True:
        listed = await list_deliveries(CommandSessions(database.bridge_url), filter_, limit, after)
        assert len(listed.deliveries) <= limit
        found += listed.deliveries
        if listed.next is None:
            return found
        after = Cursor.parse(str(listed.next))


FILTERS = [
    DeliveryFilter(),
    DeliveryFilter(endpoint="bar"),
    DeliveryFilter(states=[DeliveryState.DEAD, DeliveryState.RETRYING]),
    DeliveryFilter(states=[DeliveryState.SKIPPED]),
    DeliveryFilter(states=[DeliveryState.SKIPPED, DeliveryState.DEAD], endpoint="till"),
    DeliveryFilter(states=[DeliveryState.SUPERSEDED]),
    DeliveryFilter(reservation_id=ReservationId("R3")),
    DeliveryFilter(reservation_id=ReservationId("R3"), states=[DeliveryState.DEAD]),
    DeliveryFilter(since=NOON + timedelta(minutes=100)),
    DeliveryFilter(until=NOON + timedelta(minutes=100)),
    DeliveryFilter(since=NOON + timedelta(minutes=50), until=NOON + timedelta(minutes=51)),
    DeliveryFilter(since=NOON + timedelta(days=10)),
    DeliveryFilter(until=NOON - timedelta(days=10)),
    DeliveryFilter(states=[DeliveryState.RETRYING], until=NOON + timedelta(minutes=100)),
]


def expected(database: Database, filter_: DeliveryFilter) -> list[tuple[int, str]]:
    rows = database.execute(
        "select d.seq, e.name, d.state, d.reservation_id, d.changed_at from cdc_bridge.delivery d "
        "join cdc_bridge.endpoint e using (endpoint_id) order by d.seq desc, d.endpoint_id"
    )
    return [
        (seq, name)
        for seq, name, state, reservation_id, changed_at in rows
        if filter_.endpoint in {None, name}
        and (not filter_.states or state in filter_.states)
        and filter_.reservation_id in {None, reservation_id}
        and (filter_.since is None or changed_at >= filter_.since)
        and (filter_.until is None or changed_at < filter_.until)
    ]


@pytest.mark.parametrize(
    ("filter_", "limit"), [(DeliveryFilter(endpoint="bar"), 1), *product(FILTERS, (7, 1000))], ids=str
)
async def test_pages_have_every_match_once_and_in_order(
    database: Database, filter_: DeliveryFilter, limit: int
) -> None:
    found = await all_pages(database, filter_, limit)
    assert [(delivery.seq, delivery.endpoint) for delivery in found] == expected(database, filter_)


@pytest.mark.parametrize("step", [1, 3])
async def test_more_endpoints_than_a_step_looks_at_hide_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Both have deliveries of the same number, and either has one that the other has not."""
    monkeypatch.setattr(module, "_ENDPOINTS_A_STEP", 1)
    for name in ("_FIRST_STEP", "_STEP"):
        monkeypatch.setattr(module, name, step)
    monkeypatch.setattr(module, "_MAX_STEPS", 50)
    database.execute("delete from cdc_bridge.delivery where endpoint_id = 1 and seq % 90 = 0")
    for filter_ in FILTERS:
        found = await all_pages(database, filter_, 25)
        assert [(delivery.seq, delivery.endpoint) for delivery in found] == expected(database, filter_), filter_


async def test_number_drawn_long_before_its_delivery_was_queued_hides_nothing(database: Database) -> None:
    """As a backfill queues it that waited for an old transaction."""
    queued_at = NOON + timedelta(minutes=250)
    database.execute("update cdc_bridge.delivery set changed_at = %s where seq = 750", (queued_at,))
    for filter_ in FILTERS:
        found = await all_pages(database, filter_, 25)
        assert [(delivery.seq, delivery.endpoint) for delivery in found] == expected(database, filter_), filter_
    (first, *_, last) = await all_pages(database, DeliveryFilter(endpoint="till", since=queued_at), 1000)
    assert (first.seq, last.seq) == (10 * DELIVERIES, 750)


async def test_deliveries_looked_at_are_not_more_of_more_endpoints(database: Database) -> None:
    (of_one, of_both) = [DeliveryFilter(endpoint=name, states=[DeliveryState.SKIPPED]) for name in ("till", None)]
    database.execute("update cdc_bridge.delivery set state = 'delivered', skip_reason = null, next_attempt_at = null")
    sessions = CommandSessions(database.bridge_url)
    one, both = [(await list_deliveries(sessions, filter_, 10)).next for filter_ in (of_one, of_both)]
    assert one == Cursor(LogPlace(10 * DELIVERIES - 2000, 0), None)
    assert both == Cursor(LogPlace(10 * DELIVERIES - 1000, 0), None)


async def test_scan_for_rare_deliveries_stops_and_continues_from_its_cursor(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_STEPS", 2)
    database.execute(
        "update cdc_bridge.delivery set state = 'delivered', skip_reason = null, next_attempt_at = null where seq > 20"
    )
    filter_ = DeliveryFilter(states=[DeliveryState.SKIPPED])
    listed = await list_deliveries(CommandSessions(database.bridge_url), filter_, 10)
    assert (listed.deliveries, listed.next) == ([], Cursor(LogPlace(10 * (DELIVERIES - 20), 0), None))
    assert [delivery.seq for delivery in await all_pages(database, filter_, 10)] == [20]


async def test_scan_stops_when_its_time_is_over_and_continues_from_its_cursor(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.0)
    filter_ = DeliveryFilter(until=NOON)
    listed = await list_deliveries(CommandSessions(database.bridge_url), filter_, 10)
    assert (listed.deliveries, listed.next) == ([], Cursor(LogPlace(10 * (DELIVERIES - 10), 0), None))
    assert await all_pages(database, filter_, 10) == []


async def test_unknown_endpoint_is_named(database: Database) -> None:
    with pytest.raises(BridgeError, match="there is no endpoint tull; did you mean till"):
        await list_deliveries(CommandSessions(database.bridge_url), DeliveryFilter(endpoint="tull"), 10)


@pytest.mark.parametrize("text", ["", "1", "-", "1-", "a-b", "1-2-3", "-1-2", "¹-2"])
def test_text_that_is_not_a_cursor_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


async def test_command_lists_and_goes_on(database: Database) -> None:
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}
    code, output, errors = await run_command(
        "deliveries", "--endpoint", "till", "--state", "dead", "--limit", "2", "--json", **settings
    )
    assert (code, errors) == (0, "")
    first = json.loads(output)
    assert [delivery["seq"] for delivery in first["deliveries"]] == [2910, 2810]
    _, output, _ = await run_command(
        "deliveries", "--endpoint", "till", "--state", "dead", "--limit", "2", "--after", first["next"], **settings
    )
    assert "2710" in output
    assert "2910" not in output
    code, output, errors = await run_command("deliveries", "--limit", "3", **settings)
    assert code == 0
    assert len(output.splitlines()) == 4
    assert "There are more. To continue: --after 2990-" in errors
    code, output, _ = await run_command("deliveries", "--reservation", "R9", **settings)
    assert (code, output) == (0, "No matching delivery.\n")


async def test_command_without_matches_says_whether_the_scan_is_complete(database: Database) -> None:
    database.execute("delete from cdc_bridge.delivery")
    database.execute(f"""
        insert into cdc_bridge.delivery (
          endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures
        )
        select endpoint_id, n, 'R', 'U', '{NOON}'::timestamptz + n * interval '1 minute', 'delivered', 1, 0
        from cdc_bridge.endpoint, generate_series(1, 101000) n
    """)
    arguments, settings = (
        ("deliveries", "--until", "2026-06-01 12:01:30Z"),
        {"CDC_BRIDGE_DATABASE_URL": database.bridge_url},
    )
    code, output, errors = await run_command(*arguments, **settings)
    assert (code, output) == (0, "No matching delivery so far.\n")
    hint = re.fullmatch(r"Older deliveries were not searched. To continue: --after (\S+)\n", errors)
    while hint is not None and "so far" in output:
        code, output, errors = await run_command(*arguments, "--after", hint[1], **settings)
        hint = re.fullmatch(r"Older deliveries were not searched. To continue: --after (\S+)\n", errors)
    assert (code, len(output.splitlines()), errors) == (0, 3, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "tull"], "did you mean till?"),
        (["--after", "here"], "is not a cursor of this list"),
        (["--since", "2026-07-02", "--until", "2026-07-01"], "must be before --until"),
        (["--state", "lost"], "'lost' is not one of"),
    ],
)
async def test_command_explains_wrong_usage(database: Database, arguments: list[str], words: str) -> None:
    code, _, errors = await run_command("deliveries", *arguments, CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert code != 0
    assert words in " ".join(errors.replace("│", " ").split())
