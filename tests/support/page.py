"""A user of the dashboard without a browser: keeps the cookie, fills the forms in, sends what was not asked for."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import aiohttp
import pytest

TOKEN = "a token that may change everything"
VIEW_TOKEN = "a token that may see states"
CONTENT_TOKEN = "a token that may see content"
_FORM_TOKEN = re.compile(r'name="form_token" value="([^"]*)"')
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class PageResponse:
    """A response of the dashboard."""

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
    """Uses the dashboard."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=True if tls is None else tls),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            headers={"accept": "text/html"},
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

    async def ask(self, method: str, path: str, *, follow: bool = True, **more: Any) -> PageResponse:
        async with self._session.request(method, f"{self.url}{path}", allow_redirects=follow, **more) as answer:
            return PageResponse(answer.status, answer.headers, (await answer.read()).decode())

    async def get(self, path: str, **more: Any) -> PageResponse:
        return await self.ask("GET", path, **more)

    async def send(
        self, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]] | None = None, **more: Any
    ) -> PageResponse:
        """Send a form, with a form token of the dashboard."""
        page = await self.get("/deliveries")  # which never has anything that is said once, as the next page may
        given = fields.items() if isinstance(fields, Mapping) else fields or ()
        return await self.ask("POST", path, data=[("form_token", page.form_token), *given], **more)

    async def sign_in(self, token: str = TOKEN) -> PageResponse:
        return await self.ask("POST", "/sign-in", data={"token": token})

    async def open_portal(self, token: str) -> PageResponse:
        """Open a link to the portal, as a browser does: what stands behind the # is sent by the form alone."""
        await self.get("/portal")
        return await self.ask("POST", "/portal", data={"token": token})

    async def close(self) -> None:
        await self._session.close()


async def until_on_page(visitor: Visitor, path: str, *words: str) -> str:
    """Ask for a page until all words are on it; return its text."""
    text = ""
    try:
        async with asyncio.timeout(30):
            while not all(word in text for word in words):
                text = (await visitor.get(path)).text
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{path} did not come to say {words}: {text}")
    return text
