"""Sessions of dashboard and portal, and a count of wrong tokens.

All of it is in memory and bounded: a restart signs everybody out. ``now`` is in seconds on a monotonic clock.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256

from cdc_bridge.access.rights import Holder, Right

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 12 * 3600.0
MOST_SESSIONS = 20
"""With each token, so that nobody ends another one's sessions."""
MOST_HOLDERS = 1000
"""Tokens with sessions. Whoever has one token is one of them, however often it is used."""

OF_PORTAL = "portal."
"""Begins the cookie of a session in the portal. It grants nothing: once the session has ended, it says which form
begins another."""

_WRONG_TOKENS_ALLOWED = 10
_WITHIN_SECONDS = 600.0
_MOST_CLIENTS = 1000


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

    holder: Holder
    began_at: float
    used_at: float
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """In every form, against cross-site request forgery."""
    short_id: str = field(default_factory=lambda: secrets.token_hex(4))
    """For the log; it grants nothing."""
    notices: list[Notice] = field(default_factory=list)

    @property
    def right(self) -> Right:
        """What it permits."""
        return self.holder.right

    @property
    def endpoint(self) -> str | None:
        """The one endpoint that it is for, of a session in the portal; ``None``: all."""
        return self.holder.endpoint

    def take_notices(self) -> list[Notice]:
        """Return the notices and forget them."""
        notices, self.notices = self.notices, []
        return notices


class Sessions:
    """All sessions by the hash of their cookie."""

    def __init__(self) -> None:
        self._by_holder: OrderedDict[Holder, OrderedDict[bytes, Session]] = OrderedDict()
        """Those used least recently first."""
        self._holders: dict[bytes, Holder] = {}

    def open(self, holder: Holder, now: float) -> tuple[str, Session]:
        """Begin a session; return its cookie and it. Beyond the limit the one used least recently ends."""
        kind = "" if holder.endpoint is None else OF_PORTAL
        cookie, session = kind + secrets.token_urlsafe(32), Session(holder, now, now)
        key = _hash(cookie)
        of_holder = self._by_holder.setdefault(holder, OrderedDict())
        of_holder[key], self._holders[key] = session, holder
        self._by_holder.move_to_end(holder)
        while len(of_holder) > MOST_SESSIONS:
            self._close(next(iter(of_holder)))
        while len(self._by_holder) > MOST_HOLDERS:
            self.close_all_of(next(iter(self._by_holder)))
        return cookie, session

    def find(self, cookie: str, now: float, *, automatic: bool = False) -> Session | None:
        """Return the session of a cookie, if it has not ended.

        Args:
            cookie: The cookie's value.
            now: The time.
            automatic: Whether a page refreshes itself; that keeps no session alive.
        """
        key = _hash(cookie)
        holder = self._holders.get(key)
        if holder is None:
            return None
        of_holder = self._by_holder[holder]
        session = of_holder[key]
        if now - session.used_at > IDLE_SECONDS or now - session.began_at > LONGEST_SECONDS:
            self._close(key)
            return None
        of_holder.move_to_end(key)
        self._by_holder.move_to_end(holder)
        if not automatic:
            session.used_at = now
        return session

    def close(self, cookie: str) -> None:
        """End a session."""
        self._close(_hash(cookie))

    def close_all_of(self, holder: Holder) -> None:
        """End the sessions that were opened with a token."""
        for key in self._by_holder.pop(holder, {}):
            del self._holders[key]

    def _close(self, key: bytes) -> None:
        if (holder := self._holders.pop(key, None)) is None:
            return
        of_holder = self._by_holder[holder]
        del of_holder[key]
        if not of_holder:
            del self._by_holder[holder]


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
