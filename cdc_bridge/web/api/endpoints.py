"""Operations on endpoints: list, add, show, change, remove, pause, resume."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.access.rights import Right
from cdc_bridge.endpoints import admin
from cdc_bridge.endpoints.details import shown_endpoint
from cdc_bridge.endpoints.endpoint_json import endpoint_as_json, overview_as_json
from cdc_bridge.endpoints.option_input import NAME
from cdc_bridge.endpoints.option_values import SECRET_PREFIX
from cdc_bridge.endpoints.overview import overview_page
from cdc_bridge.errors import Fault, WrongUsage
from cdc_bridge.web.api import fields
from cdc_bridge.web.api.fields import Input
from cdc_bridge.web.api.idempotency import change_once
from cdc_bridge.web.api.input import wanted_revision
from cdc_bridge.web.api.operations import PREFIX, Operation, Success
from cdc_bridge.web.api.paging import CURSOR, cursor_field, next_page
from cdc_bridge.web.api.problems import worded
from cdc_bridge.web.api.results import Result
from cdc_bridge.web.api.schemas import SECRET, SWITCH, TEXT, TEXT_OR_NULL, TEXTS, WARNINGS, object_of, page_of, ref
from cdc_bridge.web.requests import actor_of, holder_of, log_change, site_of

Connection = AsyncConnection[TupleRow]


def _known_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("is no name")
    return text


_PAGE = (fields.limit(default=100, most=1000), cursor_field(_known_name))
VENDORS_SECRET = fields.text(
    "secret",
    "Signing secret that the vendor made; it is not returned.",
    pattern=f"^{SECRET_PREFIX}[A-Za-z0-9+/]+=*$",
    nullable=True,
)
_ADD = (
    fields.text("name", "Its name.", pattern=f"^{NAME.pattern}$", required=True, default=""),
    *fields.option_fields(adding=True),
    fields.choice(
        "start", "Begin with what is committed from now on, or with the oldest change in the log.", ["now", "oldest"]
    ),
    fields.switch("signed", "Whether requests are signed.", default=True),
    VENDORS_SECRET,
)
_CHANGE = (
    *fields.option_fields(adding=False),
    fields.switch("keep_headers", "With a url of another server: send it the same headers and sign as before."),
    fields.switch("new_secret", "With a url of another server: make a new signing secret."),
    VENDORS_SECRET,
)


def name_in(request: web.Request) -> str:
    """Return the endpoint's name that the path has."""
    return request.match_info["name"]


async def list_(request: web.Request, query: Input) -> web.Response:
    """Respond with a page of endpoints."""
    after, size = query.values[CURSOR], query.values["limit"]
    found = await site_of(request).database.read(partial(overview_page, after=after, limit=size + 1))
    page = found[:size]
    place = page[-1].name if len(found) > len(page) else None
    return Result(
        {"endpoints": [overview_as_json(each) for each in page], "next": next_page(request, place)}
    ).response()


async def add(request: web.Request, body: Input) -> web.Response:
    """Add an endpoint."""
    site, values = site_of(request), body.values
    name, signed, secret = values["name"], values["signed"], values["secret"]
    found = list(body.faults)
    if secret is not None and not signed:
        found.append(Fault("secret", "secret", "does not go with signed: false"))

    async def change(connection: Connection) -> Result:
        added = await admin.add_endpoint(
            connection,
            name,
            {"url": values["url"], **body.options},
            allow_http=site.settings.now.allow_http,
            cipher=site.settings.now.secrets_cipher(),
            from_oldest=values["start"] == "oldest",
            signed=signed,
            secret=secret,
            found=found,
            by=actor_of(request),
        )
        made = {"name": name, "url": added.shown_url, "start": values["start"], "secret": added.secret}
        warnings = [worded(warning) for warning in added.warnings]
        return Result(
            {**made, "warnings": warnings}, HTTPStatus.CREATED, secret_of=None if added.secret is None else name
        )

    result = await change_once(request, change)
    if not result.repeated:
        log_change(request, "endpoint added", endpoint=name, url=result.body["url"])
    return result.response(location=f"{PREFIX}/endpoints/{quote(name, safe='')}")


async def show(request: web.Request, _: Input) -> web.Response:
    """Respond with an endpoint."""
    shown = await site_of(request).database.read(partial(shown_endpoint, name=name_in(request)))
    may_change = holder_of(request).right.includes(Right.CHANGE)
    revision = shown.record.revision if may_change and not shown.overview.in_settings else None
    return Result(endpoint_as_json(shown) | {"revision": revision}).response()


async def change(request: web.Request, body: Input) -> web.Response:
    """Change those options of an endpoint that are given."""
    site, values, name, revision = site_of(request), body.values, name_in(request), wanted_revision(request)
    found = list(body.faults)
    if values["secret"] is not None and values["new_secret"]:
        found.append(Fault("secret", "secret", "does not go with new_secret"))
    if not body.given and not found:
        raise WrongUsage("nothing to change was given")

    async def change_options(connection: Connection) -> Result:
        changed = await admin.set_endpoint(
            connection,
            name,
            body.options,
            allow_http=site.settings.now.allow_http,
            cipher=site.settings.now.secrets_cipher(),
            keep_headers=values["keep_headers"],
            with_new_secret=values["new_secret"],
            secret=values["secret"],
            revision=revision,
            found=found,
            by=actor_of(request),
        )
        told = {
            "name": name,
            "revision": changed.revision,
            "secret": changed.secret,
            "warnings": [worded(warning) for warning in changed.warnings],
            "consequences": [*changed.consequences],
        }
        return Result(told, secret_of=None if changed.secret is None else name)

    result = await change_once(request, change_options)
    if not result.repeated:
        log_change(request, "endpoint changed", endpoint=name, options=sorted(body.options))
    return result.response()


async def remove(request: web.Request, _: Input) -> web.Response:
    """Remove an endpoint."""
    name = name_in(request)
    await site_of(request).database.change(partial(admin.remove_endpoint, name=name, by=actor_of(request)))
    log_change(request, "endpoint removed", endpoint=name)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def pause(request: web.Request, body: Input) -> web.Response:
    """Stop deliveries to an endpoint."""
    body.require_usable()
    name = name_in(request)
    changed = await site_of(request).database.change(partial(admin.pause_endpoint, name=name, by=actor_of(request)))
    if changed:
        log_change(request, "endpoint paused", endpoint=name)
    return Result({"name": name, "changed": changed}).response()


async def resume(request: web.Request, body: Input) -> web.Response:
    """Deliver to an endpoint again, or end the pause before the next probe."""
    body.require_usable()
    name = name_in(request)
    changed = await site_of(request).database.change(partial(admin.resume_endpoint, name=name, by=actor_of(request)))
    log_change(request, "endpoint resumed" if changed else "probe requested", endpoint=name)
    return Result({"name": name, "changed": changed}).response()


_CHANGED = object_of({"name": TEXT, "changed": SWITCH | {"description": "Whether it was in another state before."}})
_NAME = {"parameters": {"name": "$response.body#/name"}}

OPERATIONS = (
    Operation(
        name="listEndpoints",
        method="GET",
        path="/endpoints",
        handler=list_,
        right=Right.VIEW,
        summary="List the endpoints by name, with their status",
        query=_PAGE,
        success={HTTPStatus.OK: Success("A page of endpoints.", page_of("endpoints", "EndpointStatus"))},
        problems=(HTTPStatus.BAD_REQUEST,),
    ),
    Operation(
        name="addEndpoint",
        method="POST",
        path="/endpoints",
        handler=add,
        right=Right.CHANGE,
        summary="Add an endpoint",
        description="Generates its signing secret, unless it is given or requests are not to be signed.",
        body=_ADD,
        success={
            HTTPStatus.CREATED: Success(
                "The endpoint is added.",
                object_of({"name": TEXT, "url": TEXT, "start": TEXT, "secret": SECRET, "warnings": WARNINGS}),
                headers=("Location",),
                links={
                    operation: {"operationId": operation, **_NAME}
                    for operation in ("showEndpoint", "changeEndpoint", "pauseEndpoint", "removeEndpoint")
                },
            )
        },
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT),
        idempotency_key=True,
    ),
    Operation(
        name="showEndpoint",
        method="GET",
        path="/endpoints/{name}",
        handler=show,
        right=Right.VIEW,
        summary="Show everything of an endpoint but its secrets",
        success={HTTPStatus.OK: Success("The endpoint.", ref("Endpoint"), headers=("ETag",))},
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        name="changeEndpoint",
        method="PATCH",
        path="/endpoints/{name}",
        handler=change,
        right=Right.CHANGE,
        summary="Change those options of an endpoint that are given",
        description="null removes what there was. A url of another server, by scheme, host or port, needs headers and "
        "signing secret anew (headers; new_secret or secret), or keep_headers.",
        body=_CHANGE,
        success={
            HTTPStatus.OK: Success(
                "The endpoint is changed.",
                object_of(
                    {
                        "name": TEXT,
                        "revision": TEXT_OR_NULL,
                        "secret": SECRET,
                        "warnings": WARNINGS,
                        "consequences": TEXTS
                        | {"description": "What the change means for what is queued and what was delivered."},
                    }
                ),
                headers=("ETag",),
            )
        },
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED),
        idempotency_key=True,
        if_match=True,
    ),
    Operation(
        name="removeEndpoint",
        method="DELETE",
        path="/endpoints/{name}",
        handler=remove,
        right=Right.CHANGE,
        summary="Remove an endpoint",
        description="What is not delivered to it yet is lost.",
        success={HTTPStatus.NO_CONTENT: Success("The endpoint is removed.")},
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        name="pauseEndpoint",
        method="POST",
        path="/endpoints/{name}/pause",
        handler=pause,
        right=Right.CHANGE,
        summary="Stop deliveries to an endpoint",
        description="What is committed meanwhile is sent when it is resumed.",
        body=(),
        success={HTTPStatus.OK: Success("The endpoint is paused.", _CHANGED)},
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        name="resumeEndpoint",
        method="POST",
        path="/endpoints/{name}/resume",
        handler=resume,
        right=Right.CHANGE,
        summary="Deliver again to an endpoint that was paused or disabled",
        description="While it is failing, or asked for a pause by Retry-After, the next probe is sent at once.",
        body=(),
        success={HTTPStatus.OK: Success("The endpoint is resumed.", _CHANGED)},
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
