"""All operations, and how a request gets to one."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import HttpVersion11, web

from cdc_bridge.access.rights import Right
from cdc_bridge.web.api import deliveries, endpoints, replays, secrets, test_requests
from cdc_bridge.web.api.fields import Input
from cdc_bridge.web.api.input import JSON, read_body, read_query
from cdc_bridge.web.api.json_text import json_of
from cdc_bridge.web.api.openapi import document
from cdc_bridge.web.api.operations import PREFIX, Operation, Success
from cdc_bridge.web.requests import Handler, Site


async def _describe(_: web.Request, __: Input) -> web.Response:
    return web.Response(body=json_of(openapi()).encode(), content_type=JSON)


OPERATIONS: tuple[Operation, ...] = (
    *endpoints.OPERATIONS,
    *secrets.OPERATIONS,
    *test_requests.OPERATIONS,
    *replays.OPERATIONS,
    *deliveries.OPERATIONS,
    Operation(
        name="describe",
        method="GET",
        path="/openapi.json",
        handler=_describe,
        right=Right.VIEW,
        summary="This document",
        success={HTTPStatus.OK: Success("The OpenAPI document.", {"type": "object"})},
    ),
)


def openapi() -> dict[str, object]:
    """Return the OpenAPI document."""
    return document(OPERATIONS)


def add_api(application: web.Application, site: Site) -> None:
    """Add the API's routes to the web server's."""
    for operation in OPERATIONS:
        handler = _handler_of(operation)
        path = f"{PREFIX}{operation.path}"
        application.router.add_route(operation.method, path, handler, expect_handler=_continue)
        site.required_rights[handler] = operation.right
        site.of_api.add(handler)
        if operation.timeout_seconds is not None:
            site.timeouts[handler] = operation.timeout_seconds


async def _continue(request: web.Request) -> None:
    """Have a client send its body; what else it may expect is ignored, as no problem could be reported here."""
    if request.version >= HttpVersion11 and request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _handler_of(operation: Operation) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        given = read_query(request, operation.query)
        if operation.body is not None:
            given = await read_body(request, operation.body)
        return await operation.handler(request, given)

    return handle
