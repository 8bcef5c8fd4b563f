"""Which endpoints a daemon stops and acquires."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.assignment import ACQUIRED_AT_ONCE, Plan
from cdc_bridge.runtime.assignment import plan as plan_of_all
from tests.unit.runtime.scripted import TILL, listed


def as_defined(_: ListedEndpoint) -> Endpoint | None:
    return TILL


def invalid(_: ListedEndpoint) -> Endpoint | None:
    raise ValueError("url has to begin with https://")


def of_other_settings(_: ListedEndpoint) -> Endpoint | None:
    return None


LEASED = {EndpointId(1): TILL}


def plan(
    endpoints: list[ListedEndpoint],
    leased: Mapping[EndpointId, Endpoint] = {},
    definition_of: object = as_defined,
    *,
    free: Collection[EndpointId] | None = None,
    pauses: Mapping[EndpointId, float] = {},
    alone: bool = True,
) -> Plan:
    """Plan with all endpoints free that are not leased here, unless said otherwise."""
    if free is None:
        free = {one.endpoint_id for one in endpoints} - leased.keys()
    return plan_of_all(endpoints, free, leased, definition_of, pauses, alone=alone)  # type: ignore[arg-type]


def test_free_endpoint_is_acquired() -> None:
    endpoint = listed()
    assert plan([endpoint]).acquire == [(endpoint, TILL)]


def test_daemon_that_is_alone_acquires_all_free_endpoints_at_once() -> None:
    planned = plan([listed(number) for number in range(5)])
    assert [endpoint.endpoint_id for endpoint, _ in planned.acquire] == [0, 1, 2, 3, 4]
    assert planned.look_again_in_seconds is None


def test_half_of_the_free_endpoints_is_acquired_at_a_time_beside_another_daemon() -> None:
    planned = plan([listed(number) for number in range(5)], alone=False)
    assert [endpoint.endpoint_id for endpoint, _ in planned.acquire] == [0, 1, 2]
    assert planned.look_again_in_seconds == 0


@pytest.mark.parametrize("alone", [True, False])
def test_many_free_endpoints_are_acquired_in_parts(*, alone: bool) -> None:
    endpoints = [listed(number) for number in range(ACQUIRED_AT_ONCE + 3)]
    part = plan(endpoints, alone=alone)
    acquired = {endpoint.endpoint_id: TILL for endpoint, _ in part.acquire}
    assert (len(acquired), part.is_whole) == (ACQUIRED_AT_ONCE, False)
    rest = plan(endpoints, acquired, alone=True)
    assert ([endpoint.endpoint_id for endpoint, _ in rest.acquire], rest.is_whole) == ([1000, 1001, 1002], True)


def test_last_free_endpoint_is_acquired_beside_another_daemon() -> None:
    planned = plan([listed()], alone=False)
    assert len(planned.acquire) == 1
    assert planned.look_again_in_seconds is None


def test_endpoint_of_another_daemon_is_left_to_it() -> None:
    planned = plan([listed(1), listed(2)], free=())
    assert (planned.acquire, planned.look_again_in_seconds) == ([], None)


def test_endpoint_that_crashed_is_acquired_after_a_pause() -> None:
    planned = plan([listed()], pauses={EndpointId(1): 2.5})
    assert (planned.acquire, planned.look_again_in_seconds) == ([], 2.5)
    assert plan([listed()], pauses={EndpointId(1): -1.0}).acquire != []


def test_first_of_several_pauses_counts() -> None:
    pauses = {EndpointId(1): 2.5, EndpointId(2): 0.5, EndpointId(3): 1.5}
    assert plan([listed(1), listed(2), listed(3)], pauses=pauses).look_again_in_seconds == 0.5


def test_endpoint_with_the_same_definition_goes_on() -> None:
    assert plan([listed()], LEASED).stop == set()


def test_endpoint_with_another_definition_is_stopped() -> None:
    assert plan([listed()], LEASED, lambda _: replace(TILL, max_in_flight=1)).stop == {1}


@pytest.mark.parametrize("endpoints", [[listed(paused=True)], [listed(disabled=True)], []])
def test_paused_disabled_and_removed_endpoints_are_stopped(endpoints: list[ListedEndpoint]) -> None:
    assert plan(endpoints, LEASED).stop == {1}


def test_endpoint_that_was_paused_since_it_was_found_free_is_not_acquired() -> None:
    assert plan([listed(paused=True), listed(2, disabled=True)]).acquire == []


def test_invalid_endpoint_is_stopped_and_reported_once_it_is_released() -> None:
    planned = plan([listed()], LEASED, invalid)
    assert planned.stop == {1}
    assert planned.problems == []


def test_invalid_endpoint_that_is_free_is_reported_and_not_acquired() -> None:
    planned = plan([listed()], {}, invalid)
    assert planned.acquire == []
    assert [problem for _, problem in planned.problems] == ["url has to begin with https://"]


def test_endpoint_that_is_invalid_here_and_leased_elsewhere_is_no_problem() -> None:
    assert plan([listed()], {}, invalid, free=()).problems == []


def test_endpoint_that_another_daemon_declares_is_left_to_it() -> None:
    planned = plan([listed(in_settings=True)], {}, of_other_settings)
    assert (planned.acquire, planned.problems) == ([], [])


def test_position_of_another_cluster_is_reported_and_not_acquired() -> None:
    planned = plan([listed(same_cluster=False)])
    assert planned.acquire == []
    assert [problem for _, problem in planned.problems] == [RESTORED_ELSEWHERE]
