"""What endpoints get is looked at again only where somebody changed it."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_bridge.model import EndpointId
from cdc_bridge.payload.subscription import EVERYTHING, Condition, Subscription
from cdc_bridge.runtime.subscriptions_in_use import SubscriptionsInUse
from tests.unit.runtime.scripted import listed

TILL, BAR = EndpointId(1), EndpointId(2)


def room(number: int) -> Subscription:
    return Subscription(conditions=(Condition("room_name", (f"Room {number}",)),))


def one(number: int) -> Any:
    return listed(row={"only": [f"room_name=Room {number}"]})


def test_changed_added_and_removed_endpoints_are_found() -> None:
    in_use = SubscriptionsInUse()
    endpoints = {TILL: one(1), BAR: one(2)}
    assert in_use.update(endpoints)
    assert in_use.all == {room(1), room(2)}
    assert not in_use.update(endpoints)
    assert not in_use.update({**endpoints, EndpointId(3): one(2)}), "somebody else gets the same"
    assert in_use.update({TILL: endpoints[TILL], BAR: one(7)})
    assert in_use.all == {room(1), room(7)}
    assert in_use.update({BAR: one(7)})
    assert in_use.all == {room(7)}


def test_row_that_is_the_same_is_not_read_again() -> None:
    in_use = SubscriptionsInUse()
    same = one(1)
    in_use.update({TILL: same})
    same.row["only"] = ["room_name=Room 9"]
    in_use.update({TILL: same, BAR: one(2)})
    assert in_use.all == {room(1), room(2)}


@pytest.mark.parametrize("only", [["room_name"], [None]])
def test_conditions_that_cannot_be_read_are_nobody_s(only: list[Any]) -> None:
    in_use = SubscriptionsInUse()
    in_use.update({TILL: listed(row={"only": only})})
    assert in_use.all == {EVERYTHING}
