"""What the delivery log has of a delivery, for people or as JSON."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import assert_never

from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId, find_delivery
from cdc_bridge.model import DeliveryState, SkipReason


async def delivery_of(database_url: str, delivery_id: DeliveryId, endpoint_name: str | None) -> DeliveryDetails:
    """Read a delivery on a connection of its own.

    Raises:
        DatabaseUnavailable: The database does not respond.
        InstallationError: The SQL side is not what is needed.
        BridgeError: There is no such delivery, or several endpoints have it.
    """
    async with one_connection(database_url) as connection:
        await require_ready(connection)
        return await find_delivery(connection, delivery_id, endpoint_name)


def as_json(delivery: LoggedDelivery) -> dict[str, object]:
    """Return a delivery as JSON; the names are the delivery log's columns."""
    names = (field.name for field in fields(LoggedDelivery) if field.name != "endpoint_id")
    values = {name: getattr(delivery, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def as_rows(delivery: DeliveryDetails, delivery_id: DeliveryId) -> list[tuple[str, str]]:
    """Return a delivery as labels and texts.

    Args:
        delivery: The delivery.
        delivery_id: What was asked for: a webhook-id may be that of an earlier attempt.
    """
    rows = [
        ("delivery", f"{delivery.seq} to {delivery.endpoint}"),
        ("reservation", delivery.reservation_id),
        ("change", f"{delivery.operation}, {_time(delivery.changed_at)}"),
        ("state", _state(delivery)),
        ("attempts", _attempts(delivery)),
    ]
    if delivery.last_attempt_at is not None:
        rows.append(("last attempt", f"{_time(delivery.last_attempt_at)}: {_last_result(delivery)}"))
    if delivery.message_id is not None:
        rows.append(("webhook-id", delivery.message_id))
    if delivery_id.message_id not in {None, delivery.message_id}:
        rows.append(("", f"{delivery_id.message_id} is of an earlier attempt, with another body"))
    rows.append(("recorded", _time(delivery.recorded_at)))
    return rows


def _attempts(delivery: LoggedDelivery) -> str:
    # As "4 attempts, all rejected by the endpoint (HTTP 422)".
    attempts, failures = delivery.attempts, delivery.failures
    if not attempts:
        return "none"
    text = "1 attempt" if attempts == 1 else f"{attempts:,} attempts"
    if delivery.state is DeliveryState.DELIVERED:
        return text if attempts == 1 else f"{text}, the last one successful"
    if not failures:
        return text  # None counts for the schedule: the endpoint was failing, or they were before a retry by hand.
    rejected = delivery.last_status is not None and 400 <= delivery.last_status < 500
    how = "rejected by the endpoint" if rejected else "failed"
    which = "" if attempts == 1 else "all " if failures >= attempts else f"{failures:,} of them "
    status = f" (HTTP {delivery.last_status})" if rejected else ""
    return f"{text}, {which}{how}{status}"


def _state(delivery: DeliveryDetails) -> str:
    match delivery.state:
        case DeliveryState.QUEUED | DeliveryState.RETRYING:
            if delivery.next_attempt_at is None:
                return f"{delivery.state}: delivery {delivery.newest_seq}, which is newer, covers both"
            return f"{delivery.state}: {_due(delivery.next_attempt_at - delivery.read_at)}"
        case DeliveryState.DELIVERED:
            return "delivered"
        case DeliveryState.SUPERSEDED:
            return f"superseded: delivery {delivery.newest_seq} is newer and has its content"
        case DeliveryState.DEAD:
            return f"dead: the last attempt of the schedule failed; to retry: cdc-bridge delivery retry {delivery.seq}"
        case DeliveryState.SKIPPED:
            return f"skipped: {_skip_reason(delivery)}"
        case _ as never:
            assert_never(never)


def _skip_reason(delivery: LoggedDelivery) -> str:
    match delivery.skip_reason:
        case SkipReason.DELETED:
            return "the reservation was deleted before it was sent"
        case SkipReason.FILTERED:
            return "the reservation is not in the endpoint's payload, or does not meet its conditions"
        case SkipReason.EVENT:
            return f"the endpoint does not get reservations that were {delivery.operation}"
        case SkipReason.UNCHANGED:
            return "the body is the one that was delivered last"
        case None:
            return "for an unknown reason"
        case _ as never:
            assert_never(never)


def _due(ahead: timedelta) -> str:
    seconds = round(ahead.total_seconds())
    return f"next attempt in {timedelta(seconds=seconds)}" if seconds > 0 else "due now"


def _last_result(delivery: LoggedDelivery) -> str:
    result = delivery.last_error or f"HTTP {delivery.last_status}"
    return result if delivery.duration_seconds is None else f"{result}, after {delivery.duration_seconds:.3f} s"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
