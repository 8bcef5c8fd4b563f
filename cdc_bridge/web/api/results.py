"""What a request came to, and the response for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from cdc_bridge.web.api.input import JSON
from cdc_bridge.web.api.json_text import json_of

REPEATED = "idempotent-replayed"


@dataclass(frozen=True, slots=True)
class Result:
    """What a request came to, if all went well."""

    body: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK
    secret_of: str | None = None
    """Endpoint that got the new secret which is in the body as ``secret``; ``None``: there is none."""
    repeated: bool = False
    """Whether this is the result of an earlier request with the same idempotency key."""

    def response(self, **headers: str) -> web.Response:
        """Return the response.

        Args:
            headers: Further headers.
        """
        if self.repeated:
            headers[REPEATED] = "true"
        if (revision := self.body.get("revision")) is not None:
            headers["etag"] = f'"{revision}"'
        body = json_of(self.body).encode()
        return web.Response(status=self.status, body=body, headers=headers, content_type=JSON)
