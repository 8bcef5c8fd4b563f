from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cdc_bridge.deliveries.lookup import DeliveryId
from cdc_bridge.deliveries.show import as_json, as_rows
from cdc_bridge.model import DeliveryState, Seq, SkipReason
from tests.unit.deliveries.logged import NOON, logged

ID = DeliveryId(Seq(7), None)
RETRYING = {"state": DeliveryState.RETRYING, "last_status": 422, "last_error": "HTTP 422 Unprocessable Content"}


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({}, "1 attempt"),
        ({"attempts": 3}, "3 attempts, the last one successful"),
        ({"state": DeliveryState.SKIPPED, "skip_reason": SkipReason.DELETED, "attempts": 0}, "none"),
        (RETRYING | {"failures": 1}, "1 attempt, rejected by the endpoint (HTTP 422)"),
        (RETRYING | {"attempts": 4, "failures": 4}, "4 attempts, all rejected by the endpoint (HTTP 422)"),
        (
            RETRYING | {"attempts": 4000, "failures": 2},
            "4,000 attempts, the last one rejected by the endpoint (HTTP 422)",
        ),
        (RETRYING | {"attempts": 4, "failures": 4, "last_status": None}, "4 attempts, all failed"),
        (RETRYING | {"attempts": 4, "failures": 4, "last_status": 503}, "4 attempts, all failed"),
        (RETRYING | {"attempts": 4}, "4 attempts"),
    ],
)
def test_attempts_say_how_many_failed_and_why(columns: dict[str, Any], text: str) -> None:
    assert dict(as_rows(logged(**columns), ID))["attempts"] == text


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({}, "delivered"),
        ({"state": DeliveryState.SUPERSEDED}, "superseded: delivery 7 is newer and has its content"),
        (
            {"state": DeliveryState.DEAD},
            "dead: the last attempt of the schedule failed",
        ),
        (
            {"state": DeliveryState.SKIPPED, "skip_reason": SkipReason.DELETED},
            "skipped: the reservation was deleted before it was sent",
        ),
        ({"state": DeliveryState.QUEUED, "next_attempt_at": NOON}, "queued: due now"),
        (
            {"state": DeliveryState.RETRYING, "next_attempt_at": NOON + timedelta(minutes=5)},
            "retrying: next attempt in 5 min",
        ),
        (
            {"state": DeliveryState.QUEUED, "newest_seq": Seq(9)},
            "queued: delivery 9, which is newer, covers both",
        ),
    ],
)
def test_state_says_what_comes_next(columns: dict[str, Any], text: str) -> None:
    assert dict(as_rows(logged(**columns), ID))["state"] == text


def test_last_attempt_has_its_result_and_duration() -> None:
    assert dict(as_rows(logged(), ID))["last attempt"] == "2026-06-01 12:00:00 UTC: HTTP 200, after 0.250 s"
    never_sent = logged(attempts=0, last_attempt_at=None, message_id=None)
    assert {label for label, _ in as_rows(never_sent, ID)} == {
        "delivery", "reservation", "change", "state", "attempts", "recorded",
    }  # fmt: skip


def test_webhook_id_of_an_earlier_attempt_is_pointed_out() -> None:
    earlier = DeliveryId.parse("7-fedcba9876543210")
    assert ("", "7-fedcba9876543210 is of an earlier attempt, with another body") in as_rows(logged(), earlier)
    last = DeliveryId.parse("7-0123456789abcdef")
    assert "" not in dict(as_rows(logged(), last))


def test_json_has_the_columns_of_the_delivery_log() -> None:
    shown = as_json(logged(state=DeliveryState.SKIPPED, skip_reason=SkipReason.DELETED))
    assert list(shown) == [
        "endpoint", "seq", "reservation_id", "operation", "changed_at", "state", "skip_reason", "attempts", "failures",
        "next_attempt_at", "last_status", "last_error", "message_id", "last_attempt_at", "duration_seconds",
        "recorded_at",
    ]  # fmt: skip
    assert (shown["state"], shown["skip_reason"]) == ("skipped", "deleted")
    assert shown["changed_at"] == NOON


def test_state_text_has_the_skip_reason() -> None:
    assert logged().state_text == "delivered"
    assert logged(state=DeliveryState.SKIPPED, skip_reason=SkipReason.DELETED).state_text == "skipped (deleted)"
