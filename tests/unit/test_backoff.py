from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.backoff import Backoff


def test_pause_doubles_up_to_the_limit() -> None:
    backoff = Backoff(first_seconds=0.1, longest_seconds=5.0)
    assert [backoff.pause_seconds(failures) for failures in range(1, 9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_outage_of_years_is_no_overflow() -> None:
    assert Backoff(first_seconds=1.0, longest_seconds=60.0).pause_seconds(10**9) == 60.0


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_jitter_shortens_a_pause_by_its_part_at_most(failures: int, random: float) -> None:
    plain = Backoff(first_seconds=1.0, longest_seconds=60.0).pause_seconds(failures)
    pause = Backoff(first_seconds=1.0, longest_seconds=60.0, jitter=0.1).pause_seconds(failures, random)
    assert 0.9 * plain <= pause <= plain
