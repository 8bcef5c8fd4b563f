"""Shows what the ledger has of a delivery, in words or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_never

from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.lookup import DeliveryId, FoundDelivery, find_delivery
from cdc_bridge.model import DeliveryState

_SHOWN = (
    "endpoint", "seq", "reservation_id", "operation", "changed_at", "state", "attempts", "failures", "next_attempt_at",
    "last_status", "last_error", "message_id", "last_attempt_at", "duration_seconds", "recorded_at",
)  # fmt: skip


async def delivery_of(database_url: str, wanted: DeliveryId, endpoint_name: str | None) -> FoundDelivery:
    """Return the delivery.

    Raises:
        DatabaseUnavailable: the database does not answer.
        InstallationError: the SQL side is not what is needed.
        BridgeError: there is no such delivery, or there are several.
    """
    async with one_connection(database_url) as connection:
        await require_ready(connection)
        return await find_delivery(connection, wanted, endpoint_name)


def as_json(delivery: FoundDelivery) -> dict[str, object]:
    """Return it as JSON has it; its names are the ledger's columns."""
    shown = {name: getattr(delivery, name) for name in _SHOWN}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in shown.items()}


def in_words(delivery: FoundDelivery, wanted: DeliveryId) -> list[tuple[str, str]]:
    """Return what there is to say, each with what it is about."""
    lines = [
        ("delivery", f"{delivery.seq} to {delivery.endpoint}"),
        ("reservation", delivery.reservation_id),
        ("change", f"{delivery.operation}, {_time(delivery.changed_at)}"),
        ("state", _state(delivery)),
        ("calls", f"{delivery.attempts}, {delivery.failures} of them refused on its own account"),
    ]
    if delivery.last_attempt_at is not None:
        lines.append(("last call", f"{_time(delivery.last_attempt_at)}: {_answer(delivery)}"))
    if delivery.message_id is not None:
        lines.append(("webhook-id", delivery.message_id))
    if wanted.message_id not in {None, delivery.message_id}:
        lines.append(("", f"{wanted.message_id} is not its last body's: that was another one, of an earlier call"))
    lines.append(("recorded", _time(delivery.recorded_at)))
    return lines


def _state(delivery: FoundDelivery) -> str:
    match delivery.state:
        case DeliveryState.QUEUED | DeliveryState.RETRYING:
            if delivery.next_attempt_at is None:
                return (
                    f"{delivery.state}: the newer delivery {delivery.newest_seq} of the reservation is tried for both"
                )
            return f"{delivery.state}: {_when(delivery.next_attempt_at - delivery.read_at)}"
        case DeliveryState.DELIVERED:
            return "delivered"
        case DeliveryState.SUPERSEDED:
            return "superseded: a newer call for the reservation was accepted"
        case DeliveryState.DEAD:
            return f"dead: refused until the end of the schedule; once more: cdc-bridge delivery retry {delivery.seq}"
        case DeliveryState.SKIPPED:
            return "skipped: the reservation was deleted before it could be loaded"
        case _ as never:
            assert_never(never)


def _when(ahead: timedelta) -> str:
    seconds = round(ahead.total_seconds())
    return f"next attempt in {timedelta(seconds=seconds)}" if seconds > 0 else "due now"


def _answer(delivery: FoundDelivery) -> str:
    answer = delivery.last_error or f"HTTP {delivery.last_status}"
    return answer if delivery.duration_seconds is None else f"{answer}, after {delivery.duration_seconds:.3f} s"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
