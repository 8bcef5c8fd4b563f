"""Whose payload is invalid: that of all who have it, or of those alone who get the reservations that it fails for."""

from __future__ import annotations

from typing import cast

from cdc_bridge.database import Database
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.subscription import EVERYTHING, Condition, Subscription
from cdc_bridge.runtime.mapping_monitor import MappingMonitor

NORTH = Subscription(conditions=(Condition("call.restaurant_id", ("NORTH",)),))


async def test_payload_that_does_not_fit_is_the_problem_of_all_who_have_it() -> None:
    monitor = MappingMonitor(cast("Database", None))
    monitor.found_invalid(EVERYTHING, PayloadInvalid("it does not fit", "Correct it."))
    assert monitor.problem_of(NORTH) == monitor.problem_of(EVERYTHING) == "it does not fit"
    assert monitor.problem_of(Subscription("kitchen")) is None


async def test_reservations_that_fail_are_the_problem_of_those_who_get_them() -> None:
    monitor = MappingMonitor(cast("Database", None))
    monitor.found_invalid(EVERYTHING, PayloadInvalid("it fails for each", "Correct it.", evidence=["R"]))
    assert monitor.problem_of(EVERYTHING) == "it fails for each"
    assert monitor.problem_of(NORTH) is None
