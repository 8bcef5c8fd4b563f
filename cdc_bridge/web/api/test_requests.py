"""The operation that sends a test request to an endpoint, and the limit on what takes long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus

from aiohttp import web

from cdc_bridge.access.rights import Right
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.test_request import send_test_request
from cdc_bridge.web.api import fields
from cdc_bridge.web.api.endpoints import name_in
from cdc_bridge.web.api.fields import Input
from cdc_bridge.web.api.idempotency import idempotency_key, work_once
from cdc_bridge.web.api.operations import Operation, Success
from cdc_bridge.web.api.problems import BUSY, ApiProblem
from cdc_bridge.web.api.results import Result
from cdc_bridge.web.api.schemas import ref
from cdc_bridge.web.requests import actor_of, log_change, site_of

TIMEOUT_SECONDS = 620.0
"""Two time-outs of an endpoint at their maximum."""

_TEST = (
    fields.switch(
        "sample",
        "Post the contract's example instead. An endpoint that does not look at ce-type takes it for a booking.",
    ),
)


@asynccontextmanager
async def place_for_work(request: web.Request) -> AsyncIterator[None]:
    """Have one of the few places for what takes long.

    Raises:
        ApiProblem: None is left.
    """
    places = site_of(request).long_work
    if places.locked():
        raise ApiProblem(BUSY, "Too many test requests and replays are under way.", "Send it again in a few seconds.")
    async with places:
        yield


async def send(request: web.Request, body: Input) -> web.Response:
    """Send a test request."""
    body.require_usable()
    site, name, key = site_of(request), name_in(request), await idempotency_key(request)

    async def test() -> Result:
        result = await send_test_request(site.settings.now, name, by=actor_of(request), sample=body.values["sample"])
        log_change(request, "endpoint tested", endpoint=name, status=result.status)
        return Result(asdict(result))

    async with place_for_work(request):
        if key is None:
            return (await test()).response()
        async with one_connection(site.database_url) as connection:
            return (await work_once(connection, key, test)).response()


OPERATIONS = (
    Operation(
        name="testEndpoint",
        method="POST",
        path="/endpoints/{name}/test",
        handler=send,
        right=Right.CHANGE,
        summary="Send a test request to an endpoint, and say what the response means",
        description="It is signed and has the endpoint's headers; its ce-type is cdc-bridge.test and its body no "
        "reservation. It is not recorded, and has no consequence for deliveries.",
        body=_TEST,
        success={HTTPStatus.OK: Success("The request was sent; delivered says how it went.", ref("TestResult"))},
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        idempotency_key=True,
        timeout_seconds=TIMEOUT_SECONDS,
    ),
)
