"""Pages of deliveries: the list with its filters, and one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote, urlencode

from aiohttp import web

from cdc_bridge.access.rights import Right
from cdc_bridge.deliveries.bookings import bookings_of
from cdc_bridge.deliveries.guest_search import FoundDeliveries, search_deliveries
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId, find_any_delivery
from cdc_bridge.deliveries.payload_preview import indented
from cdc_bridge.deliveries.request_preview import NoPreview, RequestPreview, preview_request
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.deliveries.show import as_rows, delivery_of
from cdc_bridge.deliveries.timeline import TimelineAttempt, attempts_between
from cdc_bridge.endpoints.lookup import known_endpoints
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError, NotFound, WrongUsage
from cdc_bridge.model import DeliveryState, ReservationId
from cdc_bridge.web import portal
from cdc_bridge.web.instants import instant
from cdc_bridge.web.notices import error_text, sentence
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import session_of, site_of

_DELIVERIES_PER_PAGE = 50
RETRYABLE = {DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD, DeliveryState.SKIPPED}


async def list_(request: web.Request) -> web.StreamResponse:
    """Show the newest deliveries that match the filter, with their bookings for those who may see them."""
    asked = {
        name: request.query.get(name, "").strip() for name in ("search", "endpoint", "state", "of", "since", "until")
    }
    site, own = site_of(request), session_of(request).endpoint
    if own is not None:  # The guard has seen to that; here it holds for whatever the query was read as.
        asked["endpoint"] = own
    # A vendor sees what the endpoint gets, and bookings have more.
    may_see = own is None and session_of(request).right.includes(Right.CONTENT)
    snapshot = None if own is not None else await site.health.snapshot()
    found, problem = None, None
    try:
        found = await _find(site.database, asked, _after(request), may_see=may_see)
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        problem = error_text(error) if own is None else sentence(portal.told(error))
    given = {name: value for name, value in asked.items() if value}
    is_filtered = bool(given.keys() - ({"endpoint"} if own is not None else set()))
    of_one = asked["endpoint"]
    if not of_one and snapshot is not None and len(snapshot.endpoints) == 1:
        of_one = snapshot.endpoints[0].name
    # Of what is found by other means, and by the time of its change, it would not be the same ones.
    state = asked["state"] if asked["state"] != DeliveryState.SUPERSEDED else ""
    others = state == DeliveryState.QUEUED or any(asked[name] for name in ("search", "of", "since", "until"))
    return await page(
        request,
        "deliveries.html",
        title="Deliveries",
        asked=asked,
        problem=problem,
        found=found,
        is_filtered=is_filtered,
        may_see=may_see,
        older=None if found is None or found.next is None else f"?{urlencode(given | {'after': str(found.next)})}",
        newest=f"?{urlencode(given)}" if "after" in request.query else None,
        # Of too many to choose from, somebody types the name.
        endpoints=[endpoint.name for endpoint in snapshot.endpoints]
        if snapshot is not None and snapshot.has_all
        else None,
        states=[state.value for state in DeliveryState],
        resend=f"/endpoints/{quote(of_one, safe='')}/resend?state={state}" if of_one and not others else None,
        here=request.path_qs,
    )


async def _find(
    sessions: Sessions, asked: Mapping[str, str], after: Cursor | None, *, may_see: bool
) -> FoundDeliveries:
    wanted = await _of_one_reservation(sessions, _wanted(asked), asked["of"])
    if asked["search"] and may_see:
        return await search_deliveries(sessions, wanted, asked["search"], _DELIVERIES_PER_PAGE, after)
    if asked["search"]:
        wanted = replace(wanted, reservation_id=ReservationId(asked["search"]))
    listed = await list_deliveries(sessions, wanted, _DELIVERIES_PER_PAGE, after)
    ids = list(dict.fromkeys(delivery.reservation_id for delivery in listed.deliveries))
    return FoundDeliveries(listed.deliveries, await bookings_of(sessions, ids) if may_see else {}, listed.next)


def _wanted(asked: Mapping[str, str]) -> DeliveryFilter:
    state = asked["state"]
    if state and state not in set(DeliveryState):
        raise WrongUsage(f"There is no state {state}")
    wanted = DeliveryFilter(
        endpoint=asked["endpoint"] or None,
        states=[DeliveryState(state)] if state else [],
        since=instant(asked["since"], "From"),
        until=instant(asked["until"], "Until"),
    )
    if "\0" in asked["search"]:
        raise WrongUsage("Search has a character that no booking has")
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise WrongUsage("From is not before Until")
    return wanted


async def _of_one_reservation(sessions: Sessions, wanted: DeliveryFilter, of: str) -> DeliveryFilter:
    """Restrict a filter to the reservation of a delivery: a key itself may be too long for a URL, or name a guest."""
    if not of:
        return wanted
    endpoint, _, seq = of.rpartition("/")
    try:
        id_ = DeliveryId.parse(seq)
    except ValueError as error:
        raise WrongUsage(f"{seq[:50]} {error}") from None
    delivery = await find_any_delivery(sessions, id_, endpoint)
    return replace(wanted, reservation_id=delivery.reservation_id)


def _after(request: web.Request) -> Cursor | None:
    if (text := request.query.get("after")) is None:
        return None
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise WrongUsage(f"{text[:50]} {error}") from None


async def show(request: web.Request) -> web.StreamResponse:
    """Show one delivery and its attempts, with responses and a preview of its request for those who may see them."""
    site, wanted, name = site_of(request), delivery_id(request), request.match_info["endpoint"]
    sees_content = session_of(request).right.includes(Right.CONTENT)
    delivery, timeline = await _found(site.database, wanted, name, with_responses=sees_content)
    newest = delivery
    if not delivery.is_newest:
        newest, _ = await _found(site.database, DeliveryId(delivery.newest_seq, None), name)
    endpoints = await site.database.read(partial(known_endpoints, name=name)) if delivery.state.is_pending else ()
    preview, booking = None, None
    if sees_content and session_of(request).endpoint is None:
        booking = (await bookings_of(site.database, [delivery.reservation_id])).get(delivery.reservation_id)
    if sees_content:
        preview = await preview_request(site.database, newest, site.settings.now, datetime.now(UTC))
    return await page(
        request,
        "delivery.html",
        title=f"Delivery {delivery.seq}",
        delivery=delivery,
        facts=dict(as_rows(delivery, wanted)),
        silence=next((endpoint.silence for endpoint in endpoints), None),
        booking=booking,
        timeline=timeline,
        missing=attempts_between(timeline),
        no_response_kept=sees_content and _no_response_kept(timeline),
        preview=preview if isinstance(preview, RequestPreview) else None,
        body=indented(preview.body).decode() if isinstance(preview, RequestPreview) else None,
        no_request=_why_no_request(preview, own=session_of(request).endpoint is not None),
    )


def _no_response_kept(timeline: Sequence[TimelineAttempt]) -> bool:
    """Return whether attempts were responded to and failed, and nothing is kept of the responses."""
    failed = [attempt for attempt in timeline if attempt.status is not None and attempt.reason is not None]
    return bool(failed) and all(attempt.response is None for attempt in failed)


def _why_no_request(preview: RequestPreview | NoPreview | None, *, own: bool) -> str | None:
    if not isinstance(preview, NoPreview):
        return None
    return "Nothing can be sent now." if own and preview.is_internal else preview.reason


def delivery_id(request: web.Request) -> DeliveryId:
    """Return the delivery that the path names."""
    try:
        return DeliveryId.parse(request.match_info["seq"])
    except ValueError as error:
        raise web.HTTPNotFound(text=f"{request.match_info['seq']} {error}") from None


async def _found(
    sessions: Sessions, wanted: DeliveryId, endpoint: str, *, with_responses: bool = False
) -> tuple[DeliveryDetails, list[TimelineAttempt]]:
    try:
        return await delivery_of(sessions, wanted, endpoint, with_responses=with_responses)
    except NotFound as error:
        raise web.HTTPNotFound(text=str(error)) from None
