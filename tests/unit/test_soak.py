"""The soak test itself: what it breaks, and that it notices what it is there to notice."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from tests.soak.accepted import Accepted, content_of
from tests.soak.daemons import Sample
from tests.soak.plan import OTHER, STEADY, STEADY_FROM, ClosedPort, Kill, Outage, Restart, plan
from tests.soak.verdict import Memory, Verdict, memory

SECONDS = 1800.0
GOOD = Verdict(
    counts={"accepted": 10}, examples=[], transactions=9, broken={}, written=5, missing=[], phantom=[], unsettled=0,
    dead_letters=0, not_leased=0, settled_after_seconds=1.0, memory=Memory(100.0, 110.0, judged=True), crashes=0,
)  # fmt: skip


@pytest.mark.parametrize("seconds", [20.0, SECONDS])
def test_everything_breaks_and_is_mended_before_the_end(seconds: float) -> None:
    events = plan(1, seconds, endpoints=1000, ports=20)
    assert {type(event) for event in events} >= {Outage, Kill, Restart}
    assert all(event.at < 0.96 * seconds for event in events)
    assert all(event.at + event.seconds <= 0.96 * seconds for event in events if isinstance(event, Outage | ClosedPort))


def test_seed_repeats_what_breaks() -> None:
    one, again, other = (plan(seed, SECONDS, endpoints=50, ports=20) for seed in (1, 1, 2))
    assert one == again != other


def test_one_daemon_is_left_alone_and_the_other_is_killed_to_the_end() -> None:
    kills = [event for event in plan(3, SECONDS, endpoints=50, ports=20) if isinstance(event, Kill)]
    assert all(kill.at <= STEADY_FROM * SECONDS for kill in kills if kill.daemon == STEADY)
    assert max(kill.at for kill in kills if kill.daemon == OTHER) > 0.75 * SECONDS


@pytest.mark.parametrize("seed", range(5))
def test_memory_is_compared_with_a_quarter_that_has_as_many_restarts(seed: int) -> None:
    restarts = [
        event.at / SECONDS for event in plan(seed, SECONDS, endpoints=50, ports=20) if isinstance(event, Restart)
    ]
    second, last = (sum(start <= at < start + 0.25 for at in restarts) for start in (0.25, 0.75))
    assert second >= last >= 2


def body(version: int, reference: int = 7, notes: str = "") -> bytes:
    return orjson.dumps({"id": "R", "reference": reference, "duration": version, "notes": notes})


def test_last_content_of_a_reservation_is_kept() -> None:
    accepted = Accepted(10)
    accepted.take(7, "1-a", 1, body(1, notes="first"))
    accepted.take(7, "2-b", 2, body(2, notes="last"))
    assert accepted.contents() == {"R": content_of("R", 2, "last")}
    assert accepted.counts == {"accepted": 2}


@pytest.mark.parametrize(("sequence", "version"), [(1, 3), (2, 1)], ids=["sequence", "content"])
def test_request_that_goes_back_is_out_of_order(sequence: int, version: int) -> None:
    accepted = Accepted(10)
    accepted.take(7, "2-b", 2, body(2))
    accepted.take(7, "another", sequence, body(version))
    assert accepted.counts["out of order"] == 1
    assert accepted.examples


def test_repetition_of_an_accepted_request_is_in_order_and_changes_nothing() -> None:
    accepted = Accepted(10)
    for message_id, sequence, version in (("1-a", 1, 1), ("2-b", 2, 2), ("1-a", 1, 1)):
        accepted.take(7, message_id, sequence, body(version))
    assert accepted.counts == {"accepted": 3, "repeated": 1}
    assert accepted.contents() == {"R": content_of("R", 2, "")}


def test_reservation_of_another_restaurant_is_misrouted() -> None:
    accepted = Accepted(10)
    accepted.take(7, "1-a", 1, body(1, reference=18))
    assert accepted.counts["misrouted"] == 1


def test_memory_is_that_of_the_steady_daemon_after_the_first_quarter() -> None:
    samples = [
        Sample(at, daemon, megabytes)
        for at, daemon, megabytes in ((0, STEADY, 500.0), (30, STEADY, 90.0), (40, OTHER, 900.0), (90, STEADY, 95.0))
    ]
    assert memory(samples, 100.0) == Memory(90.0, 95.0, judged=False)


def test_memory_that_grows_is_a_problem_only_after_a_run_that_was_long_enough() -> None:
    assert Memory(100.0, 140.0, judged=True).grown
    assert not Memory(100.0, 140.0, judged=False).grown


def test_run_as_promised_passes() -> None:
    assert GOOD.problems() == []
    assert GOOD.report().splitlines()[-1].startswith("PASSED")


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": {}}, {"counts": {"accepted": 1, "out of order": 1}}, {"counts": {"accepted": 1, "misrouted": 1}},
        {"missing": ["R1"]}, {"phantom": ["R1"]}, {"unsettled": 1}, {"dead_letters": 1}, {"not_leased": 1},
        {"memory": Memory(100.0, 140.0, judged=True)}, {"crashes": 1}, {"ended": ["daemon 0 ended by itself"]},
    ],
    ids=str,
)  # fmt: skip
def test_run_that_breaks_a_promise_fails(wrong: dict[str, object]) -> None:
    found = replace(GOOD, **wrong)  # type: ignore[arg-type]
    assert len(found.problems()) == 1
    assert found.report().splitlines()[-1] == "FAILED"
