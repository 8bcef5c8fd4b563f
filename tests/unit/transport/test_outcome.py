from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.transport.outcome import (
    LONGEST_RETRY_AFTER_SECONDS,
    Delivered,
    Failed,
    Fault,
    judge,
    retry_after_seconds,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_accepted(status: int) -> None:
    assert judge(status, {}, NOW) == Delivered(status)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (301, Fault.ENDPOINT), (308, Fault.ENDPOINT), (401, Fault.ENDPOINT), (403, Fault.ENDPOINT),
        (404, Fault.ENDPOINT),
        (407, Fault.ENDPOINT), (408, Fault.ENDPOINT), (500, Fault.ENDPOINT), (503, Fault.ENDPOINT),
        (400, Fault.DELIVERY), (409, Fault.DELIVERY), (413, Fault.DELIVERY), (422, Fault.DELIVERY),
        (410, Fault.WITHDRAWN), (429, Fault.OVERLOAD), (599, Fault.ENDPOINT), (999, Fault.ENDPOINT),
    ],
)  # fmt: skip
def test_whose_fault_a_status_speaks_of(status: int, fault: Fault) -> None:
    outcome = judge(status, {}, NOW)
    assert isinstance(outcome, Failed)
    assert outcome.fault is fault


def test_503_that_asks_for_a_pause_is_an_overload() -> None:
    outcome = judge(503, {"retry-after": "7"}, NOW)
    assert isinstance(outcome, Failed)
    assert (outcome.fault, outcome.retry_after_seconds) == (Fault.OVERLOAD, 7)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("\t0120", 120),
        ("12.0", 12),
        ("0.493", 0.493),
        ("292.052427053", 292.052427053),
        ("12.", 12),
        ("12, 12", 12),
        ("12,30.5", 30.5),
        ("0", 0),
    ],
)
def test_retry_after_in_seconds(text: str, seconds: float) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 01 Mar 2026 12:00:30 GMT",
        "Sunday, 01-Mar-26 12:00:30 GMT",
        "Sun Mar  1 12:00:30 2026",
        " Sun Mar 01 12:00:30 2026 ",
        "Sun, 01 Mar 2026 12:00:30 UTC",
        "Sun, 1 Mar 2026 12:00:30",
        "Sun, 01 Mar 2026 13:00:30 +0100",
        "Sun, 01 Mar 2026 12:00:30 GMT, Sun, 01 Mar 2026 12:00:30 GMT",
        "2026-03-01T12:00:30Z",
    ],
)
@pytest.mark.parametrize("date", [None, "Sun Mar  1 11:59:30 2026", "Sunday, 01-Mar-26 11:59:30 GMT"])
def test_retry_after_as_a_date_in_every_format(text: str, date: str | None) -> None:
    headers = {"retry-after": text} | ({} if date is None else {"date": date})
    assert retry_after_seconds(headers, NOW) == (30 if date is None else 60)


def test_retry_after_as_a_date_by_our_clock() -> None:
    later = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after_seconds({"retry-after": later}, NOW) == 90


def test_retry_after_as_a_date_is_taken_by_the_clock_of_the_endpoint() -> None:
    theirs = NOW + timedelta(hours=5)
    headers = {
        "date": format_datetime(theirs, usegmt=True),
        "retry-after": format_datetime(theirs + timedelta(seconds=30), usegmt=True),
    }
    assert retry_after_seconds(headers, NOW) == 30


@pytest.mark.parametrize("text", ["86400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_is_capped(text: str) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) == LONGEST_RETRY_AFTER_SECONDS


def test_date_in_the_past_asks_for_no_pause() -> None:
    assert retry_after_seconds({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, NOW) == 0


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-5", "-0.5", "1e5", "inf", "nan", ".", "0x10", "1m0s", "12,", "12, soon", "٣", "12 12 12",
     "Sun, 99 Nov 2026 08:49:37 GMT", "2026-13-01"],
)  # fmt: skip
def test_nonsense_is_no_retry_after(text: str) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) is None


@given(st.text(), st.text())
def test_no_text_is_too_strange(retry_after: str, date: str) -> None:
    pause = retry_after_seconds({"retry-after": retry_after, "date": date}, NOW)
    assert pause is None or 0 <= pause <= LONGEST_RETRY_AFTER_SECONDS
