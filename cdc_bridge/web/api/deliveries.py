"""Operations on deliveries: list, show, retry."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.access.rights import Right
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.lookup import DeliveryId
from cdc_bridge.deliveries.retry import RetryAction, retry
from cdc_bridge.deliveries.show import as_json, delivery_of, details_as_json
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import Fault, FaultyInput, NotFound, shortened
from cdc_bridge.model import DeliveryState
from cdc_bridge.web.api import fields
from cdc_bridge.web.api.fields import Input
from cdc_bridge.web.api.idempotency import change_once
from cdc_bridge.web.api.operations import Operation, Success
from cdc_bridge.web.api.paging import CURSOR, cursor_field, next_page
from cdc_bridge.web.api.results import Result
from cdc_bridge.web.api.schemas import NUMBER, WARNINGS, object_of, page_of, ref
from cdc_bridge.web.requests import actor_of, holder_of, log_change, site_of

_LIST = (
    fields.text("endpoint", "Only of this endpoint."),
    fields.choices("state", "Only in one of these states.", DeliveryState),
    fields.text("reservation", "Only of the reservation with this key."),
    fields.instant("since", "Changes made at this time or later."),
    fields.instant("until", "And before this time."),
    fields.limit(default=50, most=1000),
    cursor_field(Cursor.parse),
)

Connection = AsyncConnection[TupleRow]


async def list_(request: web.Request, query: Input) -> web.Response:
    """Respond with a page of deliveries, newest change first."""
    asked = query.values
    if asked["since"] is not None and asked["until"] is not None and asked["since"] >= asked["until"]:
        raise FaultyInput(Fault("since", "since", "has to be before until"))
    wanted = DeliveryFilter(asked["endpoint"], asked["state"], asked["reservation"], asked["since"], asked["until"])

    page = await list_deliveries(site_of(request).database, wanted, asked["limit"], asked[CURSOR])
    place = None if page.next is None else str(page.next)
    return Result(
        {"deliveries": [as_json(each) for each in page.deliveries], "next": next_page(request, place)}
    ).response()


async def show(request: web.Request, _: Input) -> web.Response:
    """Respond with a delivery and its attempts; their responses are for tokens with all rights."""
    wanted, name = _delivery_id(request), request.match_info["endpoint"]
    with_responses = holder_of(request).right.includes(Right.CONTENT)
    delivery, timeline = await delivery_of(site_of(request).database, wanted, name, with_responses=with_responses)
    return Result(details_as_json(delivery, timeline)).response()


def _delivery_id(request: web.Request) -> DeliveryId:
    text = request.match_info["id"]
    try:
        return DeliveryId.parse(text)
    except ValueError as error:
        raise NotFound(f"{shortened(text)} {error}") from None


async def send_again(request: web.Request, body: Input) -> web.Response:
    """Make a delivery due now."""
    body.require_usable()
    wanted, name = _delivery_id(request), request.match_info["endpoint"]

    async def make_due(connection: Connection) -> Result:
        done = await retry(connection, wanted, name, by=actor_of(request))
        silence = (await resolve_endpoint(connection, name)).silence
        newer = {
            RetryAction.DUE: None,
            RetryAction.NEWER_DUE: done.delivery.newest_seq,
            RetryAction.SUPERSEDED: done.delivery.newer_delivered_seq,
        }
        told = {"seq": done.delivery.seq, "action": done.action.name.lower(), "newer_seq": newer[done.action]}
        return Result({**told, "warnings": [silence] if silence else []})

    result = await change_once(request, make_due)
    if not result.repeated:
        log_change(request, "delivery sent again", endpoint=name, seq=result.body["seq"])
    return result.response()


_RETRIED = object_of(
    {
        "seq": {**NUMBER, "description": "Number of the delivery."},
        "action": {
            "type": "string",
            "enum": [action.name.lower() for action in RetryAction],
            "description": "due: it is due now. newer_due: a newer delivery of the reservation is due now, for both. "
            "superseded: a newer one was delivered, so nothing is sent.",
        },
        "newer_seq": {"type": ["integer", "null"], "description": "Number of that newer delivery."},
        "warnings": WARNINGS,
    }
)

OPERATIONS = (
    Operation(
        name="listDeliveries",
        method="GET",
        path="/deliveries",
        handler=list_,
        right=Right.VIEW,
        summary="List deliveries, newest change first",
        description="A page may have fewer deliveries than its size, or none, and a link to the next one all the same: "
        "only a part of the delivery log is searched at a time.",
        query=_LIST,
        success={HTTPStatus.OK: Success("A page of deliveries.", page_of("deliveries", "Delivery"))},
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND),
    ),
    Operation(
        name="showDelivery",
        method="GET",
        path="/deliveries/{endpoint}/{id}",
        handler=show,
        right=Right.VIEW,
        summary="Show a delivery and its attempts",
        description="Also one that was attempted and is not in the delivery log yet, as its endpoint is failing: its "
        "recorded_at is null.",
        success={HTTPStatus.OK: Success("The delivery.", ref("DeliveryDetails"))},
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        name="retryDelivery",
        method="POST",
        path="/deliveries/{endpoint}/{id}/retry",
        handler=send_again,
        right=Right.CHANGE,
        summary="Send a retrying, dead or skipped delivery again now",
        body=(),
        success={HTTPStatus.OK: Success("It is due now, or there is nothing to send.", _RETRIED)},
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        idempotency_key=True,
    ),
)
