"""Lines that strangers cause, with a clock of the test's own."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp.http import HttpProcessingError

from cdc_bridge.web.limited_log import LimitedLog, ServerLogger, WebLog


class Lines:
    """Takes what is logged."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []

    def __call__(self, event: str, **facts: Any) -> None:
        self.logged.append({"event": event} | facts)


def test_first_event_is_logged_at_once_and_the_others_in_one_line_a_minute() -> None:
    lines = Lines()
    log = LimitedLog(lines, "noise")
    log.note(0.0, "a", status=400)
    for second in range(1, 59):
        log.note(float(second), "b")
        log.flush(float(second))
    assert lines.logged == [{"event": "noise", "status": 400, "address": "a"}]
    log.note(59.0, "c")
    log.flush(60.0)
    assert lines.logged[1:] == [{"event": "noise", "count": 59, "addresses": ["b", "c"]}]
    log.note(61.0, "a")  # The minute has its line.
    log.flush(119.0)
    assert len(lines.logged) == 2
    log.flush(120.0)
    assert lines.logged[2:] == [{"event": "noise", "count": 1, "addresses": ["a"]}]
    log.flush(180.0)
    log.note(181.0, "a")
    assert lines.logged[3:] == [{"event": "noise", "address": "a"}]


def test_some_events_are_logged_singly_first() -> None:
    lines = Lines()
    log = LimitedLog(lines, "signed in", singly=3)
    for _ in range(5):
        log.note(0.0, "a", session="s")
    log.flush(1.0, at_once=True)
    assert lines.logged == [{"event": "signed in", "session": "s", "address": "a"}] * 3 + [
        {"event": "signed in", "count": 2, "addresses": ["a"]}
    ]


def test_addresses_are_counted_within_bounds() -> None:
    lines = Lines()
    log = LimitedLog(lines, "noise")
    for number in range(5_000):
        log.note(0.0, str(number))
    log.note(0.0, "7")
    assert len(log._addresses) == 1000
    log.flush(60.0)
    assert lines.logged[1]["count"] == 5000
    assert lines.logged[1]["addresses"][0] == "7"
    assert len(lines.logged[1]["addresses"]) == 5


def test_request_that_cannot_be_parsed_is_counted_at_any_level_and_its_text_dropped() -> None:
    log, lines = WebLog(), Lines()
    log.malformed, log.crashed = LimitedLog(lines, "malformed"), LimitedLog(lines, "crashed")
    logger = ServerLogger(log)
    for method in (logger.debug, logger.exception):
        error = HttpProcessingError(code=400, message="x-secret: guest", headers=None)
        method("Error handling request from %s", "192.0.2.7", exc_info=error)
    assert lines.logged == [{"event": "malformed", "address": "192.0.2.7"}]
    logger.log(logging.DEBUG, "nothing in particular")
    bug = ValueError("a bug")
    logger.error("Unhandled exception", exc_info=bug)
    assert lines.logged[1:] == [{"event": "crashed", "address": "", "exc_info": bug}]
