"""Somebody who uses the page without a browser: keeps the cookie, fills the forms in, sends what was not asked for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import aiohttp
import pytest

from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.http import free_port

TOKEN = "a token that may change everything"
VIEW_TOKEN = "a token that may see states"
_FORM_TOKEN = re.compile(r'name="form_token" value="([^"]*)"')
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class Answered:
    """An answer of the page."""

    status: int
    headers: Mapping[str, str]
    html: str

    @property
    def text(self) -> str:
        """What is read on it, in one line."""
        return " ".join(unescape(_TAG.sub(" ", self.html)).split())

    @property
    def form_token(self) -> str:
        found = _FORM_TOKEN.search(self.html)
        return "" if found is None else unescape(found[1])


class Visitor:
    """Uses the page."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"accept": "text/html"}
        )

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._session.cookie_jar}

    @property
    def cookie_name(self) -> str:
        return next(iter(self.cookies))

    @property
    def cookie(self) -> str:
        """What says who this is."""
        return self.cookies[self.cookie_name]

    async def ask(self, method: str, path: str, *, follow: bool = True, **more: Any) -> Answered:
        async with self._session.request(method, f"{self.url}{path}", allow_redirects=follow, **more) as answer:
            return Answered(answer.status, answer.headers, (await answer.read()).decode())

    async def get(self, path: str, **more: Any) -> Answered:
        return await self.ask("GET", path, **more)

    async def send(
        self, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]] | None = None, **more: Any
    ) -> Answered:
        """Send a form, with the token that a page of ours has."""
        page = await self.get("/deliveries")  # which never has anything that is said once, as the next page may
        given = fields.items() if isinstance(fields, Mapping) else fields or ()
        return await self.ask("POST", path, data=[("form_token", page.form_token), *given], **more)

    async def sign_in(self, token: str = TOKEN) -> Answered:
        return await self.ask("POST", "/sign-in", data={"token": token})

    async def close(self) -> None:
        await self._session.close()


@pytest.fixture
def page_port() -> int:
    return free_port()


@pytest.fixture
async def page_bridge(database: Database, bridges: Bridges, page_port: int) -> Bridge:
    """A daemon with a page, and a customer whose reservations can be made."""
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_WEB_TOKEN=TOKEN, CDC_BRIDGE_WEB_VIEW_TOKEN=VIEW_TOKEN
    )
    await bridge.until_assigned()
    return bridge


@pytest.fixture
async def visitor(page_bridge: Bridge, page_port: int) -> AsyncIterator[Visitor]:
    """Somebody who has not signed in."""
    visitor = Visitor(page_port)
    yield visitor
    await visitor.close()


@pytest.fixture
async def operator(visitor: Visitor) -> Visitor:
    """The same, signed in to change everything."""
    assert (await visitor.sign_in()).status == 200
    return visitor
