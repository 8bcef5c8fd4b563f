"""Sends deliveries again: one, or those selected in the list."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.lookup import DeliveryId, find_delivery
from cdc_bridge.deliveries.replay import ReplayProgress, Selection, replay
from cdc_bridge.deliveries.retry import RetryAction, retry
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError, WrongUsage, shortened
from cdc_bridge.model import ReservationId
from cdc_bridge.web.notices import errors_as_notices, say, sentence
from cdc_bridge.web.pages.deliveries import RETRYABLE, delivery_id
from cdc_bridge.web.requests import actor_of, form_of, log_change, site_of

_MOST_SELECTED = 500
_MOST_SILENCES = 3

Connection = AsyncConnection[TupleRow]


async def send_again(request: web.Request) -> web.StreamResponse:
    """Retry a delivery, or replay its reservation if it was delivered."""
    site, wanted, name = site_of(request), delivery_id(request), request.match_info["endpoint"]
    with errors_as_notices(request):
        async with one_connection(site.database_url) as connection:
            say(request, sentence(await _send_again(connection, wanted, name, actor_of(request))))
            silence = (await resolve_endpoint(connection, name)).silence
        log_change(request, "delivery sent again", endpoint=name, seq=wanted.seq)
        if silence:
            say(request, sentence(silence), good=False)
    raise web.HTTPSeeOther(f"/deliveries/{quote(name, safe='')}/{wanted.seq}")


async def _send_again(connection: Connection, wanted: DeliveryId, name: str, by: Actor) -> str:
    """Have a delivery sent again; return what was done, as a clause.

    Raises:
        NotFound: There is no such delivery in the delivery log.
        Conflict: It cannot be sent again now.
    """
    delivery = await find_delivery(connection, wanted, name)
    if delivery.state in RETRYABLE:
        return f"delivery {await retry(connection, wanted, name, by=by)}"
    endpoint = await resolve_endpoint(connection, delivery.endpoint)
    endpoint.require_same_cluster()
    done, reservation = ReplayProgress(), f"reservation {shortened(delivery.reservation_id)}"
    selection = Selection(reservation_ids=[delivery.reservation_id])
    await replay(connection, endpoint, selection, done, lambda _: None, by=by, delivery=delivery.seq)
    if not done.queued:
        return f"{reservation} has a newer change on its way, or was delivered just now"
    return f"{reservation} is queued in its current state"


async def send_selected(request: web.Request) -> web.StreamResponse:
    """Send the deliveries again that were selected in the list."""
    site, sent = site_of(request), await form_of(request)
    selected = sent.getall("delivery", [])[:_MOST_SELECTED]
    queued, silences = 0, set[str]()
    with errors_as_notices(request):
        if not selected:
            raise WrongUsage("No delivery was selected")
        delivered: dict[str, set[ReservationId]] = {}
        async with one_connection(site.database_url) as connection:
            for text in selected:
                name, _, seq = text.rpartition("/")
                try:
                    found = await find_delivery(connection, _parsed(seq), name)
                    if found.state in RETRYABLE:
                        done = await retry(connection, _parsed(seq), name, by=actor_of(request))
                        queued += done.action is not RetryAction.SUPERSEDED
                        silences.update(filter(None, [(await resolve_endpoint(connection, name)).silence]))
                    else:
                        delivered.setdefault(name, set()).add(found.reservation_id)
                except (DatabaseUnavailable, InstallationError):
                    raise
                except BridgeError as error:
                    say(request, sentence(error.problem), remedy=error.remedy, good=False)
            for name, ids in delivered.items():
                endpoint = await resolve_endpoint(connection, name)
                endpoint.require_same_cluster()
                progress = ReplayProgress()
                selection = Selection(reservation_ids=sorted(ids))
                await replay(connection, endpoint, selection, progress, lambda _: None, by=actor_of(request))
                queued += progress.queued
                silences.update(filter(None, [endpoint.silence]))
        if queued:
            log_change(request, "deliveries sent again", chosen=selected, done=queued)
        say(request, f"{queued} of {len(selected)} are sent again.")
    for silence in sorted(silences)[:_MOST_SILENCES]:
        say(request, sentence(silence), good=False)
    raise web.HTTPSeeOther(_back(sent.get("back", "")))


def _parsed(seq: str) -> DeliveryId:
    try:
        return DeliveryId.parse(seq)
    except ValueError as error:
        raise WrongUsage(f"{seq[:40]} {error}") from None


def _back(path: str) -> str:
    return path if path.startswith("/deliveries?") and path.isascii() and path.isprintable() else "/deliveries"
