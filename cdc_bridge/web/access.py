"""Access to the dashboard: tokens, sessions, and a limit on wrong tokens.

All of it is in memory and bounded: a restart signs everybody out. ``now`` is in seconds on a monotonic clock.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 12 * 3600.0
MOST_SESSIONS = 100

_WRONG_TOKENS_ALLOWED = 10
_WITHIN_SECONDS = 600.0
_MOST_ADDRESSES = 1000


class Right(StrEnum):
    """What a token permits."""

    VIEW = "view"
    """View statuses; no reservation's content, and change nothing."""
    ALL = "all"
    """View and change everything."""

    def includes(self, other: Right) -> bool:
        """Whether this right covers another."""
        return self is Right.ALL or other is Right.VIEW


class Tokens:
    """The tokens from the settings, kept as hashes."""

    def __init__(self, *, everything: str | None, view: str | None) -> None:
        given = {Right.ALL: everything, Right.VIEW: view}
        self._hashes = {right: _hash(token) for right, token in given.items() if token is not None}

    def __bool__(self) -> bool:
        """Whether any token is set."""
        return bool(self._hashes)

    def right_of(self, token: str) -> Right | None:
        """Return the right of a token, in constant time."""
        given = _hash(token)
        matching = [right for right, known in self._hashes.items() if hmac.compare_digest(given, known)]
        return matching[0] if matching else None


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(slots=True)
class Notice:
    """A message shown once, on the next page."""

    text: str
    remedy: str = ""
    secret: str | None = None
    """A signing secret that was just made."""
    good: bool = True


@dataclass(slots=True, eq=False)
class Session:
    """A signed-in session."""

    right: Right
    began_at: float
    used_at: float
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """In every form, against cross-site request forgery."""
    short_id: str = field(default_factory=lambda: secrets.token_hex(4))
    """For the log; it grants nothing."""
    notices: list[Notice] = field(default_factory=list)

    def take_notices(self) -> list[Notice]:
        """Return the notices and forget them."""
        notices, self.notices = self.notices, []
        return notices


class Sessions:
    """All sessions by the hash of their cookie."""

    def __init__(self) -> None:
        self._by_hash: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, right: Right, now: float) -> tuple[str, Session]:
        """Begin a session; return its cookie and it. Beyond the limit the oldest one ends."""
        cookie, session = secrets.token_urlsafe(32), Session(right, now, now)
        self._by_hash[_hash(cookie)] = session
        while len(self._by_hash) > MOST_SESSIONS:
            self._by_hash.popitem(last=False)
        return cookie, session

    def find(self, cookie: str, now: float, *, automatic: bool = False) -> Session | None:
        """Return the session of a cookie, if it has not ended.

        Args:
            cookie: The cookie's value.
            now: The time.
            automatic: Whether a page refreshes itself; that keeps no session alive.
        """
        session = self._by_hash.get(_hash(cookie))
        if session is None:
            return None
        if now - session.used_at > IDLE_SECONDS or now - session.began_at > LONGEST_SECONDS:
            self.close(cookie)
            return None
        if not automatic:
            session.used_at = now
        return session

    def close(self, cookie: str) -> None:
        """End a session."""
        self._by_hash.pop(_hash(cookie), None)


class SignInLimit:
    """Limits wrong tokens by client address."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def seconds_to_wait(self, address: str, now: float) -> float:
        """Return in how many seconds an address may try again; 0: now."""
        recent = self._recent(address, now)
        return 0.0 if len(recent) < _WRONG_TOKENS_ALLOWED else recent[0] + _WITHIN_SECONDS - now

    def failed(self, address: str, now: float) -> None:
        """Note that a wrong token came from an address."""
        self._failed[address] = [*self._recent(address, now), now][-_WRONG_TOKENS_ALLOWED:]
        self._failed.move_to_end(address)
        while len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)

    def _recent(self, address: str, now: float) -> list[float]:
        return [at for at in self._failed.get(address, ()) if now - at < _WITHIN_SECONDS]
