"""Sends deliveries again: one, those selected in the list, or all dead letters of an endpoint."""

from __future__ import annotations

import asyncio
from functools import partial
from urllib.parse import quote, urlencode

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.lookup import DeliveryDetails, DeliveryId
from cdc_bridge.deliveries.replay import ReplayProgress, Selection, replay
from cdc_bridge.deliveries.retry import RetryAction, retry
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError, WrongUsage, shortened
from cdc_bridge.model import DeliveryState
from cdc_bridge.web.notices import errors_as_notices, say, sentence
from cdc_bridge.web.pages.deliveries import RETRYABLE, delivery_id, found_delivery
from cdc_bridge.web.requests import form_of, log_change, site_of

_MOST_SELECTED = 500
_RESPOND_WITHIN_SECONDS = 5.0

Connection = AsyncConnection[TupleRow]


async def send_again(request: web.Request) -> web.StreamResponse:
    """Retry a delivery, or replay its reservation if it was delivered."""
    site, wanted, name = site_of(request), delivery_id(request), request.match_info["endpoint"]
    with errors_as_notices(request):
        async with one_connection(site.database_url) as connection:
            delivery = await found_delivery(connection, wanted, name)
            if delivery.state in RETRYABLE:
                done = str(await retry(connection, wanted, name))
            else:
                done = await _replay_reservation(connection, delivery)
            silence = (await resolve_endpoint(connection, name)).silence
        log_change(request, "delivery sent again", endpoint=name, seq=delivery.seq)
        say(request, sentence(done))
        if silence:
            say(request, sentence(silence), good=False)
    raise web.HTTPSeeOther(f"/deliveries/{quote(name, safe='')}/{wanted.seq}")


async def _replay_reservation(connection: Connection, delivery: DeliveryDetails) -> str:
    endpoint = await resolve_endpoint(connection, delivery.endpoint)
    endpoint.require_same_cluster()
    done = ReplayProgress()
    await replay(connection, endpoint, Selection(reservation_ids=[delivery.reservation_id]), done, lambda _: None)
    if not done.queued:
        return (
            f"Reservation {shortened(delivery.reservation_id)} has a newer change on its way, or was delivered just now"
        )
    return f"Reservation {shortened(delivery.reservation_id)} is queued in its current state"


async def retry_selected(request: web.Request) -> web.StreamResponse:
    """Retry the deliveries that were selected in the list."""
    site, sent = site_of(request), await form_of(request)
    selected = sent.getall("delivery", [])[:_MOST_SELECTED]
    done, silence = 0, None
    with errors_as_notices(request):
        if not selected:
            raise WrongUsage("No delivery was selected")
        async with one_connection(site.database_url) as connection:
            for text in selected:
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
        log_change(request, "deliveries sent again", chosen=selected, done=done)
        say(request, f"{done} of {len(selected)} are due now.")
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


async def replay_dead(request: web.Request) -> web.StreamResponse:
    """Replay all dead letters of an endpoint; if that takes long, it goes on after the response."""
    site, name = site_of(request), request.match_info["name"]
    if name in site.replays:
        say(request, f"A replay for {name} is under way. The list shows its pending deliveries.")
        raise web.HTTPSeeOther(_pending_at(name))
    done = ReplayProgress()
    work = site.replays[name] = asyncio.create_task(_replay_dead(request, name, done))
    work.add_done_callback(lambda _: site.replays.pop(name))
    await asyncio.wait([work], timeout=_RESPOND_WITHIN_SECONDS)
    with errors_as_notices(request):
        if work.done():
            work.result()
        else:
            # Its end is shown on the first page that this session opens afterwards.
            work.add_done_callback(partial(_report_end, request))
            say(request, f"{done.queued:,} reservations are queued so far. The replay goes on.")
    raise web.HTTPSeeOther(_pending_at(name))


def _pending_at(name: str) -> str:
    return f"/deliveries?{urlencode({'endpoint': name, 'state': DeliveryState.QUEUED.value})}"


async def _replay_dead(request: web.Request, name: str, done: ReplayProgress) -> None:
    ended = False
    try:
        async with one_connection(site_of(request).database_url) as connection:
            endpoint = await resolve_endpoint(connection, name)
            endpoint.require_same_cluster()
            await replay(connection, endpoint, Selection(states=[DeliveryState.DEAD]), done, lambda _: None)
        ended = True
        say(request, f"{done.queued:,} reservations with dead letters at {name} are queued.")
        if endpoint.silence:
            say(request, sentence(endpoint.silence), good=False)
    finally:  # Also where the daemon stops meanwhile.
        if ended or done.queued:
            log_change(request, "dead letters sent again", endpoint=name, reservations=done.queued, all_of_them=ended)


def _report_end(request: web.Request, work: asyncio.Task[None]) -> None:
    with errors_as_notices(request):
        if not work.cancelled():
            work.result()
