"""Pages of deliveries: the list with its filters, and one of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, DeliveryPage, list_deliveries
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId, find_delivery
from cdc_bridge.deliveries.payload_preview import indented
from cdc_bridge.deliveries.request_preview import NoPreview, RequestPreview, preview_request
from cdc_bridge.deliveries.show import as_rows
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError, WrongUsage
from cdc_bridge.model import DeliveryState, ReservationId
from cdc_bridge.web.access import Right
from cdc_bridge.web.notices import error_text
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import session_of, site_of

_DELIVERIES_PER_PAGE = 50
RETRYABLE = {DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD, DeliveryState.SKIPPED}

Connection = AsyncConnection[TupleRow]


async def list_(request: web.Request) -> web.StreamResponse:
    """Show the newest deliveries that match the filter."""
    asked = {
        name: request.query.get(name, "").strip()
        for name in ("endpoint", "state", "reservation", "of", "since", "until")
    }
    snapshot = await site_of(request).health.snapshot()
    listed, problem = None, None
    try:
        wanted, after = _wanted(asked), _after(request)

        async def read(connection: Connection) -> DeliveryPage:
            filter_ = await _of_one_reservation(connection, wanted, asked["of"])
            return await list_deliveries(connection, filter_, _DELIVERIES_PER_PAGE, after)

        listed = await site_of(request).database.read(read)
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        problem = error_text(error)
    given = {name: value for name, value in asked.items() if value}
    return await page(
        request,
        "deliveries.html",
        title="Deliveries",
        asked=asked,
        problem=problem,
        listed=listed,
        older=None if listed is None or listed.next is None else f"?{urlencode(given | {'after': str(listed.next)})}",
        newest=f"?{urlencode(given)}" if "after" in request.query else None,
        endpoints=[endpoint.name for endpoint in snapshot.endpoints],
        states=[state.value for state in DeliveryState],
        dead=asked["state"] == DeliveryState.DEAD and asked["endpoint"] != "",
        retryable=RETRYABLE,
        some_retryable=listed is not None and any(one.state in RETRYABLE for one in listed.deliveries),
        here=request.path_qs,
    )


def _wanted(asked: dict[str, str]) -> DeliveryFilter:
    state = asked["state"]
    if state and state not in set(DeliveryState):
        raise WrongUsage(f"There is no state {state}")
    wanted = DeliveryFilter(
        endpoint=asked["endpoint"] or None,
        states=[DeliveryState(state)] if state else [],
        reservation_id=ReservationId(asked["reservation"]) if asked["reservation"] else None,
        since=_instant(asked["since"], "From"),
        until=_instant(asked["until"], "Until"),
    )
    if "\0" in asked["reservation"]:
        raise WrongUsage("Reservation has a character that no id has")
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise WrongUsage("From is not before Until")
    return wanted


async def _of_one_reservation(connection: Connection, wanted: DeliveryFilter, of: str) -> DeliveryFilter:
    """Restrict a filter to the reservation of a delivery: a key itself may be too long for a URL, or name a guest."""
    if not of:
        return wanted
    endpoint, _, seq = of.rpartition("/")
    try:
        id_ = DeliveryId.parse(seq)
    except ValueError as error:
        raise WrongUsage(f"{seq[:50]} {error}") from None
    delivery = await find_delivery(connection, id_, endpoint)
    return replace(wanted, reservation_id=delivery.reservation_id)


def _instant(text: str, label: str) -> datetime | None:
    """Parse a time; without a zone it is UTC, as the label says."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongUsage(f"{label} has to be a time such as 2026-07-01T18:30") from None


def _after(request: web.Request) -> Cursor | None:
    if (text := request.query.get("after")) is None:
        return None
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise WrongUsage(f"{text[:50]} {error}") from None


async def show(request: web.Request) -> web.StreamResponse:
    """Show one delivery, with a preview of its request for those who may see it."""
    site, wanted, name = site_of(request), delivery_id(request), request.match_info["endpoint"]

    async def read(connection: Connection) -> tuple[DeliveryDetails, DeliveryDetails]:
        delivery = await found_delivery(connection, wanted, name)
        if delivery.is_newest:
            return delivery, delivery
        return delivery, await found_delivery(connection, DeliveryId(delivery.newest_seq, None), name)

    delivery, newest = await site.database.read(read)
    preview = None
    if session_of(request).right is Right.ALL:
        preview = await preview_request(site.database, newest, site.settings.now, datetime.now(UTC))
    return await page(
        request,
        "delivery.html",
        title=f"Delivery {delivery.seq}",
        delivery=delivery,
        facts=dict(as_rows(delivery, wanted)),
        preview=preview if isinstance(preview, RequestPreview) else None,
        body=indented(preview.body).decode() if isinstance(preview, RequestPreview) else None,
        no_request=preview.reason if isinstance(preview, NoPreview) else None,
    )


def delivery_id(request: web.Request) -> DeliveryId:
    """Return the delivery that the path names."""
    try:
        return DeliveryId.parse(request.match_info["seq"])
    except ValueError as error:
        raise web.HTTPNotFound(text=f"{request.match_info['seq']} {error}") from None


async def found_delivery(connection: Connection, wanted: DeliveryId, endpoint: str) -> DeliveryDetails:
    """Return a delivery, or respond 404."""
    try:
        return await find_delivery(connection, wanted, endpoint)
    except BridgeError as error:
        raise web.HTTPNotFound(text=str(error)) from None
