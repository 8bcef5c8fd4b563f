"""What became of each attempt of a delivery, in order.

Attempts are kept of deliveries that did not succeed at once. The last one of a delivery stands in the delivery log too,
and only there if it was the only one, or if the attempts could not be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class TimelineAttempt:
    """An attempt, with the columns of ``sql/tables/attempt.sql``."""

    number: int
    began_at: datetime
    duration_seconds: float
    status: int | None
    reason: str | None
    flaw: str | None
    address: str | None
    protocol: str | None
    message_id: str | None
    response: str | None
    """What a failed response began with, if its endpoint keeps that; may have guest data in it."""

    @property
    def result(self) -> str:
        """What it came to, for people."""
        result = self.reason or ("" if self.status is None else f"HTTP {self.status}")
        return result if self.flaw is None else f"{result}; the response had {self.flaw}"


async def timeline_of(
    connection: AsyncConnection[TupleRow], delivery: LoggedDelivery, *, with_responses: bool
) -> list[TimelineAttempt]:
    """Return the attempts of a delivery, as far as they are kept.

    Args:
        connection: To the database.
        delivery: The delivery.
        with_responses: Whether to read the responses that are kept, which not everybody may.
    """
    statement = "attempts_with_responses" if with_responses else "attempts"
    async with connection.cursor(row_factory=class_row(TimelineAttempt)) as cursor:
        await cursor.execute(_queries[statement], {"endpoint_id": delivery.endpoint_id, "seq": delivery.seq})
        return completed(await cursor.fetchall(), delivery)


def completed(kept: Sequence[TimelineAttempt], delivery: LoggedDelivery) -> list[TimelineAttempt]:
    """Return the attempts that are kept, with the last one that the delivery log has of the delivery."""
    at = delivery.last_attempt_at
    if at is None or any(attempt.began_at == at for attempt in kept):
        return [*kept]
    last = TimelineAttempt(
        number=max(delivery.attempts, 1),
        began_at=at,
        duration_seconds=delivery.duration_seconds or 0.0,
        status=delivery.last_status,
        reason=delivery.last_error,
        flaw=None,
        address=None,
        protocol=None,
        message_id=delivery.message_id,
        response=None,
    )
    if not kept:
        return [last]
    if at > kept[-1].began_at:
        return [*kept, _numbered(last, max(last.number, kept[-1].number + 1))]
    return [last, *kept] if at < kept[0].began_at and last.number < kept[0].number else [*kept]


def _numbered(attempt: TimelineAttempt, number: int) -> TimelineAttempt:
    return TimelineAttempt(**asdict(attempt) | {"number": number})


def attempts_between(timeline: Sequence[TimelineAttempt]) -> dict[int, int]:
    """Return how many attempts in front of some others are not kept, by the numbers of these."""
    numbers = [0, *(attempt.number for attempt in timeline)]
    return {after: after - before - 1 for before, after in pairwise(numbers) if after > before + 1}


def timeline_rows(timeline: Sequence[TimelineAttempt]) -> list[tuple[str, str, str, str, str]]:
    """Return number, time, duration, result and address of each attempt; and of how many there is nothing more."""
    rows, missing = [], attempts_between(timeline)
    for attempt in timeline:
        if attempt.number in missing:
            rows.append(("", "", "", f"{missing[attempt.number]:,} attempts that are not kept", ""))
        at = attempt.began_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        duration = f"{attempt.duration_seconds:.3f} s"
        rows.append((str(attempt.number), at, duration, attempt.result, attempt.address or ""))
    return rows
