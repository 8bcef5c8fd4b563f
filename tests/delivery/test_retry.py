from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.delivery.retry import SCHEDULE_SECONDS, next_attempt_at

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@given(st.integers(1, len(SCHEDULE_SECONDS)), st.floats(0, 1, exclude_max=True))
def test_pause_is_that_of_the_schedule_give_or_take_a_tenth(attempts: int, random: float) -> None:
    again_at = next_attempt_at(attempts, NOW, random)
    assert again_at is not None
    step = timedelta(seconds=SCHEDULE_SECONDS[attempts - 1])
    assert 0.9 * step <= again_at - NOW <= 1.1 * step


def test_middle_of_the_jitter_is_the_schedule_itself() -> None:
    assert next_attempt_at(1, NOW, 0.5) == NOW + timedelta(seconds=5)


def test_delivery_is_dead_after_the_last_step() -> None:
    assert next_attempt_at(len(SCHEDULE_SECONDS) + 1, NOW, 0.5) is None
