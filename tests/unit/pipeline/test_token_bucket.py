"""The token bucket: never more than the rate in any second, and no request waits longer than it has to."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.pipeline.token_bucket import TokenBucket

SECOND = 1 - 1e-9  # Without its end, and without the last digits of sums of fractions.
BEGINNING = 1000.0

rates = st.one_of(st.sampled_from([0.01, 0.5, 1, 2.5, 5, 49, 50, 51, 100, 1000]), st.floats(0.01, 300))
pauses = st.one_of(st.just(0.0), st.floats(0, 0.03), st.floats(0, 5), st.just(100.0))


def most_in_a_second(times: list[float]) -> int:
    return max((bisect_left(times, at + SECOND) - index for index, at in enumerate(times)), default=0)


@given(rates, st.lists(st.tuples(pauses, st.integers(1, 300), pauses), max_size=60))
def test_no_second_has_more_than_the_rate_however_requests_arrive_and_loading_delays_them(
    rate: float, arrivals: list[tuple[float, int, float]]
) -> None:
    bucket, now = TokenBucket(rate, BEGINNING), BEGINNING
    sent: list[float] = []
    for pause, wanted, loading in arrivals:
        now += pause
        enough = min(len(sent) + wanted, 1500)
        while len(sent) < enough:
            now = max(now, bucket.next_at(now))
            taken = min(enough - len(sent), bucket.available(now))
            assert taken > 0
            now += loading
            for _ in range(taken):
                bucket.spend(now)
                sent.append(now)
    assert most_in_a_second(sent) <= math.ceil(rate)


@given(rates)
def test_backlog_is_sent_at_nearly_the_rate(rate: float) -> None:
    bucket, now, sent = TokenBucket(rate, BEGINNING), BEGINNING, 0
    while sent < 500:
        now = max(now, bucket.next_at(now))
        bucket.spend(now)
        sent += 1
    assert now - BEGINNING <= 1 + 500 / (0.98 * rate) * (1 + 1e-9)


def test_requests_are_spread_evenly_after_a_quiet_hour_too() -> None:
    bucket = TokenBucket(5, BEGINNING)
    now = BEGINNING + 3600
    assert bucket.available(now) == 1
    for _ in range(10):
        bucket.spend(now)
        assert bucket.available(now) == 0
        assert 0.18 < bucket.next_at(now) - now < 0.21
        now = bucket.next_at(now)


def test_high_rate_has_the_tokens_of_a_fiftieth_of_a_second_at_once() -> None:
    assert TokenBucket(10_000, BEGINNING).available(BEGINNING + 3600) == 201


@pytest.mark.parametrize(("rate", "seconds"), [(0.01, 1), (1, 1), (4, 0.25), (1000, 0.001)])
def test_new_bucket_is_empty_for_as_long_as_a_token_takes_but_no_longer_than_a_second(
    rate: float, seconds: float
) -> None:
    """What a bucket before it let through within the last second may be all that is allowed."""
    bucket = TokenBucket(rate, BEGINNING)
    assert bucket.available(BEGINNING + 0.999 * seconds) == 0
    assert bucket.available(BEGINNING + 1.03 * seconds) == 1


def test_clock_that_jumps_ahead_makes_no_burst_and_one_that_is_set_back_no_long_pause() -> None:
    bucket = TokenBucket(2, BEGINNING)
    ahead = BEGINNING + 86_400
    assert bucket.available(ahead) == 1
    bucket.spend(ahead)
    back = BEGINNING - 86_400
    assert bucket.available(back) == 0
    assert bucket.next_at(back) - back < 0.52
    assert bucket.available(back + 0.52) == 1


def test_token_that_is_given_back_is_there_at_once() -> None:
    bucket = TokenBucket(0.01, BEGINNING)
    now = BEGINNING + 1
    bucket.give_back(bucket.spend(now))
    assert bucket.available(now) == 1
    bucket.spend(now)
    assert bucket.available(now + 90) == 0


def test_token_that_is_given_back_after_another_was_spent_makes_no_second_fuller() -> None:
    bucket = TokenBucket(1, BEGINNING)
    first = bucket.spend(BEGINNING + 10)
    bucket.spend(BEGINNING + 11.1)
    bucket.give_back(first)
    assert bucket.available(BEGINNING + 11.5) == 0


def test_bucket_wastes_tokens_once_it_is_full() -> None:
    bucket, now = TokenBucket(1, BEGINNING), BEGINNING + 10
    bucket.spend(now)
    assert not bucket.is_wasting(bucket.next_at(now))
    assert bucket.is_wasting(now + 3)


def test_without_a_rate_there_is_always_a_token() -> None:
    bucket = TokenBucket(None, BEGINNING)
    for _ in range(1000):
        assert bucket.available(BEGINNING) > 1_000_000
        bucket.spend(BEGINNING)
    assert bucket.next_at(BEGINNING) == BEGINNING
    assert bucket.is_wasting(BEGINNING)
