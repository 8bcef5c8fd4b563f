"""Access to the dashboard: tokens, sessions, and a count of wrong tokens.

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
"""Of each right, so that whoever may only view ends no session of those who may change everything."""

_WRONG_TOKENS_ALLOWED = 10
_WITHIN_SECONDS = 600.0
_MOST_CLIENTS = 1000


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
        self._by_right: dict[Right, OrderedDict[bytes, Session]] = {right: OrderedDict() for right in Right}
        """Those used least recently first."""

    def open(self, right: Right, now: float) -> tuple[str, Session]:
        """Begin a session; return its cookie and it. Beyond the limit the one used least recently ends."""
        cookie, session = secrets.token_urlsafe(32), Session(right, now, now)
        of_right = self._by_right[right]
        of_right[_hash(cookie)] = session
        while len(of_right) > MOST_SESSIONS:
            of_right.popitem(last=False)
        return cookie, session

    def find(self, cookie: str, now: float, *, automatic: bool = False) -> Session | None:
        """Return the session of a cookie, if it has not ended.

        Args:
            cookie: The cookie's value.
            now: The time.
            automatic: Whether a page refreshes itself; that keeps no session alive.
        """
        key = _hash(cookie)
        of_right = next((sessions for sessions in self._by_right.values() if key in sessions), None)
        if of_right is None:
            return None
        session = of_right[key]
        if now - session.used_at > IDLE_SECONDS or now - session.began_at > LONGEST_SECONDS:
            self.close(cookie)
            return None
        of_right.move_to_end(key)
        if not automatic:
            session.used_at = now
        return session

    def close(self, cookie: str) -> None:
        """End a session."""
        for of_right in self._by_right.values():
            of_right.pop(_hash(cookie), None)


class WrongTokens:
    """Wrong tokens by client: after some of them, further ones get 429 and the time to wait.

    It does not hold up the right token, which is looked at first: somebody else on the address must not lock its owner
    out. A token of 20 characters and more is not guessed at the pace that the server keeps.
    """

    def __init__(self) -> None:
        self._at: OrderedDict[str, list[float]] = OrderedDict()

    def note(self, client: str, now: float) -> float:
        """Note a wrong token; return in how many seconds the client may send another one, 0: now."""
        recent = [at for at in self._at.get(client, ()) if now - at < _WITHIN_SECONDS]
        if len(recent) >= _WRONG_TOKENS_ALLOWED:
            return recent[0] + _WITHIN_SECONDS - now
        self._at[client] = [*recent, now]
        self._at.move_to_end(client)
        while len(self._at) > _MOST_CLIENTS:
            self._at.popitem(last=False)
        return 0.0
