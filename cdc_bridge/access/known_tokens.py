"""The tokens that a daemon knows: those of its settings, and those of the database, read again at short intervals.

They are read when somebody comes, and not while nobody does. One small statement tells whether they are others than
before; all are read only then. So a token that was removed ends its sessions within seconds, wrong tokens cost at most
a few statements a second, however many come, and while the database is away what was known before counts on.

A token that is not known is looked for once more, by a read that begins after it came: a token that was just made works
at once.

A token is looked up by the first half of its hash, and the whole hash is compared in constant time.

Expiry is checked at each request, by the database's clock, as the daemon's may be wrong.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from hashlib import sha256
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.access.rights import Holder, Right
from cdc_bridge.errors import BridgeError
from cdc_bridge.queries import load_queries
from cdc_bridge.tasks import end

_queries = load_queries(__name__)

MOST_READ = 20_000
"""Tokens that are read: the named ones, and a link of each endpoint. Beyond that the youngest links do not work."""

MAX_AGE_SECONDS = 2.0
_LEAST_PAUSE_SECONDS = 0.25
_HALF = sha256().digest_size // 2
_WAIT_SECONDS = 1.0
"""Time for which a request waits for a read, before what is known counts."""


class Place(Enum):
    """What a token is used for."""

    DASHBOARD = auto()
    API = auto()
    PORTAL = auto()


def hash_of(token: str) -> bytes:
    """Return what is kept of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class TokensRead:
    """What was read of the database's tokens."""

    version: tuple[Any, ...]
    """Another one after each change."""
    now: datetime
    """The database's time."""
    tokens: Sequence[tuple[bytes, Holder]] | None
    """Hashes and holders; ``None``: the version is the one that was known."""


ReadTokens = Callable[[tuple[Any, ...] | None], Coroutine[Any, Any, TokensRead]]
"""Reads them, given the version that is known; raises ``BridgeError`` if the database cannot be read."""


async def read_tokens(connection: AsyncConnection[TupleRow], known: tuple[Any, ...] | None) -> TokensRead:
    """Read the database's tokens, unless they are those of a version that is known."""
    cursor = await connection.execute(_queries["access_token_version"])
    ((now, *version),) = await cursor.fetchall()
    if tuple(version) == known:
        return TokensRead(known, now, None)
    cursor = await connection.execute(_queries["access_tokens"], {"limit": MOST_READ})
    tokens = [
        (bytes(hash_), Holder(name, Right(right), endpoint, token_id, expires_at))
        for hash_, name, right, endpoint, token_id, expires_at in await cursor.fetchall()
    ]
    return TokensRead(tuple(version), now, tokens)


async def note_uses(connection: AsyncConnection[TupleRow], token_ids: Sequence[int]) -> None:
    """Note that tokens of the database were used, to the hour."""
    await connection.execute(_queries["note_token_uses"], {"token_ids": list(token_ids)})


class KnownTokens:
    """Finds who has a token."""

    def __init__(
        self,
        of_settings: Mapping[Place, tuple[Holder, str]],
        read: ReadTokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the tokens of the settings alone.

        Args:
            of_settings: Holder and token, by what it is for.
            read: Reads those of the database.
            clock: In seconds, monotonic.
        """
        self._of_settings = {place: (holder, hash_of(token)) for place, (holder, token) in of_settings.items()}
        self._read = read
        self._clock = clock
        self._by_half_hash: Mapping[bytes, tuple[bytes, Holder]] = {}
        self._by_id: Mapping[int, Holder] = {}
        self._version: tuple[Any, ...] | None = None
        self._database_time: tuple[datetime, float] | None = None
        """The database's, and the clock's at the same time."""
        self._began_at = clock() - 2 * MAX_AGE_SECONDS
        self._failed = False
        self._reading_one = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._rereading: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def is_open(self, place: Place) -> bool:
        """Whether there is any token that is good for this."""
        if place in self._of_settings:
            return True
        if place is Place.DASHBOARD:  # The portal is a part of it.
            return bool(self._by_id)
        return any((holder.endpoint is not None) is (place is Place.PORTAL) for holder in self._by_id.values())

    async def find(self, token: str, *places: Place) -> Holder | None:
        """Return who has a token that is good for one of some places; ``None``: nobody."""
        given = hash_of(token)
        if (holder := self._in_settings(given, places)) is not None:
            return holder
        await self.refresh()
        if (holder := self._in_database(given, places)) is not None:
            return holder
        await self._reread()
        return self._in_database(given, places)

    def is_valid(self, holder: Holder) -> bool:
        """Whether a holder's token was neither removed nor has expired."""
        if holder.token_id is None:
            return True
        return self._by_id.get(holder.token_id) == holder and not self._expired(holder)

    async def refresh(self) -> None:
        """Read the tokens again if that is some seconds ago; a database that does not respond is not waited for."""
        if self._clock() - self._began_at <= MAX_AGE_SECONDS:
            return
        if self._reading is None:
            self._reading = self._start(self._read_once())
            self._reading.add_done_callback(self._reading_ended)
        await self._wait_for(self._reading)

    async def close(self) -> None:
        """End what is under way."""
        await end(list(self._under_way))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _reading_ended(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    async def _reread(self) -> None:
        """Have the tokens as they are now, or as they were when the database was last read."""
        if self._rereading is None:
            self._rereading = self._start(self._read_soon())
        await self._wait_for(self._rereading)

    async def _read_soon(self) -> None:
        try:
            await asyncio.sleep(max(0.0, self._began_at + _LEAST_PAUSE_SECONDS - self._clock()))
        finally:
            self._rereading = None  # Whoever comes from here on waits for the next one.
        await self._read_once()

    async def _wait_for(self, reading: asyncio.Task[None]) -> None:
        if not self._failed:
            await asyncio.wait([reading], timeout=_WAIT_SECONDS)

    async def _read_once(self) -> None:
        async with self._reading_one:
            self._began_at = self._clock()
            try:
                found = await self._read(self._version)
            except BridgeError:  # What was known counts on; health reports that the database is away.
                self._failed = True
                return
            self._failed = False
            self._database_time = (found.now, self._clock())
            if found.tokens is not None:
                self._version = found.version
                self._by_half_hash = {hash_[:_HALF]: (hash_, holder) for hash_, holder in found.tokens}
                self._by_id = {holder.token_id: holder for _, holder in found.tokens if holder.token_id is not None}

    def _in_settings(self, given: bytes, places: Sequence[Place]) -> Holder | None:
        matching = [
            holder
            for place, (holder, known) in self._of_settings.items()
            if hmac.compare_digest(given, known) and place in places
        ]
        return matching[0] if matching else None

    def _in_database(self, given: bytes, places: Sequence[Place]) -> Holder | None:
        known, holder = self._by_half_hash.get(given[:_HALF], (b"", None))
        if holder is None or not hmac.compare_digest(given, known) or self._expired(holder):
            return None
        suits = Place.PORTAL in places if holder.endpoint is not None else places != (Place.PORTAL,)
        return holder if suits else None

    def _expired(self, holder: Holder) -> bool:
        if holder.expires_at is None or self._database_time is None:
            return False
        then, at = self._database_time
        return holder.expires_at <= then + timedelta(seconds=self._clock() - at)
