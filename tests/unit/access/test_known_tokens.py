"""What a daemon knows of the tokens, with a database and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdc_bridge.access import known_tokens
from cdc_bridge.access.known_tokens import MAX_AGE_SECONDS, KnownTokens, Place, TokensRead, hash_of
from cdc_bridge.access.rights import Holder, Right
from cdc_bridge.errors import DatabaseUnavailable

BEGINNING = datetime(2026, 7, 1, tzinfo=UTC)
ANNA = Holder("anna", Right.CONTENT, None, 1)
SHORT = Holder("short", Right.VIEW, None, 2, BEGINNING + timedelta(seconds=60))
LINK = Holder("portal of till", Right.CHANGE, "till", 3, BEGINNING + timedelta(days=7))
OF_SETTINGS = {
    Place.DASHBOARD: (Holder("web_token", Right.CHANGE), "the token of the dashboard"),
    Place.API: (Holder("web_api_token", Right.CHANGE), "the token of the API"),
}


class Scripted:
    """The database, and the clock."""

    def __init__(self) -> None:
        self.tokens = {"anna's": ANNA, "short": SHORT, "link": LINK}
        self.now = 1000.0
        self.reads = 0
        self.full_reads = 0
        self.available = True
        self.held: asyncio.Event | None = None
        self.offset_seconds = 0.0

    async def read(self, known: tuple[Any, ...] | None) -> TokensRead:
        self.reads += 1
        if self.held is not None:
            await self.held.wait()
        if not self.available:
            raise DatabaseUnavailable("it does not respond")
        version = tuple(sorted(self.tokens))
        at = BEGINNING + timedelta(seconds=self.now - 1000.0)
        if version == known:
            return TokensRead(version, at, None)
        self.full_reads += 1
        return TokensRead(version, at, [(hash_of(token), holder) for token, holder in self.tokens.items()])

    def clock(self) -> float:
        return self.now + self.offset_seconds


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setattr(known_tokens, "_LEAST_PAUSE_SECONDS", 0.0)
    return Scripted()


@pytest.fixture
async def tokens(database: Scripted) -> AsyncIterator[KnownTokens]:
    tokens = KnownTokens(OF_SETTINGS, database.read, database.clock)
    yield tokens
    await tokens.close()


async def test_each_token_is_good_for_its_places_and_nothing_else_for_any(tokens: KnownTokens) -> None:
    good_for = {
        "the token of the dashboard": {Place.DASHBOARD},
        "the token of the API": {Place.API},
        "anna's": {Place.DASHBOARD, Place.API},
        "short": {Place.DASHBOARD, Place.API},
        "link": {Place.PORTAL},
    }
    for token, places in good_for.items():
        for place in Place:
            assert (await tokens.find(token, place) is not None) is (place in places), (token, place)
    for wrong in ("", "anna", "anna's ", "ANNA'S", "\udcff", "x" * 100_000, hash_of("anna's").hex()):
        assert await tokens.find(wrong, *Place) is None
    assert await tokens.find("anna's", Place.DASHBOARD, Place.API) == ANNA


async def test_token_of_the_settings_asks_no_database(tokens: KnownTokens, database: Scripted) -> None:
    database.available = False
    assert await tokens.find("the token of the dashboard", Place.DASHBOARD) == OF_SETTINGS[Place.DASHBOARD][0]
    assert database.reads == 0


async def test_tokens_are_read_again_after_seconds_and_all_of_them_only_if_they_changed(
    tokens: KnownTokens, database: Scripted
) -> None:
    for _ in range(5):
        await tokens.refresh()
    assert (database.reads, database.full_reads) == (1, 1)
    database.now += MAX_AGE_SECONDS + 1
    await tokens.refresh()
    assert (database.reads, database.full_reads) == (2, 1)
    del database.tokens["anna's"]
    assert tokens.is_valid(ANNA)
    database.now += MAX_AGE_SECONDS + 1
    await tokens.refresh()
    assert (database.reads, database.full_reads) == (3, 2)
    assert not tokens.is_valid(ANNA)
    assert tokens.is_valid(SHORT)


async def test_token_that_was_just_made_is_found_at_once(tokens: KnownTokens, database: Scripted) -> None:
    await tokens.refresh()
    database.tokens["new"] = Holder("new", Right.VIEW, None, 4)
    assert await tokens.find("new", Place.DASHBOARD) is not None


async def test_wrong_tokens_that_come_together_share_a_read(tokens: KnownTokens, database: Scripted) -> None:
    await tokens.refresh()
    assert await asyncio.gather(*(tokens.find(f"wrong{number}", *Place) for number in range(500))) == [None] * 500
    assert database.reads <= 3


async def test_what_is_known_counts_on_while_the_database_is_away(tokens: KnownTokens, database: Scripted) -> None:
    await tokens.refresh()
    database.available = False
    for _ in range(3):
        database.now += MAX_AGE_SECONDS + 1
        assert await tokens.find("anna's", Place.DASHBOARD) == ANNA
        assert tokens.is_valid(ANNA)
    database.available = True
    database.tokens.clear()
    database.now += MAX_AGE_SECONDS + 1
    await tokens.refresh()  # The one that found the database away is not waited for.
    await asyncio.gather(*tokens._under_way)
    assert not tokens.is_valid(ANNA)


async def test_database_that_does_not_answer_holds_up_nobody_for_long(
    tokens: KnownTokens, database: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_tokens, "_WAIT_SECONDS", 0.01)
    await tokens.refresh()
    database.held = asyncio.Event()
    database.now += MAX_AGE_SECONDS + 1
    assert await tokens.find("anna's", Place.DASHBOARD) == ANNA
    assert await tokens.find("wrong", Place.DASHBOARD) is None
    database.held.set()


async def test_token_expires_by_the_clock_of_the_database_also_while_that_is_away(
    tokens: KnownTokens, database: Scripted
) -> None:
    database.offset_seconds = 1e6
    await tokens.refresh()
    assert tokens.is_valid(SHORT)
    database.available = False
    database.now += 59
    assert tokens.is_valid(SHORT)
    assert await tokens.find("short", Place.API) == SHORT
    database.now += 1
    assert not tokens.is_valid(SHORT)
    assert await tokens.find("short", Place.API) is None
    assert tokens.is_valid(ANNA)


async def test_token_under_the_number_of_another_one_is_another_one(tokens: KnownTokens, database: Scripted) -> None:
    await tokens.refresh()
    database.tokens = {"bert's": Holder("bert", Right.CHANGE, None, ANNA.token_id)}
    database.now += MAX_AGE_SECONDS + 1
    await tokens.refresh()
    assert not tokens.is_valid(ANNA)


async def test_dashboard_and_api_are_open_if_there_is_a_token_for_them(database: Scripted) -> None:
    tokens = KnownTokens({}, database.read, database.clock)
    assert not any(tokens.is_open(place) for place in Place)
    database.tokens = {"link": LINK}
    await tokens.refresh()
    assert [place for place in Place if tokens.is_open(place)] == [Place.DASHBOARD, Place.PORTAL]
    database.tokens = {"anna's": ANNA}
    database.now += MAX_AGE_SECONDS + 1
    await tokens.refresh()
    assert [place for place in Place if tokens.is_open(place)] == [Place.DASHBOARD, Place.API]
    await tokens.close()
