"""What an operation of the API is: its route, its right, its input and its results.

Routes, input checks and the OpenAPI document derive from these declarations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from cdc_bridge.access.rights import Right
from cdc_bridge.web.api.fields import Field, Input

PREFIX = "/api/v1"

Handler = Callable[[web.Request, Input], Awaitable[web.StreamResponse]]
"""Gets the fields of the body, if the operation has one, else those of the query."""


@dataclass(frozen=True, slots=True)
class Success:
    """A response if all went well."""

    description: str
    schema: Mapping[str, Any] | None = None
    """Of its body; ``None``: it has none."""
    headers: Sequence[str] = ()
    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation."""

    name: str
    method: str
    path: str
    """Behind ``/api/v1``."""
    handler: Handler
    right: Right
    summary: str
    description: str = ""
    query: Sequence[Field] = ()
    body: Sequence[Field] | None = None
    """Fields of the body; ``None``: it has none."""
    success: Mapping[HTTPStatus, Success]
    problems: Sequence[HTTPStatus] = ()
    """Statuses of errors beside those that every operation has."""
    idempotency_key: bool = False
    if_match: bool = False
    timeout_seconds: float | None = None
    """Time limit, where that is not the default."""
