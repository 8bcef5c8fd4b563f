from __future__ import annotations

import pytest

from cdc_bridge.deliveries.retry import RetryAction, RetryResult, plan_retry
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import DeliveryState, Seq, SkipReason
from tests.unit.deliveries.logged import logged

RETRYABLE = [DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD, DeliveryState.SKIPPED]


@pytest.mark.parametrize("state", RETRYABLE)
def test_newest_delivery_becomes_due(state: DeliveryState) -> None:
    reason = SkipReason.DELETED if state is DeliveryState.SKIPPED else None
    assert plan_retry(logged(state=state, skip_reason=reason)) is RetryAction.DUE


@pytest.mark.parametrize("state", RETRYABLE)
def test_newer_delivery_becomes_due_in_place_of_an_older_one(state: DeliveryState) -> None:
    assert plan_retry(logged(state=state, newest_seq=Seq(9))) is RetryAction.NEWER_DUE


def test_older_delivery_is_superseded_by_one_that_was_delivered() -> None:
    delivery = logged(state=DeliveryState.DEAD, newest_seq=Seq(9), newer_delivered_seq=Seq(8))
    action = plan_retry(delivery)
    assert action is RetryAction.SUPERSEDED
    text = "7 (reservation R) is superseded: the newer delivery 8 was successful"
    assert str(RetryResult(delivery, action)) == text


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.SUPERSEDED])
def test_settled_delivery_needs_no_retry(state: DeliveryState) -> None:
    with pytest.raises(BridgeError) as error:
        plan_retry(logged(state=state))
    assert error.value.remedy.endswith("cdc-bridge replay --endpoint till --reservation R")
