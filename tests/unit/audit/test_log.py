"""Entries of the audit log, and places in its list."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cdc_bridge.audit.actor import Via, of_command
from cdc_bridge.audit.log import Cursor, Entry


def test_place_in_the_list_is_written_and_parsed() -> None:
    at = datetime(2026, 7, 1, 18, 30, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert Cursor.parse(str(Cursor(at, 7))) == Cursor(at.astimezone(UTC), 7)


@pytest.mark.parametrize(
    "text",
    ["", "7", "2026-07-01T18:30:00Z", "2026-07-01T18:30:00-7", "2026-13-01T18:30:00Z-7", "x-7",
     "2026-07-01T18:30:00Z-٣", "2026-07-01T18:30:00Z-99999999999999999999", "' or 1 = 1 --"],
)  # fmt: skip
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a cursor of this list"):
        Cursor.parse(text)


def entry(via: str) -> Entry:
    details = {"options": ["headers", "url"], "old_until": None, "times": 3}
    return Entry(1, datetime(2026, 7, 1, tzinfo=UTC), "anna", "cdc_bridge", via, "endpoint changed", "till", details)


def test_entry_is_told_to_people() -> None:
    assert entry("dashboard").told_details == "options: headers url, old until: None, times: 3"
    assert entry("dashboard").told_who == "anna"
    assert entry("command").told_who == "anna (cdc_bridge)"


def test_who_runs_a_command_is_not_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    monkeypatch.delenv("SUDO_USER", raising=False)
    before = of_command()
    assert before.via is Via.COMMAND
    assert "somebody-else" not in before.who
    monkeypatch.setenv("SUDO_USER", "anna")
    assert of_command().who == f"anna as {before.who}"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    monkeypatch.delenv("SUDO_USER")
    assert of_command().who.startswith("4000000@")
