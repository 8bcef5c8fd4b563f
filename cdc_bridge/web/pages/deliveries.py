"""Deliveries: the latest, one of them, and sending again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote, urlencode

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter, list_deliveries
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId, find_delivery
from cdc_bridge.deliveries.payload_preview import indented
from cdc_bridge.deliveries.replay import ReplayProgress, Selection, replay
from cdc_bridge.deliveries.request_preview import NoPreview, RequestPreview, preview_request
from cdc_bridge.deliveries.retry import RetryAction, retry
from cdc_bridge.deliveries.show import as_rows
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError, WrongUsage
from cdc_bridge.model import DeliveryState, ReservationId
from cdc_bridge.web.access import Right
from cdc_bridge.web.notices import error_in_words, say, sentence, told_on_the_next_page
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import form_of, log_change, session_of, site_of

_A_PAGE = 50
_MOST_CHOSEN = 500
_ANSWER_WITHIN_SECONDS = 5.0
_CAN_BE_RETRIED = {DeliveryState.QUEUED, DeliveryState.RETRYING, DeliveryState.DEAD, DeliveryState.SKIPPED}

Connection = AsyncConnection[TupleRow]


async def list_(request: web.Request) -> web.StreamResponse:
    """Show the latest deliveries, or those that are asked for."""
    asked = {
        name: request.query.get(name, "").strip() for name in ("endpoint", "state", "reservation", "since", "until")
    }
    look = await site_of(request).observer.look()
    listed, problem = None, None
    try:
        wanted, after = _wanted(asked), _after(request)
        listed = await site_of(request).database.read(
            lambda connection: list_deliveries(connection, wanted, _A_PAGE, after)
        )
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        problem = error_in_words(error)
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
        endpoints=[endpoint.name for endpoint in look.endpoints],
        states=[state.value for state in DeliveryState],
        dead=asked["state"] == DeliveryState.DEAD and asked["endpoint"] != "",
        can_be_retried=_CAN_BE_RETRIED,
        some_can_be=listed is not None and any(one.state in _CAN_BE_RETRIED for one in listed.deliveries),
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
        raise WrongUsage("Reservation has characters that no id has")
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise WrongUsage("From is not before Until")
    return wanted


def _instant(text: str, label: str) -> datetime | None:
    """Read a time; without a zone it is UTC, as the field's label says."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongUsage(f"{label} is not a time, as 2026-07-01T18:30") from None


def _after(request: web.Request) -> Cursor | None:
    if (text := request.query.get("after")) is None:
        return None
    try:
        return Cursor.parse(text)
    except ValueError as error:
        raise WrongUsage(f"{text[:50]} {error}") from None


async def show(request: web.Request) -> web.StreamResponse:
    """Show one delivery, and to who may see it what would be sent now."""
    site, wanted, name = site_of(request), _id(request), request.match_info["endpoint"]

    async def read(connection: Connection) -> tuple[DeliveryDetails, RequestPreview | NoPreview | None]:
        delivery = await _found(connection, wanted, name)
        if session_of(request).right is not Right.ALL:
            return delivery, None
        newest = (
            delivery if delivery.is_newest else await _found(connection, DeliveryId(delivery.newest_seq, None), name)
        )
        return delivery, await preview_request(connection, newest, site.settings.now, datetime.now(UTC))

    delivery, call = await site.database.read(read)
    return await page(
        request,
        "delivery.html",
        title=f"Delivery {delivery.seq}",
        delivery=delivery,
        words=dict(as_rows(delivery, wanted)),
        call=call if isinstance(call, RequestPreview) else None,
        body=indented(call.body).decode() if isinstance(call, RequestPreview) else None,
        no_call=call.reason if isinstance(call, NoPreview) else None,
    )


def _id(request: web.Request) -> DeliveryId:
    try:
        return DeliveryId.parse(request.match_info["seq"])
    except ValueError as error:
        raise web.HTTPNotFound(text=f"{request.match_info['seq']} {error}") from None


async def _found(connection: Connection, wanted: DeliveryId, endpoint: str) -> DeliveryDetails:
    try:
        return await find_delivery(connection, wanted, endpoint)
    except BridgeError as error:
        raise web.HTTPNotFound(text=str(error)) from None


async def send_again(request: web.Request) -> web.StreamResponse:
    """Have the delivery, or where that was accepted its reservation, called once more."""
    site, wanted, name = site_of(request), _id(request), request.match_info["endpoint"]
    with told_on_the_next_page(request):
        async with one_connection(site.database_url) as connection:
            delivery = await _found(connection, wanted, name)
            if delivery.state in _CAN_BE_RETRIED:
                said = str(await retry(connection, wanted, name))
            else:
                said = await _replay_reservation(connection, delivery)
            say_silence = (await resolve_endpoint(connection, name)).silence
        log_change(request, "delivery sent again", endpoint=name, seq=delivery.seq)
        say(request, sentence(said))
        if say_silence:
            say(request, sentence(say_silence), good=False)
    raise web.HTTPSeeOther(f"/deliveries/{quote(name, safe='')}/{wanted.seq}")


async def _replay_reservation(connection: Connection, delivery: DeliveryDetails) -> str:
    endpoint = await resolve_endpoint(connection, delivery.endpoint)
    endpoint.require_same_cluster()
    done = ReplayProgress()
    await replay(connection, endpoint, Selection(reservation_ids=[delivery.reservation_id]), done, lambda _: None)
    if not done.queued:
        return f"Reservation {delivery.reservation_id} has a newer change on its way, or was called just now"
    return f"Reservation {delivery.reservation_id} is called once more, as it stands now"


async def retry_chosen(request: web.Request) -> web.StreamResponse:
    """Have those called again that were chosen in the list."""
    site, sent = site_of(request), await form_of(request)
    chosen = sent.getall("delivery", [])[:_MOST_CHOSEN]
    done, silence = 0, None
    with told_on_the_next_page(request):
        if not chosen:
            raise WrongUsage("None was chosen")
        async with one_connection(site.database_url) as connection:
            for text in chosen:
                endpoint, _, seq = text.rpartition("/")
                try:
                    retried = await retry(connection, _parsed(seq), endpoint)
                    silence = silence or (await resolve_endpoint(connection, endpoint)).silence
                except (DatabaseUnavailable, InstallationError):
                    raise
                except BridgeError as error:
                    say(request, sentence(error.problem), remedy=error.remedy, good=False)
                else:
                    done += retried.action is not RetryAction.SUPERSEDED
                    if retried.action is not RetryAction.DUE:
                        say(request, sentence(str(retried)))
    if done:
        log_change(request, "deliveries sent again", chosen=chosen, done=done)
        say(request, f"{done} of {len(chosen)} are due now.")
    if silence:
        say(request, sentence(silence), good=False)
    raise web.HTTPSeeOther(_back(sent.get("back", "")))


def _parsed(seq: str) -> DeliveryId:
    try:
        return DeliveryId.parse(seq)
    except ValueError as error:
        raise WrongUsage(f"{seq[:40]} {error}") from None


def _back(path: str) -> str:
    return path if path.startswith("/deliveries?") and path.isascii() and path.isprintable() else "/deliveries"


async def retry_all_dead(request: web.Request) -> web.StreamResponse:
    """Have all dead letters of an endpoint called again; if that takes long, it goes on after the answer."""
    site, name = site_of(request), request.match_info["name"]
    if name in site.long_work:
        say(request, f"That is under way already for {name}. See them wait in the list.")
        raise web.HTTPSeeOther(_waiting_at(name))
    done = ReplayProgress()
    work = site.long_work[name] = asyncio.create_task(_replay_dead(request, name, done))
    work.add_done_callback(lambda _: site.long_work.pop(name))
    await asyncio.wait([work], timeout=_ANSWER_WITHIN_SECONDS)
    with told_on_the_next_page(request):
        if work.done():
            work.result()
        else:
            # Whatever becomes of it is said when this one asks for a page after its end.
            work.add_done_callback(partial(_tell_end, request))
            say(request, f"{done.queued:,} so far are called once more. It goes on; see them wait in the list.")
    raise web.HTTPSeeOther(_waiting_at(name))


def _waiting_at(name: str) -> str:
    return f"/deliveries?{urlencode({'endpoint': name, 'state': 'retrying'})}"


async def _replay_dead(request: web.Request, name: str, done: ReplayProgress) -> None:
    ended = False
    try:
        async with one_connection(site_of(request).database_url) as connection:
            endpoint = await resolve_endpoint(connection, name)
            endpoint.require_same_cluster()
            await replay(connection, endpoint, Selection(states=[DeliveryState.DEAD]), done, lambda _: None)
        ended = True
        say(request, f"{done.queued:,} reservations with dead letters at {name} are called once more.")
        if endpoint.silence:
            say(request, sentence(endpoint.silence), good=False)
    finally:  # Also where the daemon stops meanwhile.
        if ended or done.queued:
            log_change(request, "dead letters sent again", endpoint=name, reservations=done.queued, all_of_them=ended)


def _tell_end(request: web.Request, work: asyncio.Task[None]) -> None:
    with told_on_the_next_page(request):
        if not work.cancelled():
            work.result()
