"""Turns, with a clock of the test's own."""

from __future__ import annotations

import pytest

from cdc_bridge.web.pace import Pace


def test_turns_come_at_once_in_a_burst_and_then_at_their_rate_in_order() -> None:
    pace = Pace(per_second=10, burst=3)
    waits = [pace.seconds_until_turn(100.0) for _ in range(6)]
    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])
    assert pace.seconds_until_turn(100.5) == pytest.approx(0)
    assert [pace.seconds_until_turn(200.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])
