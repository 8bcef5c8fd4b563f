"""Log lines that strangers cause: the first ones of a minute singly, then one line with their number.

What a client sends decides how often these are logged, so nothing that it sent is in them but its address.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

import structlog
from aiohttp.http import HttpProcessingError

_AUDITED_SINGLY = 10
_INTERVAL_SECONDS = 60.0
_MOST_ADDRESSES_COUNTED = 1000
_MOST_ADDRESSES_LOGGED = 5

_log = structlog.get_logger(__name__)


class LimitedLog:
    """One event, logged at most so many times a minute. ``now`` is in seconds on a monotonic clock."""

    def __init__(self, write: Callable[..., object], event: str, *, singly: int = 1) -> None:
        """Prepare to log.

        Args:
            write: Logs an event with facts, such as a logger's ``warning``.
            event: The event.
            singly: How many lines a minute are logged as they come.
        """
        self._write = write
        self._event = event
        self._singly = singly
        self._since: float | None = None
        self._logged = 0
        self._count = 0
        self._addresses: Counter[str] = Counter()

    def note(self, now: float, address: str, **facts: object) -> None:
        """Log the event, or count it for the line to come."""
        self.flush(now)
        if self._since is None:
            self._since = now
        if self._logged < self._singly:
            self._logged += 1
            self._write(self._event, **facts, address=address)
            return
        self._count += 1
        if address in self._addresses or len(self._addresses) < _MOST_ADDRESSES_COUNTED:
            self._addresses[address] += 1

    def flush(self, now: float, *, at_once: bool = False) -> None:
        """Log what was counted, once the minute is over."""
        if self._since is None or (now - self._since < _INTERVAL_SECONDS and not at_once):
            return
        count, self._count = self._count, 0
        most_frequent = [address for address, _ in self._addresses.most_common(_MOST_ADDRESSES_LOGGED)]
        self._addresses.clear()
        # The line with the number counts for the minute that begins.
        self._since, self._logged = (now, self._singly) if count else (None, 0)
        if count:
            self._write(self._event, count=count, addresses=most_frequent)


class WebLog:
    """The lines that anybody can cause who reaches the HTTP server."""

    def __init__(self) -> None:
        self.limited = LimitedLog(_log.warning, "web connections limited")
        self.not_accepted = LimitedLog(_log.error, "web connections not accepted")
        self.malformed = LimitedLog(_log.warning, "malformed web requests")
        self.crashed = LimitedLog(_log.error, "request handler crashed", singly=_AUDITED_SINGLY)
        self.sign_in_rejected = LimitedLog(_log.warning, "sign-in rejected", singly=_AUDITED_SINGLY)
        self.signed_in = LimitedLog(_log.info, "signed in", singly=_AUDITED_SINGLY)
        self.signed_out = LimitedLog(_log.info, "signed out", singly=_AUDITED_SINGLY)

    def flush(self, now: float, *, at_once: bool = False) -> None:
        """Log what was counted, where the minute is over."""
        for limited in vars(self).values():
            limited.flush(now, at_once=at_once)


class ServerLogger(logging.Logger):
    """Takes what aiohttp logs of a connection. A request that cannot be parsed is counted; its text is not logged."""

    def __init__(self, log: WebLog) -> None:
        """Prepare to count.

        Args:
            log: Where it is counted.
        """
        super().__init__("aiohttp.server", logging.DEBUG)  # aiohttp logs some malformed requests at this level.
        self._web_log = log

    def handle(self, record: logging.LogRecord) -> None:
        """Count a record."""
        error = record.exc_info[1] if record.exc_info else None
        address = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        if isinstance(error, HttpProcessingError):
            self._web_log.malformed.note(time.monotonic(), address)
        elif error is not None:
            self._web_log.crashed.note(time.monotonic(), address, exc_info=error)
