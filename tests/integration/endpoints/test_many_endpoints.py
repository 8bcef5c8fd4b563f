"""With ten thousand endpoints, what is said of all of them costs one look at each, and at each position in the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import NAMED_OF_A_KIND, PAGE, EndpointSurvey, Search, survey
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import EndpointId
from tests.support.databases import Database
from tests.support.many_endpoints import BY_STATUS, ENDPOINTS, UNREAD
from tests.support.plans import explained, most_rows_seen

ONE_OF_EACH = 2 * ENDPOINTS
"""Rows that a step may see that sees a row or two of each endpoint, or counts the log for a few positions."""
ALL_LATE, NONE_LATE = 1.0, 10_000.0


async def found(database: Database, max_lag_seconds: float = NONE_LATE, **search: Any) -> EndpointSurvey:
    async with as_reader(database) as connection:
        return await survey(connection, max_lag_seconds, Search(**{"limit": PAGE} | search))


@asynccontextmanager
async def as_reader(database: Database) -> AsyncIterator[AsyncConnection[TupleRow]]:
    async with database.connection() as connection:
        await connection.execute("set role cdc_bridge_reader; set jit = off")
        yield connection


def names(endpoints: list[EndpointOverview]) -> list[str]:
    return [endpoint.name for endpoint in endpoints]


async def test_survey_counts_all_names_some_and_sums_up_the_others(many_endpoints: Database) -> None:
    seen = await found(many_endpoints)
    assert seen.by_status == BY_STATUS
    assert list(seen.by_status) == list(BY_STATUS), "those in trouble first"
    assert seen.number == ENDPOINTS
    assert seen.number_in_trouble == ENDPOINTS - BY_STATUS[EndpointStatus.PAUSED] - BY_STATUS[EndpointStatus.HEALTHY]
    assert seen.late == 0
    named = [endpoint.status for endpoint in seen.in_trouble]
    assert named == sorted(named, key=list(BY_STATUS).index), "the worst first"
    assert all(named.count(status) <= 2 * NAMED_OF_A_KIND for status in set(named))
    for status, number in BY_STATUS.items():
        assert named.count(status) + seen.others.by_status.get(status, 0) == number
    in_all = many_endpoints.value("select count(*) from cdc_bridge.delivery where state = 'retrying'")
    assert sum(endpoint.pending for endpoint in seen.in_trouble) + seen.others.pending == in_all


async def test_endpoints_that_are_behind_are_counted_and_the_most_behind_are_named(many_endpoints: Database) -> None:
    seen = await found(many_endpoints, ALL_LATE)
    following = "select count(*) from cdc_bridge.endpoint where following"
    assert many_endpoints.value(following) <= seen.late < ENDPOINTS
    assert seen.others.backlog >= UNREAD
    assert seen.others.lag_seconds > ALL_LATE
    assert len(seen.in_trouble) <= 7 * NAMED_OF_A_KIND


async def test_same_figures_as_the_view_has_for_each_endpoint(many_endpoints: Database) -> None:
    some = list(map(EndpointId, [1, 2, 3, 42, 9850, 9901, 9950, 9960, 9972, 9980, 9990, 9999]))
    async with as_reader(many_endpoints) as connection:
        all_of_them = {one.endpoint_id: one for one in await endpoint_overviews(connection)}
        assert len(all_of_them) == ENDPOINTS
        for endpoint_id in some:
            (alone,) = await endpoint_overviews(connection, all_of_them[endpoint_id].name)
            together = all_of_them[endpoint_id]
            for name in ("status", "reason", "unread", "pending", "dead", "daemon", "oldest_pending_seq"):
                assert getattr(alone, name) == getattr(together, name), (endpoint_id, name)
    unread = {endpoint_id: all_of_them[endpoint_id].unread for endpoint_id in some}
    assert (unread[some[3]], unread[some[4]], unread[some[6]]) == (UNREAD, UNREAD, 51)


async def test_survey_looks_once_at_each_position(many_endpoints: Database) -> None:
    asked: dict[str, Callable[[AsyncConnection[TupleRow]], Awaitable[object]]] = {
        "survey": lambda connection: survey(connection, ALL_LATE, Search(limit=PAGE)),
        "all": endpoint_overviews,
        "one": lambda connection: endpoint_overviews(connection, "restaurant-00042"),
        "a name": lambda connection: resolve_endpoint(connection, "restaurant-00042"),
    }
    for what, ask in asked.items():
        async with many_endpoints.connection() as connection:
            plans = await explained(connection)
            await connection.execute("set auto_explain.log_analyze = on; set role cdc_bridge_reader; set jit = off")
            plans.clear()
            await ask(connection)
            await connection.execute("reset role")
        busiest = max(most_rows_seen(plan) for plan in plans if "actual" in plan)
        assert busiest <= ONE_OF_EACH, (what, max(plans, key=most_rows_seen))
        if what in {"one", "a name"}:
            assert not any("Seq Scan on endpoint" in plan for plan in plans), (what, plans)


async def test_pages_have_every_endpoint_once(many_endpoints: Database) -> None:
    seen: list[str] = []
    for offset in range(0, ENDPOINTS, 2500):
        page = await found(many_endpoints, limit=2500, offset=offset)
        assert page.matching == ENDPOINTS
        seen += names(list(page.page))
    assert len(seen) == len(set(seen)) == ENDPOINTS
    in_trouble = seen[: ENDPOINTS - BY_STATUS[EndpointStatus.PAUSED] - BY_STATUS[EndpointStatus.HEALTHY]]
    by_name = await found(many_endpoints, by_name=True)
    assert names(list(by_name.page)) == [f"restaurant-{number:05}" for number in range(1, PAGE + 1)]
    assert seen[len(in_trouble) : len(in_trouble) + 2] == ["restaurant-00004", "restaurant-00005"]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"text": "RESTAURANT-0998"}, [f"restaurant-0998{number}" for number in range(10)]),
        ({"text": "room 777", "limit": 1}, ["restaurant-00777"]),
        ({"text": "hooks.example/4711"}, ["restaurant-04711"]),
        ({"statuses": [EndpointStatus.DISABLED]}, [f"restaurant-0997{number}" for number in range(1, 6)]),
        ({"text": "0997", "statuses": [EndpointStatus.PAUSED]}, ["restaurant-09970"]),
        ({"text": "secret"}, []),
        ({"text": "%"}, []),
        ({"text": "no\0body"}, []),
    ],
)
async def test_endpoints_are_found_by_name_url_condition_and_status(
    many_endpoints: Database, search: dict[str, Any], expected: list[str]
) -> None:
    assert names(list((await found(many_endpoints, by_name=True, **search)).page)) == expected


async def test_name_that_is_misspelt_is_guessed_from_its_neighbours(many_endpoints: Database) -> None:
    async with as_reader(many_endpoints) as connection:
        with pytest.raises(BridgeError, match="did you mean restaurant-07") as raised:
            await resolve_endpoint(connection, "restaurant-0777x")
        assert raised.value.remedy == "To find it: cdc-bridge endpoint list --search TEXT"
        with pytest.raises(WrongUsage) as several:
            await resolve_endpoint(connection, None)
        assert len(str(several.value)) < 300


async def test_delivery_logs_without_an_old_delivery_are_not_pruned(many_endpoints: Database) -> None:
    prunable = "select count(*) from cdc_bridge.prunable_delivery_logs(%s, '30 days')"
    assert many_endpoints.value(prunable, ("7 days",)) == 0
    many_endpoints.execute(
        "update cdc_bridge.delivery set changed_at = changed_at - interval '8 days', "
        "recorded_at = recorded_at - interval '8 days' where endpoint_id in (42, 43)"
    )
    assert many_endpoints.value(prunable, ("7 days",)) == 2
    many_endpoints.execute("call cdc_bridge.prune()")
    left = "select count(*) from cdc_bridge.delivery where endpoint_id in (42, 43)"
    assert many_endpoints.value(left) == 0
