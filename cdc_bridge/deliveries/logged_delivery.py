"""A delivery: a row of the delivery log, or a change that is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cdc_bridge.capture.change_log import operation_of
from cdc_bridge.model import DeliveryState, EndpointId, Operation, ReservationId, Seq, SkipReason


@dataclass(frozen=True, slots=True)
class LoggedDelivery:
    """A delivery, with the columns of ``sql/tables/delivery.sql``."""

    endpoint_id: EndpointId
    endpoint: str
    seq: Seq
    reservation_id: ReservationId
    operation: Operation
    changed_at: datetime
    state: DeliveryState
    skip_reason: SkipReason | None
    attempts: int
    failures: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    message_id: str | None
    last_attempt_at: datetime | None
    duration_seconds: float | None
    recorded_at: datetime | None
    """``None``: it is not in the delivery log yet, but queued in the change log."""

    @property
    def state_text(self) -> str:
        """The state, with the reason for a skipped delivery."""
        return self.state if self.skip_reason is None else f"{self.state} ({self.skip_reason})"


def typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's columns with the types of :class:`LoggedDelivery`."""
    reason = row["skip_reason"]
    return dict(row) | {
        "operation": operation_of(row["operation"]),
        "state": DeliveryState(row["state"]),
        "skip_reason": None if reason is None else SkipReason(reason),
    }
