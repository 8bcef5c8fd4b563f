"""A delivery for people or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import assert_never

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId, find_any_delivery
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.deliveries.timeline import TimelineAttempt, timeline_of
from cdc_bridge.endpoints.status import age
from cdc_bridge.model import DeliveryState, SkipReason


async def delivery_of(
    sessions: Sessions, delivery_id: DeliveryId, endpoint_name: str | None, *, with_responses: bool
) -> tuple[DeliveryDetails, list[TimelineAttempt]]:
    """Read a delivery and its attempts.

    Args:
        sessions: To the database.
        delivery_id: What identifies it.
        endpoint_name: May be ``None`` if only one endpoint has it.
        with_responses: Whether to read the responses that are kept.

    Raises:
        DatabaseUnavailable: The database does not respond.
        InstallationError: The SQL side is not what is needed.
        BridgeError: There is no such delivery, or several endpoints have it.
    """
    delivery = await find_any_delivery(sessions, delivery_id, endpoint_name)
    timeline = await sessions.read(partial(timeline_of, delivery=delivery, with_responses=with_responses))
    return delivery, timeline


def as_json(delivery: LoggedDelivery) -> dict[str, object]:
    """Return a delivery as JSON; the names are the delivery log's columns."""
    names = (field.name for field in fields(LoggedDelivery) if field.name != "endpoint_id")
    return {name: getattr(delivery, name) for name in names}


def details_as_json(delivery: DeliveryDetails, timeline: Sequence[TimelineAttempt]) -> dict[str, object]:
    """Return a delivery and its attempts as JSON."""
    newer = {"newest_seq": delivery.newest_seq, "newer_delivered_seq": delivery.newer_delivered_seq}
    return as_json(delivery) | newer | {"timeline": [asdict(attempt) for attempt in timeline]}


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
    if delivery.recorded_at is not None:
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
    which = "" if attempts == 1 else "all " if failures >= attempts else "the last one "
    status = f" (HTTP {delivery.last_status})" if rejected else ""
    return f"{text}, {which}{how}{status}"


def _state(delivery: DeliveryDetails) -> str:
    match delivery.state:
        case DeliveryState.QUEUED | DeliveryState.RETRYING:
            return f"{delivery.state}: {_next_attempt(delivery)}"
        case DeliveryState.DELIVERED:
            return "delivered"
        case DeliveryState.SUPERSEDED:
            return f"superseded: delivery {delivery.newest_seq} is newer and has its content"
        case DeliveryState.DEAD:
            return "dead: the last attempt of the schedule failed"
        case DeliveryState.SKIPPED:
            return f"skipped: {_skip_reason(delivery)}"
        case _ as never:
            assert_never(never)


def _next_attempt(delivery: DeliveryDetails) -> str:
    if delivery.recorded_at is None and delivery.attempts:
        return "held while the endpoint is failing, and sent when its turn comes"
    if delivery.recorded_at is None:
        return "it is in the change log, and is sent when its turn comes"
    if delivery.next_attempt_at is None:
        return f"delivery {delivery.newest_seq}, which is newer, covers both"
    return _due(delivery.next_attempt_at - delivery.read_at)


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
    return f"next attempt in {age(seconds)}" if seconds > 0 else "due now"


def _last_result(delivery: LoggedDelivery) -> str:
    result = delivery.last_error or f"HTTP {delivery.last_status}"
    return result if delivery.duration_seconds is None else f"{result}, after {delivery.duration_seconds:.3f} s"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
