"""The operation that rotates an endpoint's signing secret."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.access.rights import Right
from cdc_bridge.endpoints.signing_secret import MAX_KEEP_HOURS, rotate_secret
from cdc_bridge.web.api import fields
from cdc_bridge.web.api.endpoints import VENDORS_SECRET, name_in
from cdc_bridge.web.api.fields import Input
from cdc_bridge.web.api.idempotency import change_once
from cdc_bridge.web.api.operations import Operation, Success
from cdc_bridge.web.api.results import Result
from cdc_bridge.web.api.schemas import SECRET, TEXT, TIME_OR_NULL, object_of
from cdc_bridge.web.requests import actor_of, log_change, site_of

_ROTATE = (
    fields.number(
        "keep_old_hours",
        "Hours for which requests are signed with the previous secret as well.",
        minimum=0,
        maximum=MAX_KEEP_HOURS,
        default=24,
    ),
    fields.switch("now", "Drop the older secret of a rotation in progress at once."),
    VENDORS_SECRET,
)


async def rotate(request: web.Request, body: Input) -> web.Response:
    """Give an endpoint a new signing secret."""
    name, values = name_in(request), body.values

    async def change(connection: AsyncConnection[TupleRow]) -> Result:
        rotated = await rotate_secret(
            connection,
            name,
            cipher=site_of(request).settings.now.secrets_cipher(),
            keep_old_hours=values["keep_old_hours"],
            cut_short=values["now"],
            secret=values["secret"],
            found=body.faults,
            by=actor_of(request),
        )
        told = {"name": name, "secret": rotated.secret, "old_until": rotated.old_until}
        return Result(told, secret_of=None if rotated.secret is None else name)

    result = await change_once(request, change)
    if not result.repeated:
        until = result.body["old_until"]
        log_change(request, "secret rotated", endpoint=name, old_until=until and str(until))
    return result.response()


OPERATIONS = (
    Operation(
        name="rotateSecret",
        method="POST",
        path="/endpoints/{name}/rotate-secret",
        handler=rotate,
        right=Right.CHANGE,
        summary="Give an endpoint a new signing secret",
        description="For a while requests are signed with the one before as well.",
        body=_ROTATE,
        success={
            HTTPStatus.OK: Success(
                "The secret is rotated.",
                object_of(
                    {
                        "name": TEXT,
                        "secret": SECRET,
                        "old_until": {
                            **TIME_OR_NULL,
                            "description": "Until when requests are signed with the previous secret as well.",
                        },
                    }
                ),
            )
        },
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        idempotency_key=True,
    ),
)
