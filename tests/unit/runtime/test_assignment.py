"""What a daemon lets go and takes, from what it sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.status import OTHER_CLUSTER
from cdc_bridge.endpoints.store import ListedEndpoint
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.assignment import plan

TILL = Endpoint(
    name="till",
    url="https://till.example",
    headers=(),
    secret=None,
    previous_secret=None,
    previous_secret_until=None,
    ca_file=None,
    client_certificate_file=None,
    client_key_file=None,
    max_in_flight=16,
    latest_only=False,
    timeout_seconds=15,
    connect_timeout_seconds=5,
)


def listed(number: int = 1, **changes: Any) -> ListedEndpoint:
    endpoint = ListedEndpoint(
        endpoint_id=EndpointId(number),
        name="till",
        in_settings=False,
        paused=False,
        disabled=False,
        same_cluster=True,
        free=True,
        fencing_token=0,
        lease_ends_in_seconds=None,
        row={},
    )
    return replace(endpoint, **changes)


def as_defined(_: ListedEndpoint) -> Endpoint | None:
    return TILL


def unusable(_: ListedEndpoint) -> Endpoint | None:
    raise ValueError("url has to begin with https://")


def of_other_settings(_: ListedEndpoint) -> Endpoint | None:
    return None


HELD = {EndpointId(1): TILL}


def test_what_is_free_is_taken() -> None:
    endpoint = listed()
    assert plan([endpoint], {}, as_defined, {}).take == [(endpoint, TILL)]


def test_half_of_what_is_free_is_taken_at_a_time() -> None:
    five = [listed(number) for number in range(5)]
    planned = plan(five, {}, as_defined, {})
    assert [endpoint.endpoint_id for endpoint, _ in planned.take] == [0, 1, 2]
    assert planned.look_again_in_seconds == 0


def test_what_another_holds_is_looked_at_when_its_lease_ends() -> None:
    planned = plan(
        [listed(1, free=False, lease_ends_in_seconds=7.0), listed(2, free=False, lease_ends_in_seconds=3.0)],
        {},
        as_defined,
        {},
    )
    assert (planned.take, planned.look_again_in_seconds) == ([], 3.0)


def test_what_was_let_go_by_a_surprise_is_left_alone_for_a_while() -> None:
    planned = plan([listed()], {}, as_defined, {EndpointId(1): 2.5})
    assert (planned.take, planned.look_again_in_seconds) == ([], 2.5)
    assert plan([listed()], {}, as_defined, {EndpointId(1): -1.0}).take != []


def test_what_is_called_as_before_goes_on() -> None:
    assert plan([listed()], HELD, as_defined, {}).stop == set()


def test_what_is_to_be_called_otherwise_is_let_go() -> None:
    assert plan([listed()], HELD, lambda _: replace(TILL, max_in_flight=1), {}).stop == {1}


def test_what_is_paused_disabled_or_gone_is_let_go_and_not_taken() -> None:
    assert plan([listed(paused=True)], HELD, as_defined, {}).stop == {1}
    assert plan([listed(disabled=True)], HELD, as_defined, {}).stop == {1}
    assert plan([], HELD, as_defined, {}).stop == {1}
    assert plan([listed(paused=True), listed(2, disabled=True)], {}, as_defined, {}).take == []


def test_what_cannot_be_called_is_let_go_and_told() -> None:
    planned = plan([listed()], HELD, unusable, {})
    assert planned.stop == {1}
    assert [problem for _, problem in planned.problems] == ["url has to begin with https://"]


def test_what_another_daemon_calls_though_it_cannot_be_called_here_is_no_problem() -> None:
    assert plan([listed(free=False)], {}, unusable, {}).problems == []


def test_what_the_settings_of_another_daemon_declare_is_left_to_it() -> None:
    planned = plan([listed(in_settings=True)], {}, of_other_settings, {})
    assert (planned.take, planned.problems) == ([], [])


def test_position_of_another_cluster_is_told_and_nothing_called() -> None:
    planned = plan([listed(same_cluster=False)], {}, as_defined, {})
    assert planned.take == []
    assert [problem for _, problem in planned.problems] == [OTHER_CLUSTER]
