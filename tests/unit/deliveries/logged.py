"""A delivery as the delivery log has it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cdc_bridge.deliveries.lookup import DeliveryDetails
from cdc_bridge.model import DeliveryState, EndpointId, Operation, ReservationId, Seq

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
_DELIVERED = DeliveryDetails(
    endpoint_id=EndpointId(1),
    endpoint="till",
    seq=Seq(7),
    reservation_id=ReservationId("R"),
    operation=Operation.CREATED,
    changed_at=NOON,
    state=DeliveryState.DELIVERED,
    skip_reason=None,
    attempts=1,
    failures=0,
    next_attempt_at=None,
    last_status=200,
    last_error=None,
    message_id="7-0123456789abcdef",
    last_attempt_at=NOON,
    duration_seconds=0.25,
    recorded_at=NOON,
    newest_seq=Seq(7),
    newer_delivered_seq=None,
    read_at=NOON,
)


def logged(**columns: Any) -> DeliveryDetails:
    """Return a delivered delivery with some other columns."""
    return replace(_DELIVERED, **columns)
