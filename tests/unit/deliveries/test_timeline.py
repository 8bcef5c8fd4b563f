"""The timeline of a delivery: the attempts that are kept, and the last one that the delivery log has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery
from cdc_bridge.deliveries.timeline import TimelineAttempt, attempts_between, completed, timeline_rows
from cdc_bridge.model import DeliveryState, EndpointId, Operation, ReservationId, Seq

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DELIVERY = LoggedDelivery(
    EndpointId(1), "till", Seq(1), ReservationId("R"), Operation.CREATED, NOW, DeliveryState.DELIVERED, None, 3, 0,
    None, 204, None, "1-ab", None, 0.5, NOW,
)  # fmt: skip


def attempt(number: int, minutes: int | None = None, **values: object) -> TimelineAttempt:
    at = NOW + timedelta(minutes=number if minutes is None else minutes)
    made = TimelineAttempt(number, at, 0.25, 422, "HTTP 422", None, "127.0.0.1:443", "HTTP/1.1, TLSv1.3", "1-ab", None)
    return replace(made, **values)  # type: ignore[arg-type]


def delivery(minutes: int | None, attempts: int = 3) -> LoggedDelivery:
    return replace(
        DELIVERY, attempts=attempts, last_attempt_at=None if minutes is None else NOW + timedelta(minutes=minutes)
    )


@pytest.mark.parametrize(
    ("kept", "last_at", "attempts", "numbers"),
    [
        ([], None, 0, []),
        ([], 1, 1, [1]),
        ([1, 2, 3], 3, 3, [1, 2, 3]),  # the delivery log's is the third one
        ([1, 2], None, 0, [1, 2]),  # of what was superseded
        ([1, 2], 3, 1, [1, 2, 3]),  # delivered by a daemon that did not know of those before
        ([1, 2], 3, 5, [1, 2, 5]),
        ([2, 3], 1, 1, [1, 2, 3]),  # delivered once, and rejected when it was replayed
        ([1, 2, 4], 3, 3, [1, 2, 4]),
    ],
)
def test_last_attempt_of_the_delivery_log_is_in_its_place(
    kept: list[int], last_at: int | None, attempts: int, numbers: list[int]
) -> None:
    found = completed([attempt(number) for number in kept], delivery(last_at, attempts))
    assert [each.number for each in found] == numbers
    assert found == sorted(found, key=lambda each: each.began_at)


def test_attempts_that_are_not_kept_are_counted() -> None:
    timeline = [attempt(number) for number in (1, 2, 3, 24, 25)]
    assert attempts_between(timeline) == {24: 20}
    assert attempts_between(timeline[1:3]) == {2: 1}
    assert attempts_between([]) == {}


def test_rows_say_when_how_long_what_and_where() -> None:
    timeline = [
        attempt(1),
        attempt(4, flaw="bytes behind its end"),
        attempt(5, status=204, reason=None, address=None, protocol=None),
    ]
    assert timeline_rows(timeline) == [
        ("1", "2026-06-01 12:01:00", "0.250 s", "HTTP 422", "127.0.0.1:443"),
        ("", "", "", "2 attempts that are not kept", ""),
        (
            "4", "2026-06-01 12:04:00", "0.250 s", "HTTP 422; the response had bytes behind its end",
            "127.0.0.1:443",
        ),
        ("5", "2026-06-01 12:05:00", "0.250 s", "HTTP 204", ""),
    ]  # fmt: skip
