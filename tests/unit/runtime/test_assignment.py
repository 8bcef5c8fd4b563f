"""Which endpoints a daemon stops and acquires."""

from __future__ import annotations

from dataclasses import replace

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.assignment import plan
from tests.unit.runtime.scripted import TILL, listed


def as_defined(_: ListedEndpoint) -> Endpoint | None:
    return TILL


def invalid(_: ListedEndpoint) -> Endpoint | None:
    raise ValueError("url has to begin with https://")


def of_other_settings(_: ListedEndpoint) -> Endpoint | None:
    return None


LEASED = {EndpointId(1): TILL}


def test_free_endpoint_is_acquired() -> None:
    endpoint = listed()
    assert plan([endpoint], {}, as_defined, {}).acquire == [(endpoint, TILL)]


def test_half_of_the_free_endpoints_is_acquired_at_a_time() -> None:
    five = [listed(number) for number in range(5)]
    planned = plan(five, {}, as_defined, {})
    assert [endpoint.endpoint_id for endpoint, _ in planned.acquire] == [0, 1, 2]
    assert planned.look_again_in_seconds == 0


def test_endpoint_of_another_daemon_is_looked_at_again_when_its_lease_ends() -> None:
    planned = plan(
        [listed(1, free=False, lease_ends_in_seconds=7.0), listed(2, free=False, lease_ends_in_seconds=3.0)],
        {},
        as_defined,
        {},
    )
    assert (planned.acquire, planned.look_again_in_seconds) == ([], 3.0)


def test_endpoint_that_crashed_is_acquired_after_a_pause() -> None:
    planned = plan([listed()], {}, as_defined, {EndpointId(1): 2.5})
    assert (planned.acquire, planned.look_again_in_seconds) == ([], 2.5)
    assert plan([listed()], {}, as_defined, {EndpointId(1): -1.0}).acquire != []


def test_endpoint_with_the_same_definition_goes_on() -> None:
    assert plan([listed()], LEASED, as_defined, {}).stop == set()


def test_endpoint_with_another_definition_is_stopped() -> None:
    assert plan([listed()], LEASED, lambda _: replace(TILL, max_in_flight=1), {}).stop == {1}


def test_paused_disabled_and_removed_endpoints_are_stopped_and_not_acquired() -> None:
    assert plan([listed(paused=True)], LEASED, as_defined, {}).stop == {1}
    assert plan([listed(disabled=True)], LEASED, as_defined, {}).stop == {1}
    assert plan([], LEASED, as_defined, {}).stop == {1}
    assert plan([listed(paused=True), listed(2, disabled=True)], {}, as_defined, {}).acquire == []


def test_invalid_endpoint_is_stopped_and_reported() -> None:
    planned = plan([listed()], LEASED, invalid, {})
    assert planned.stop == {1}
    assert [problem for _, problem in planned.problems] == ["url has to begin with https://"]


def test_endpoint_that_is_invalid_here_and_leased_elsewhere_is_no_problem() -> None:
    assert plan([listed(free=False)], {}, invalid, {}).problems == []


def test_endpoint_that_another_daemon_declares_is_left_to_it() -> None:
    planned = plan([listed(in_settings=True)], {}, of_other_settings, {})
    assert (planned.acquire, planned.problems) == ([], [])


def test_position_of_another_cluster_is_reported_and_not_acquired() -> None:
    planned = plan([listed(same_cluster=False)], {}, as_defined, {})
    assert planned.acquire == []
    assert [problem for _, problem in planned.problems] == [RESTORED_ELSEWHERE]
