"""A program that uses the HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

API_TOKEN = "a token of programs that change everything"
API_VIEW_TOKEN = "a token of programs that see states"
API_SETTINGS = {"CDC_BRIDGE_WEB_API_TOKEN": API_TOKEN}
PREFIX = "/api/v1"


@dataclass(frozen=True)
class ApiResponse:
    """A response of the API."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def type(self) -> str:
        """The last part of a problem's type."""
        assert self.headers["content-type"] == "application/problem+json", self.text
        assert self.body["status"] == self.status
        assert self.body["title"]
        assert self.body["detail"]
        return str(self.body["type"]).rpartition(":")[2]

    @property
    def faults(self) -> dict[str, str]:
        """What is said of each faulty field."""
        assert (self.status, self.type) == (400, "invalid-input"), self.text
        return {fault["field"]: fault["detail"] for fault in self.body["errors"]}


class ApiClient:
    """Sends requests to the API, with one token unless another is named."""

    def __init__(self, port: int, token: str | None = API_TOKEN) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._token = token
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> ApiResponse:
        """Send a request.

        Args:
            method: Its method.
            path: Behind /api/v1, or a link that the API returned.
            body: What is sent as JSON; bytes are sent as they are.
            key: Idempotency key.
            headers: Further headers, with _ in place of -.
        """
        sent = {} if self._token is None else {"authorization": f"Bearer {self._token}"}
        sent |= {} if key is None else {"idempotency-key": key}
        if body is not None:
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        whole = path if path.startswith("/api/") else f"{PREFIX}{path}"
        async with self._session.request(
            method, f"{self.url}{whole}", data=data, headers=sent, allow_redirects=False
        ) as response:
            return ApiResponse(response.status, response.headers, (await response.read()).decode())

    async def get(self, path: str, **headers: str) -> ApiResponse:
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> ApiResponse:
        return await self.ask("POST", path, body, key=key, **headers)

    async def patch(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> ApiResponse:
        return await self.ask("PATCH", path, body, key=key, **headers)

    async def delete(self, path: str) -> ApiResponse:
        return await self.ask("DELETE", path)

    async def close(self) -> None:
        await self._session.close()
