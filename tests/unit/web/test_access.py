"""Sessions and the limit of wrong tokens, with a clock of the test's own."""

from __future__ import annotations

import pytest

from cdc_bridge.access.rights import Holder, Right
from cdc_bridge.web import access
from cdc_bridge.web.access import IDLE_SECONDS, LONGEST_SECONDS, MOST_SESSIONS, Sessions, WrongTokens

ALL = Holder("web_token", Right.CHANGE)
VIEW = Holder("viewer", Right.VIEW, token_id=1)


def test_session_ends_when_it_is_not_used_and_a_page_that_refreshes_itself_is_no_use() -> None:
    sessions = Sessions()
    cookie, session = sessions.open(ALL, 0.0)
    assert sessions.find(cookie, IDLE_SECONDS) is session
    assert sessions.find(cookie, 2 * IDLE_SECONDS, automatic=True) is session
    assert sessions.find(cookie, 2 * IDLE_SECONDS + 1) is None
    assert sessions.find(cookie, 0.0) is None


def test_session_ends_however_much_it_is_used() -> None:
    sessions = Sessions()
    cookie, session = sessions.open(ALL, 0.0)
    now = 0.0
    while now + IDLE_SECONDS / 2 <= LONGEST_SECONDS:
        now += IDLE_SECONDS / 2
        assert sessions.find(cookie, now) is session
    assert sessions.find(cookie, LONGEST_SECONDS + 1) is None


def test_session_that_was_closed_is_gone_and_others_are_not() -> None:
    sessions = Sessions()
    cookie, _ = sessions.open(ALL, 0.0)
    other, session = sessions.open(VIEW, 0.0)
    assert cookie != other
    sessions.close(cookie)
    sessions.close("no such cookie")
    assert sessions.find(cookie, 1.0) is None
    assert sessions.find(other, 1.0) is session


def test_there_are_no_more_sessions_than_so_many() -> None:
    sessions = Sessions()
    cookies = [sessions.open(VIEW, 0.0)[0] for _ in range(MOST_SESSIONS + 1)]
    assert sessions.find(cookies[0], 1.0) is None
    assert all(sessions.find(cookie, 1.0) for cookie in cookies[1:])


def test_no_two_sessions_have_the_same_form_token() -> None:
    sessions = Sessions()
    assert sessions.open(ALL, 0.0)[1].form_token != sessions.open(ALL, 0.0)[1].form_token


def test_token_that_was_removed_ends_its_sessions_and_no_others() -> None:
    sessions = Sessions()
    kept, session = sessions.open(ALL, 0.0)
    ended = [sessions.open(VIEW, 0.0)[0] for _ in range(3)]
    sessions.close_all_of(VIEW)
    sessions.close_all_of(VIEW)
    assert [sessions.find(cookie, 1.0) for cookie in ended] == [None] * 3
    assert sessions.find(kept, 1.0) is session


def test_holders_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_HOLDERS", 3)
    sessions = Sessions()
    used, _ = sessions.open(ALL, 0.0)
    for number in range(10):
        sessions.open(Holder(f"portal of {number}", Right.VIEW, f"{number}", number), 0.0)
        assert sessions.find(used, 1.0)
    assert len(sessions._holders) == 3


def test_session_that_may_view_ends_none_that_may_change() -> None:
    sessions = Sessions()
    cookie, session = sessions.open(ALL, 0.0)
    for _ in range(3 * MOST_SESSIONS):
        sessions.open(VIEW, 0.0)
    assert sessions.find(cookie, 1.0) is session


def test_session_that_is_used_outlasts_those_that_are_not() -> None:
    sessions = Sessions()
    cookie, session = sessions.open(VIEW, 0.0)
    for _ in range(3 * MOST_SESSIONS):
        sessions.open(VIEW, 0.0)
        assert sessions.find(cookie, 1.0, automatic=True) is session


def test_after_ten_wrong_tokens_a_client_is_told_to_wait_until_ten_minutes_are_over() -> None:
    wrong = WrongTokens()
    for number in range(10):
        assert wrong.note("10.0.0.1", float(number)) == 0
    assert wrong.note("10.0.0.1", 10.0) == 590.0
    assert wrong.note("10.0.0.1", 20.0) == 580.0
    assert wrong.note("10.0.0.2", 20.0) == 0
    assert wrong.note("10.0.0.1", 600.0) == 0


def test_no_more_clients_are_kept_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_MOST_CLIENTS", 3)
    wrong = WrongTokens()
    for number in range(10):
        wrong.note(f"10.0.0.{number}", 0.0)
    assert len(wrong._at) == 3
