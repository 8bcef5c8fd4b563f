"""The operation that sends reservations again. What takes long goes on after the response."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import structlog
from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.access.rights import Right
from cdc_bridge.database import one_connection
from cdc_bridge.deliveries.replay import ReplayProgress, Selection, count, replay
from cdc_bridge.endpoints.lookup import EndpointRef, resolve_endpoint
from cdc_bridge.errors import BridgeError, Conflict, Fault, FaultyInput, WrongUsage
from cdc_bridge.model import DeliveryState, ReservationId
from cdc_bridge.web.api import fields
from cdc_bridge.web.api.endpoints import name_in
from cdc_bridge.web.api.fields import Input
from cdc_bridge.web.api.idempotency import IdempotencyKey, idempotency_key, work_once
from cdc_bridge.web.api.operations import Operation, Success
from cdc_bridge.web.api.results import Result
from cdc_bridge.web.api.schemas import NUMBER, SWITCH, WARNINGS, object_of
from cdc_bridge.web.api.test_requests import TIMEOUT_SECONDS, place_for_work
from cdc_bridge.web.requests import actor_of, log_change, site_of

_RESPOND_WITHIN_SECONDS = 5.0
_MOST_RESERVATIONS = 500

_REPLAY = (
    fields.instant("since", "Reservations sent at this time or later."),
    fields.instant("until", "And before this time."),
    fields.texts("reservations", "Keys of reservations.", most=_MOST_RESERVATIONS),
    fields.choices("states", "Reservations whose newest delivery is in one of these states.", DeliveryState),
    fields.switch("dry_run", "Count, and queue nothing."),
)

Connection = AsyncConnection[TupleRow]

_log = structlog.get_logger(__name__)


async def send_again(request: web.Request, body: Input) -> web.Response:
    """Make the newest delivery of each selected reservation due."""
    selection, site, name = _selection(body), site_of(request), name_in(request)
    if body.values["dry_run"]:
        async with place_for_work(request), one_connection(site.database_url) as connection:
            endpoint = await _endpoint(connection, name)
            await _require_delivered_before(connection, endpoint, selection.reservation_ids)
            counted = await count(connection, endpoint, selection)
            return _result(counted, complete=True).response()
    key = await idempotency_key(request)
    if name in site.replays:
        raise Conflict(f"a replay for {name} is under way", "Wait until it has ended.")
    done = ReplayProgress()
    work = asyncio.create_task(_replay(request, name, selection, done, key))
    site.replays[name] = work
    work.add_done_callback(lambda _: site.replays.pop(name))
    await asyncio.wait([work], timeout=_RESPOND_WITHIN_SECONDS)
    if work.done():
        return work.result().response()
    work.add_done_callback(_log_failure)
    return _result(done, complete=False, status=HTTPStatus.ACCEPTED).response()


def _selection(body: Input) -> Selection:
    values, faults = body.values, list(body.faults)
    since, until = values["since"], values["until"]
    if since is not None and until is not None and since >= until:
        faults.append(Fault("since", "since", "has to be before until"))
    if faults:
        raise FaultyInput(*faults)
    reservation_ids = [ReservationId(text) for text in values["reservations"]]
    selection = Selection(since, until, reservation_ids, values["states"])
    if selection == Selection(reservation_ids=[], states=[]):
        raise WrongUsage("say which reservations: since, until, reservations or states")
    return selection


async def _endpoint(connection: Connection, name: str) -> EndpointRef:
    endpoint = await resolve_endpoint(connection, name)
    endpoint.require_same_cluster()
    return endpoint


async def _replay(
    request: web.Request, name: str, selection: Selection, done: ReplayProgress, key: IdempotencyKey | None
) -> Result:
    async def work(connection: Connection) -> Result:
        ended = False
        try:
            endpoint = await _endpoint(connection, name)
            await _require_delivered_before(connection, endpoint, selection.reservation_ids)
            await replay(connection, endpoint, selection, done, lambda _: None, by=actor_of(request))
            ended = True
            return _result(done, complete=True, warnings=[endpoint.silence] if endpoint.silence else [])
        finally:  # Also where the daemon stops meanwhile.
            if ended or done.queued:
                log_change(
                    request, "reservations sent again", endpoint=name, reservations=done.queued, all_of_them=ended
                )

    async with place_for_work(request), one_connection(site_of(request).database_url) as connection:
        return await work_once(connection, key, lambda: work(connection))


async def _require_delivered_before(
    connection: Connection, endpoint: EndpointRef, reservation_ids: Sequence[ReservationId]
) -> None:
    """Make sure that the delivery log has all of some reservations; nothing is queued if one is missing.

    Raises:
        FaultyInput: It lacks some.
    """
    if not reservation_ids:
        return
    known = (await count(connection, endpoint, Selection(reservation_ids=reservation_ids))).named
    if lacking := [number for number, each in enumerate(reservation_ids) if each not in known]:
        words = "is not in the delivery log; to send it for the first time: cdc-bridge backfill"
        raise FaultyInput(*(Fault(f"reservations[{number}]", "", words) for number in lacking))


def _result(
    progress: ReplayProgress, *, complete: bool, status: HTTPStatus = HTTPStatus.OK, warnings: Sequence[str] = ()
) -> Result:
    numbers = {"selected": progress.selected, "queued": progress.queued}
    return Result({**numbers, "complete": complete, "warnings": [*warnings]}, status)


def _log_failure(work: asyncio.Task[Result]) -> None:
    """Log why a replay ended early, as nobody waits for its result any more."""
    if work.cancelled() or (error := work.exception()) is None:
        return
    problem = error.problem if isinstance(error, BridgeError) else ""
    _log.warning("replay failed", problem=problem, exc_info=None if problem else error)


_PROGRESS = object_of(
    {
        "selected": {**NUMBER, "description": "Reservations selected."},
        "queued": {
            **NUMBER,
            "description": "Those of them that are queued now. The others have a newer change on its way, or were "
            "delivered meanwhile.",
        },
        "complete": {**SWITCH, "description": "If not, it goes on; see the list of queued deliveries."},
        "warnings": WARNINGS,
    }
)

OPERATIONS = (
    Operation(
        name="replay",
        method="POST",
        path="/endpoints/{name}/replay",
        handler=send_again,
        right=Right.CHANGE,
        summary="Send reservations again that were sent before",
        description="Queues the newest delivery of each; it is sent with the reservation's current data. With an "
        "idempotency key, repeat the request to learn how a replay ended that goes on.",
        body=_REPLAY,
        success={
            HTTPStatus.OK: Success("The reservations are queued.", _PROGRESS),
            HTTPStatus.ACCEPTED: Success("So many are queued so far, and it goes on.", _PROGRESS),
        },
        problems=(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        idempotency_key=True,
        timeout_seconds=TIMEOUT_SECONDS,
    ),
)
