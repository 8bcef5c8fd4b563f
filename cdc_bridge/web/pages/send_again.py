"""Sends an endpoint bookings that it had, never had or has as they were: by a filter, after a look at how many.

What was asked for goes on after the response; the endpoint's page shows how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from cdc_bridge.audit.log import Action, record
from cdc_bridge.database import one_connection, one_loading_connection
from cdc_bridge.deliveries import backfill as backfills
from cdc_bridge.deliveries import reconcile as reconciliation
from cdc_bridge.deliveries import replay as replays
from cdc_bridge.deliveries.backfill import BackfillOptions, BackfillProgress
from cdc_bridge.deliveries.enqueue import MAX_PENDING, Enqueuer
from cdc_bridge.deliveries.reconcile import ComparedEndpoint, ReconcileReport, SyncState
from cdc_bridge.deliveries.replay import ReplayProgress, Selection
from cdc_bridge.endpoints.lookup import EndpointRef, resolve_endpoint
from cdc_bridge.errors import BridgeError, NotFound, WrongUsage
from cdc_bridge.model import DeliveryState
from cdc_bridge.web.instants import instant
from cdc_bridge.web.notices import error_text, errors_as_notices, say, sentence
from cdc_bridge.web.pages.endpoints import to_endpoint
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import actor_of, form_of, log_change, site_of
from cdc_bridge.web.work import Work

_COUNT_WITHIN_SECONDS = 5.0
_REPAIRED = (SyncState.MISSING, SyncState.STALE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was typed."""

    state: str
    since: str
    until: str
    again: bool
    deliver: bool

    @property
    def times(self) -> tuple[datetime | None, datetime | None]:
        """First and last time.

        Raises:
            WrongUsage: One of them is none, or they are in the wrong order.
        """
        since, until = instant(self.since, "From"), instant(self.until, "Until")
        if since is not None and until is not None and since >= until:
            raise WrongUsage("From is not before Until")
        return since, until

    @property
    def selection(self) -> Selection:
        """What is to be sent again."""
        if self.state and self.state not in set(DeliveryState):
            raise WrongUsage(f"There is no state {self.state}")
        since, until = self.times
        return Selection(since, until, states=[DeliveryState(self.state)] if self.state else [])

    def require_usable(self) -> None:
        """Look at it before anything begins.

        Raises:
            WrongUsage: There is no such state, or a time cannot be used.
        """
        _ = self.selection


def _asked(fields: Mapping[str, str]) -> _Asked:
    state, since, until = (fields.get(name, "").strip() for name in ("state", "since", "until"))
    return _Asked(state, since, until, "again" in fields, "deliver" in fields)


async def _endpoint(request: web.Request) -> EndpointRef:
    name = request.match_info["name"]
    try:
        return await site_of(request).database.read(partial(resolve_endpoint, name=name))
    except NotFound as error:
        raise web.HTTPNotFound(text=str(error)) from None


async def resend_form(request: web.Request) -> web.StreamResponse:
    """Show which bookings would be sent again, and how many."""
    return await _form(request, "resend.html", "Send bookings again", _count_resend)


async def backfill_form(request: web.Request) -> web.StreamResponse:
    """Show how many bookings the endpoint never had."""
    return await _form(request, "backfill.html", "Send bookings that it never had", _count_backfill)


async def reconcile_form(request: web.Request) -> web.StreamResponse:
    """Ask which bookings to compare."""
    return await _form(request, "reconcile.html", "Compare with e-Res", None)


_Count = Callable[[web.Request, EndpointRef, _Asked], Coroutine[None, None, str]]


async def _form(request: web.Request, template: str, title: str, count: _Count | None) -> web.StreamResponse:
    endpoint, asked = await _endpoint(request), _asked(request.query)
    counted, problem = None, None
    try:
        if count is not None and (request.query or template == "backfill.html"):
            counted = await count(request, endpoint, asked)
        elif count is not None:
            asked.require_usable()
    except WrongUsage as error:
        problem = error_text(error)
    return await page(
        request,
        template,
        title=f"{title}: {endpoint.name}",
        endpoint=endpoint,
        asked=asked,
        counted=counted,
        problem=problem,
        states=[state.value for state in DeliveryState if state is not DeliveryState.SUPERSEDED],
        query=urlencode({name: value for name, value in request.query.items() if value}),
    )


async def _count_resend(request: web.Request, endpoint: EndpointRef, asked: _Asked) -> str:
    progress = ReplayProgress()
    selection = asked.selection

    async def count() -> None:
        async with one_connection(site_of(request).database_url) as connection:
            counted = await replays.count(connection, endpoint, selection)
            progress.selected = counted.selected

    return await _counted(count, lambda: progress.selected)


async def _count_backfill(request: web.Request, endpoint: EndpointRef, asked: _Asked) -> str:
    since, _ = asked.times
    found = BackfillProgress()

    async def count() -> None:
        url = site_of(request).database_url
        async with one_connection(url) as connection, one_loading_connection(url) as loading:
            counted = await backfills.count(connection, loading, endpoint, BackfillOptions(since, asked.again))
            found.selected = counted.selected

    return await _counted(count, lambda: found.selected)


async def _counted(count: Callable[[], Coroutine[None, None, None]], number: Callable[[], int]) -> str:
    """Return how many there are; not exactly, if that takes too long."""
    try:
        async with asyncio.timeout(_COUNT_WITHIN_SECONDS):
            await count()
    except TimeoutError:
        return "more than could be counted in five seconds"
    return _bookings(number())


def _bookings(number: int) -> str:
    return "1 booking" if number == 1 else f"{number:,} bookings"


async def resend(request: web.Request) -> web.StreamResponse:
    """Begin to send bookings again."""
    asked, done, actor = _asked(await form_of(request)), ReplayProgress(), actor_of(request)

    async def work(endpoint: EndpointRef) -> None:
        selection = asked.selection
        async with one_connection(site_of(request).database_url) as connection:
            await replays.replay(connection, endpoint, selection, done, lambda _: None, by=actor)

    with errors_as_notices(request):
        asked.require_usable()
        await _start(request, "Sending bookings again", work, lambda: f"{_bookings(done.queued)} queued")
    raise to_endpoint(request.match_info["name"])


async def backfill(request: web.Request) -> web.StreamResponse:
    """Begin to send what the endpoint never had."""
    asked, done, actor = _asked(await form_of(request)), BackfillProgress(), actor_of(request)

    async def work(endpoint: EndpointRef) -> None:
        since, _ = asked.times
        url, options = site_of(request).database_url, BackfillOptions(since, asked.again)
        async with one_connection(url) as connection, one_loading_connection(url) as loading:
            await backfills.backfill(
                connection, loading, endpoint, options, progress=done, on_progress=lambda _: None, by=actor
            )

    def progress() -> str:
        text = f"{_bookings(done.read)} looked at, {done.queued:,} queued"
        return f"{text}; waiting for {done.waiting_for}" if done.waiting_for else text

    with errors_as_notices(request):
        asked.require_usable()
        await _start(request, "Backfill", work, progress)
    raise to_endpoint(request.match_info["name"])


async def reconcile(request: web.Request) -> web.StreamResponse:
    """Begin to compare, and to send what differs if that was asked for."""
    asked, report, actor = _asked(await form_of(request)), ReconcileReport(keep_ids=0), actor_of(request)

    async def work(endpoint: EndpointRef) -> None:
        since, _ = asked.times
        url = site_of(request).database_url
        async with one_connection(url) as connection, one_loading_connection(url) as loading:
            if asked.deliver:
                await record(connection, actor, Action.REPAIR_STARTED, endpoint.name, states=sorted(_REPAIRED))
            await reconciliation.reconcile(
                connection,
                loading,
                ComparedEndpoint(endpoint.endpoint_id, endpoint.subscription, endpoint.events),
                endpoint.first_comparable(since),
                report,
                repair=_REPAIRED if asked.deliver else (),
                enqueuer=Enqueuer(connection, endpoint.endpoint_id, MAX_PENDING, lambda _: None),
                gently=True,
            )
            if since is None:
                await reconciliation.note_compared(connection, endpoint.endpoint_id, report)

    def progress() -> str:
        text = f"{_bookings(report.compared)} compared{_results(report)}"
        return f"{text}; {report.queued:,} queued" if asked.deliver else text

    with errors_as_notices(request):
        asked.require_usable()
        await _start(request, "Comparison with e-Res", work, progress)
    raise to_endpoint(request.match_info["name"])


def _results(report: ReconcileReport) -> str:
    counts = report.counts
    others = [f"{counts[state]:,} {state}" for state in SyncState if state is not SyncState.IN_SYNC and counts[state]]
    same = ["all as they are in e-Res" if not others else f"{counts[SyncState.IN_SYNC]:,} as they are in e-Res"]
    return f": {', '.join([*others, *(same if counts[SyncState.IN_SYNC] else ())])}" if report.compared else ""


async def _start(
    request: web.Request,
    title: str,
    work: Callable[[EndpointRef], Coroutine[None, None, None]],
    progress: Callable[[], str],
) -> None:
    endpoint = await _endpoint(request)
    endpoint.require_same_cluster()
    if endpoint.name in site_of(request).replays:
        raise WrongUsage(f"A replay for {endpoint.name} is under way")

    def note_end(ended: Work) -> None:
        log_change(request, title.lower(), endpoint=endpoint.name, result=progress(), problem=ended.problem or None)

    site_of(request).works.start(endpoint.name, title, partial(work, endpoint), progress, note_end)
    if endpoint.silence:
        say(request, sentence(endpoint.silence), good=False)


async def stop(request: web.Request) -> web.StreamResponse:
    """Stop what is under way for an endpoint."""
    name = request.match_info["name"]
    with errors_as_notices(request):
        if not site_of(request).works.stop(name):
            raise BridgeError(f"nothing is under way for {name}")
    raise to_endpoint(name)
