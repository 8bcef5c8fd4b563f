"""How an endpoint is, from what its row and its lease say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cdc_bridge.endpoints.status import EndpointFacts, EndpointStanding, State, standing_of
from cdc_bridge.model import EndpointId

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LATER = NOON + timedelta(seconds=42)
FACTS = EndpointFacts(
    endpoint_id=EndpointId(1),
    name="till",
    in_settings=False,
    url="https://till.example/x?token=t",
    paused_at=None,
    disabled_at=None,
    failing_since=None,
    next_probe_at=None,
    problem=None,
    daemon_name="host:1",
    same_cluster=True,
    held=True,
)
FAILING: dict[str, Any] = {"failing_since": NOON, "next_probe_at": LATER, "problem": "HTTP 503 Service Unavailable"}


@pytest.mark.parametrize(
    ("changes", "state", "sentence"),
    [
        ({}, State.HEALTHY, "healthy"),
        (
            FAILING,
            State.BACKING_OFF,
            "backing off until 12:00:42 UTC (since 2026-11-24 12:00:00 UTC; HTTP 503 Service Unavailable)",
        ),
        ({"paused_at": NOON}, State.PAUSED, "paused since 2026-11-24 12:00:00 UTC"),
        ({"disabled_at": NOON}, State.DISABLED, "disabled since 2026-11-24 12:00:00 UTC (it answered 410)"),
        ({"disabled_at": NOON, "paused_at": LATER}, State.DISABLED, None),
        ({"paused_at": NOON, "problem": "ca_file names /x"}, State.PAUSED, None),
        ({"held": False}, State.NO_DAEMON, "no daemon"),
        ({"held": False, "daemon_name": None}, State.NO_DAEMON, "no daemon"),
        (
            {"held": False, "problem": "url has to begin with https://"},
            State.UNCALLABLE,
            "cannot be called: url has to begin with https://",
        ),
        ({"held": False, "same_cluster": False}, State.UNCALLABLE, None),
        ({"held": False, **FAILING}, State.NO_DAEMON, "no daemon"),  # what a daemon left that was killed
    ],
)
def test_state_and_words(changes: dict[str, Any], state: State, sentence: str | None) -> None:
    standing = standing_of(replace(FACTS, **changes))
    assert standing.state is state
    if sentence is not None:
        assert standing.sentence(UTC) == sentence


def test_restored_copy_says_what_to_do() -> None:
    standing = standing_of(replace(FACTS, held=False, same_cluster=False))
    assert "cdc_bridge.adopt()" in (standing.reason or "")


def test_times_are_told_in_the_time_zone_of_whoever_asks() -> None:
    standing = standing_of(replace(FACTS, **FAILING))
    assert standing.sentence(timezone(timedelta(hours=1), "HERE")).startswith(
        "backing off until 13:00:42 HERE (since 2026-11-24 13:00:00 HERE;"
    )


def test_failing_endpoint_of_which_no_more_is_known_has_words_all_the_same() -> None:
    assert "None" not in EndpointStanding(State.BACKING_OFF, NOON, LATER).sentence(UTC)


def test_only_a_daemon_that_lives_is_shown_and_no_query_of_a_url() -> None:
    assert FACTS.holder == "host:1"
    assert replace(FACTS, held=False).holder is None
    assert FACTS.shown_url == "https://till.example/x?..."
