"""The index that tells which endpoints want a reservation: by one column each, and nobody is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.conditions import CanonicalCondition
from cdc_bridge.payload.definition import PayloadDefinition
from cdc_bridge.payload.routing_index import RoutingIndex
from cdc_bridge.payload.subscription import Condition, Subscription

TYPES = {"id": "text", "room": "text", "adults": "int4", "at": "timestamptz"}
A, B, C = EndpointId(1), EndpointId(2), EndpointId(3)


def index_of(endpoints: dict[EndpointId, dict[str, tuple[str, ...]]]) -> RoutingIndex:
    index = RoutingIndex("reservation")
    index.definition = PayloadDefinition("reservation", None, [*TYPES], [*TYPES.values()], [], [], "1")
    put(index, endpoints)
    return index


def put(index: RoutingIndex, endpoints: dict[EndpointId, dict[str, tuple[str, ...]]]) -> None:
    resolved: dict[Subscription, Any] = {}
    for endpoint_id, conditions in endpoints.items():
        subscription = Subscription("reservation", tuple(Condition(*each) for each in conditions.items()))
        index.subscriptions[endpoint_id] = subscription
        resolved[subscription] = tuple(
            CanonicalCondition(column, frozenset(values)) for column, values in conditions.items()
        )
    index.put(endpoints, resolved)


def test_endpoint_is_found_by_each_of_its_values() -> None:
    index = index_of({A: {"room": ("Bar", "Terrace")}, B: {"room": ("Bar",)}})
    assert index.columns(None) == ("room",)
    assert index.wanting(["room"], [["Bar"]]) == {A, B}
    assert index.wanting(["room"], [["Terrace"]]) == {A}
    assert index.wanting(["room"], [["Cellar"]]) == set()
    assert index.wanting(["room"], [[None]]) == set()
    assert index.wanting(["room"], []) == set()


def test_reservation_with_several_rows_is_found_by_each_of_them() -> None:
    index = index_of({A: {"room": ("Bar",)}, B: {"adults": ("2",)}})
    assert index.wanting(["adults", "room"], [["1", "Bar"], ["2", "Cellar"]]) == {A, B}


@pytest.mark.parametrize(
    ("conditions", "column"),
    [
        ({"room": ("Bar", "Terrace"), "adults": ("2",)}, "adults"),
        ({"room": ("Bar",), "adults": ("2",)}, "adults"),
        ({"at": ("2026-01-01 00:00:00+00",), "room": ("Bar", "Terrace")}, "room"),
    ],
)
def test_endpoint_is_found_by_the_column_with_the_fewest_values(
    conditions: dict[str, tuple[str, ...]], column: str
) -> None:
    assert index_of({A: conditions}).columns(None) == (column,)


def test_endpoint_whose_conditions_tell_nothing_or_do_not_fit_gets_everything() -> None:
    index = index_of({A: {"at": ("2026-01-01 00:00:00+00",)}, B: {"nothing": ("1",)}})
    index.subscriptions[C] = Subscription("reservation", (Condition("room", ("Bar",)),))
    index.put([C], {index.subscriptions[C]: PayloadInvalid("it does not fit")})
    assert index.unrouted == {A, B, C}
    assert index.columns(None) == ()
    assert not index.routed(None)


def test_only_the_columns_of_those_asked_for_are_read() -> None:
    index = index_of({A: {"room": ("Bar",)}, B: {"adults": ("2",)}, C: {"at": ("x",)}})
    assert index.columns({B, C, EndpointId(9)}) == ("adults",)
    assert index.routed({B, C, EndpointId(9)}) == [B]


def test_endpoint_that_was_removed_while_it_was_added_stays_removed() -> None:
    index = index_of({})
    subscription = index.subscriptions[A] = Subscription("reservation", (Condition("room", ("Bar",)),))
    index.remove(A)
    index.put([A], {subscription: (CanonicalCondition("room", frozenset({"Bar"})),)})
    assert index.columns(None) == ()
    assert not index.unrouted


conditions = st.dictionaries(
    st.sampled_from(["room", "adults", "at", "nothing"]),
    st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(tuple),
    min_size=1,
)
steps = st.lists(st.tuples(st.integers(1, 4).map(EndpointId), st.none() | conditions))


@given(steps, st.lists(st.fixed_dictionaries({"room": st.sampled_from("abcd"), "adults": st.sampled_from("abcd")})))
def test_whoever_wants_a_row_is_found_however_endpoints_came_and_went(
    taken: list[tuple[EndpointId, dict[str, tuple[str, ...]] | None]], rows: list[dict[str, str]]
) -> None:
    index, present = index_of({}), dict[EndpointId, dict[str, tuple[str, ...]]]()
    for endpoint_id, wanted in taken:
        index.remove(endpoint_id)
        present.pop(endpoint_id, None)
        if wanted is not None:
            put(index, {endpoint_id: wanted})
            present[endpoint_id] = wanted
    assert index.unrouted | set(index.routed(None)) == present.keys()
    columns = index.columns(None)
    for row in rows:
        found = index.wanting(columns, [[row[column] for column in columns]]) | index.unrouted
        wanting = {
            endpoint_id
            for endpoint_id, wanted in present.items()
            if all(column not in row or row[column] in values for column, values in wanted.items())
        }
        assert wanting <= found
    for endpoint_id in present:
        index.remove(endpoint_id)
    assert (index.columns(None), index.unrouted, index.subscriptions) == ((), set(), {})
