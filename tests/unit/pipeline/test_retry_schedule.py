from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.pipeline.retry_schedule import SCHEDULE_SECONDS, pause_seconds


@given(st.integers(1, len(SCHEDULE_SECONDS)), st.floats(0, 1, exclude_max=True))
def test_pause_is_that_of_the_schedule_give_or_take_a_tenth(attempts: int, random: float) -> None:
    assert pause_seconds(attempts, random) == pytest.approx(SCHEDULE_SECONDS[attempts - 1], rel=0.1 + 1e-9)


def test_middle_of_the_jitter_is_the_schedule_itself() -> None:
    hour = 3600
    assert [pause_seconds(attempts, 0.5) for attempts in range(1, 11)] == [
        5, 15, 60, 300, 900, hour, 3 * hour, 6 * hour, 12 * hour, 24 * hour,
    ]  # fmt: skip


def test_delivery_is_dead_after_the_last_step() -> None:
    assert pause_seconds(len(SCHEDULE_SECONDS) + 1, 0.5) is None
