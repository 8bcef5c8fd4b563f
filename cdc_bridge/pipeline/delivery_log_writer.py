"""Writes the delivery log and the positions, of all endpoints of a daemon together.

While one transaction is under way, what the endpoints have settled gathers for the next one. So batches grow by
themselves under load, however many endpoints there are, and a delivery of an idle endpoint is recorded at once.

Somebody may lock rows for as long as they like: an endpoint's, whose position is then written another time; or
deliveries', whose endpoint then has to try again while all others go on. The renewal of the leases waits for neither.

Attempts that are kept go with them. They keep nothing from being written: if they are at fault, as somebody has locked
their table, they are given up, and so are all others for a minute.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import orjson
import structlog
from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import LockNotAvailable
from psycopg.rows import TupleRow

from cdc_bridge.capture.change_log import PAGE_BYTES
from cdc_bridge.capture.position import Position
from cdc_bridge.database import ServerDatabase
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.errors import LeaseLost, RowsLocked, StatementFailed
from cdc_bridge.model import Change, EndpointId, Operation, SkipReason
from cdc_bridge.pipeline.in_flight import InFlight, KeptAttempt
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.queries import load_queries
from cdc_bridge.tasks import end
from cdc_bridge.transport.outcome import Failed

_queries = load_queries(__name__)

_BATCH_LIMIT = 1000
_LOCK_TIMEOUT = "500ms"
"""How long a transaction waits for rows that somebody has locked."""
_LOCK_TIMEOUT_ALONE = "20ms"
"""The same for what was locked before: meanwhile nothing else is written."""

_WITHOUT_ATTEMPTS_SECONDS = 60.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_LOST = "another daemon has acquired the lease of the endpoint"


@dataclass(slots=True)
class Moves:
    """Endpoints that begin to follow the daemon's position, or stop to."""

    follow: Sequence[Lease] = ()
    """Everything of them is recorded that was handed over."""
    leave: Sequence[tuple[Lease, Position]] = ()
    """With their own positions."""


@dataclass(slots=True)
class _Request:
    """What is to be written."""

    lease: Lease | None
    deliveries: Sequence[InFlight]
    position: Callable[[], Position | None]
    """Asked when it is written."""
    moves: Callable[[], Moves]
    attempts: Sequence[KeptAttempt]
    alone: bool
    """Whether rows of it were locked, so that others are not to wait with it."""
    done: asyncio.Future[frozenset[EndpointId]]
    """The endpoints whose rows were written."""


class DeliveryLogWriter:
    """Writes the deliveries of all endpoints of this daemon, many in one transaction, and the positions."""

    def __init__(self, database: ServerDatabase, registration: Registration, shared: SharedPosition) -> None:
        """Prepare to write; must run inside the event loop.

        Args:
            database: The server that the registration is made on.
            registration: This daemon's.
            shared: The position of the endpoints that follow.
        """
        self._database = database
        self._registration = registration
        self._shared = shared
        self._waiting: deque[_Request] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._keeps_attempts_from = float("-inf")

    async def record(
        self,
        lease: Lease,
        deliveries: Sequence[InFlight],
        position: Callable[[], Position | None],
        attempts: Sequence[KeptAttempt] = (),
        *,
        alone: bool = False,
    ) -> None:
        """Write deliveries of an endpoint, and its position unless somebody has locked its row.

        Repeating it, where it is not known whether it was committed, changes nothing but the counts of what is skipped.

        Args:
            lease: The endpoint's.
            deliveries: The deliveries.
            position: Returns the endpoint's own position once they are recorded; ``None``: it follows the daemon's.
            attempts: Attempts to keep, if that can be done.
            alone: Whether to write nothing else in the transaction: their rows were locked before.

        Raises:
            LeaseLost: Another daemon has acquired the lease; nothing was written.
            StatementFailed: PostgreSQL rejected a statement or a delivery; nothing was written.
            RowsLocked: Somebody has locked a delivery; nothing was written.
        """
        await self._write(lease, deliveries, position, Moves, attempts, alone=alone)

    async def move(self, moves: Callable[[], Moves]) -> Collection[EndpointId]:
        """Write the daemon's position, and who follows it; raises the same.

        Args:
            moves: Returns that when it is written.

        Returns:
            The endpoints of which it is written: not those whose rows somebody has locked.
        """
        return await self._write(None, (), lambda: None, moves)

    async def close(self) -> None:
        """Give up what is not written."""
        if self._writing is not None:
            await end([self._writing])

    async def _write(
        self,
        lease: Lease | None,
        deliveries: Sequence[InFlight],
        position: Callable[[], Position | None],
        moves: Callable[[], Moves],
        attempts: Sequence[KeptAttempt] = (),
        *,
        alone: bool = False,
    ) -> Collection[EndpointId]:
        done: asyncio.Future[frozenset[EndpointId]] = asyncio.get_running_loop().create_future()
        request = _Request(lease, deliveries, position, moves, attempts, alone, done)
        self._waiting.append(request)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting())
        return await request.done

    async def _write_waiting(self) -> None:
        batch: list[_Request] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                await self._write_batch(batch)
        finally:
            for request in [*batch, *self._waiting]:
                request.done.cancel()
            self._waiting.clear()

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size = key_bytes = 0
        while self._waiting and (not batch or (size < _BATCH_LIMIT and key_bytes < PAGE_BYTES)):
            if batch and (batch[0].alone or self._waiting[0].alone):
                break
            request = self._waiting.popleft()
            if request.done.cancelled():
                continue
            batch.append(request)
            size += len(request.deliveries) + len(request.attempts)
            key_bytes += sum(delivery.change.key_bytes for delivery in request.deliveries)
        return batch

    async def _write_batch(self, batch: Sequence[_Request]) -> None:
        try:
            lost, written = await self._write_with_attempts(batch)
        except (StatementFailed, RowsLocked) as error:
            if len(batch) > 1:
                for request in batch:  # Each endpoint finds out by itself what of it is at fault or locked.
                    await self._write_batch([request])
                return
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever waits decides
            _fail(batch, error)
        else:
            for request in batch:
                if request.lease is not None and request.lease.endpoint_id in lost:
                    _fail([request], LeaseLost(_LOST))
                elif not request.done.done():
                    request.done.set_result(written)

    async def _write_with_attempts(self, batch: Sequence[_Request]) -> tuple[set[EndpointId], frozenset[EndpointId]]:
        """Write in one transaction, and give up the attempts if they are at fault that it fails."""
        now = asyncio.get_running_loop().time
        attempts = [(request.lease, kept) for request in batch if request.lease for kept in request.attempts]
        if now() < self._keeps_attempts_from:
            attempts = []
        try:
            return await self._write_together(batch, attempts)
        except (StatementFailed, RowsLocked) as error:
            if not attempts:
                raise
            written = await self._write_together(batch, ())
            self._keeps_attempts_from = now() + _WITHOUT_ATTEMPTS_SECONDS
            _log.warning("attempts not kept", problem=error.problem, seconds=_WITHOUT_ATTEMPTS_SECONDS)
            return written

    async def _write_together(
        self, batch: Sequence[_Request], attempts: Sequence[tuple[Lease, KeptAttempt]]
    ) -> tuple[set[EndpointId], frozenset[EndpointId]]:
        """Write in one transaction.

        Returns:
            The endpoints whose lease is not ours, of which nothing was written; and those whose rows were written.
        """
        settled = [(request.lease, delivery) for request in batch if request.lease for delivery in request.deliveries]
        moves = [request.moves() for request in batch]
        pages = [delivery.page.shared for _, delivery in settled if delivery.page is not None]
        position = self._shared.next(page for page in pages if page is not None)
        ours = {"daemon_id": self._registration.daemon_id, "daemon_table": self._registration.table}
        limit = {"lock_timeout": _LOCK_TIMEOUT_ALONE if batch[0].alone else _LOCK_TIMEOUT}
        leases = {request.lease.endpoint_id: request.lease for request in batch if request.lease is not None}
        rows = orjson.dumps([_row(lease, delivery) for lease, delivery in settled]).decode()
        newest = ours | {
            "endpoint_ids": [lease.endpoint_id for lease, _ in settled],
            "fencing_tokens": [lease.fencing_token for lease, _ in settled],
            "seqs": [delivery.change.seq for _, delivery in settled],
            "reservation_ids": [delivery.change.reservation_id for _, delivery in settled],
            "states": [delivery.state.value for _, delivery in settled],
            "skip_reasons": [delivery.skip_reason for _, delivery in settled],
        }
        changed = _endpoints(batch, [each for one in moves for each in one.leave])
        following = [lease for one in moves for lease in one.follow]

        async def write(
            connection: AsyncConnection[TupleRow],
        ) -> tuple[AsyncCursor[TupleRow], list[AsyncCursor[TupleRow]]]:
            written: list[AsyncCursor[TupleRow]] = []
            # All in one round trip, COMMIT included: a process that is frozen in between would leave its locks to the
            # others.
            async with connection.pipeline(), connection.transaction():
                # First: nobody ends its leases while the others are written.
                held = await connection.execute(_queries["hold_registration"], ours | limit | _of(leases.values()))
                if attempts:  # In front of the deliveries: one that is skipped gets a row if it was attempted.
                    is_utf_8 = connection.info.parameter_status("server_encoding") == "UTF8"
                    await connection.execute(
                        _queries["keep_attempts"], ours | {"attempts": _attempt_rows(attempts, is_utf_8=is_utf_8)}
                    )
                if leases:  # Also without a delivery: it says whether any can be recorded.
                    await connection.execute(_queries["record_deliveries"], ours | {"settlements": rows})
                if settled:
                    await connection.execute(_queries["settle_older"], newest)
                if changed["endpoint_ids"]:
                    written.append(await connection.execute(_queries["move_endpoints"], ours | changed))
                if following:
                    written.append(await connection.execute(_queries["follow"], ours | _of(following)))
                if position is not None:
                    # Last: a renewal waits for it.
                    await connection.execute(_queries["move_daemon"], ours | _position(position))
            return held, written

        held, written = await self._database.patiently(partial(_unless_locked, write))
        if held.rowcount == 0:
            raise LeaseLost("another daemon has ended the leases of this one")
        ((lost, _),) = await held.fetchall()
        if position is not None:
            self._shared.written(position)
        endpoint_ids = [endpoint_id for cursor in written for (endpoint_id,) in await cursor.fetchall()]
        return set(lost), frozenset(endpoint_ids)


async def _unless_locked(
    write: Callable[[AsyncConnection[TupleRow]], Awaitable[T]], connection: AsyncConnection[TupleRow]
) -> T:
    """Raise ``RowsLocked`` instead of what means, in other statements, that the database is unavailable."""
    try:
        return await write(connection)
    except LockNotAvailable as error:
        raise RowsLocked("somebody has locked rows of the delivery log") from error


def _fail(batch: Sequence[_Request], error: Exception) -> None:
    for request in batch:
        if not request.done.done():
            request.done.set_exception(error)


def _of(leases: Iterable[Lease]) -> dict[str, list[object]]:
    leases = list(leases)
    return {
        "endpoint_ids": [lease.endpoint_id for lease in leases],
        "fencing_tokens": [lease.fencing_token for lease in leases],
    }


def _position(position: Position | None) -> dict[str, object]:
    place = None if position is None else position.place
    return {
        "position": None if position is None else str(position.snapshot),
        "place_xid": None if place is None else str(place.xid),
        "place_seq": None if place is None else place.seq,
    }


@dataclass(slots=True)
class _ChangedEndpoint:
    """What changes in an endpoint's row: its own position, and how many deliveries were skipped."""

    lease: Lease
    position: Position | None = None
    skipped: Counter[SkipReason | None] = field(default_factory=Counter)


def _endpoints(batch: Sequence[_Request], leave: Sequence[tuple[Lease, Position]]) -> dict[str, list[object]]:
    found: dict[EndpointId, _ChangedEndpoint] = {}
    for lease, position in leave:
        found[lease.endpoint_id] = _ChangedEndpoint(lease, position)
    for request in batch:
        if request.lease is not None:
            one = found.setdefault(request.lease.endpoint_id, _ChangedEndpoint(request.lease))
            one.position = request.position() or one.position
            one.skipped.update(each.skip_reason for each in request.deliveries if each.skip_reason is not None)
    changed = [one for one in found.values() if one.position is not None or one.skipped]
    positions = [_position(one.position) for one in changed]
    columns: dict[str, list[object]] = {
        "positions": [position["position"] for position in positions],
        "place_xids": [position["place_xid"] for position in positions],
        "place_seqs": [position["place_seq"] for position in positions],
    }
    skipped: dict[str, list[object]] = {
        f"skipped_{reason}": [one.skipped[reason] for one in changed] for reason in SkipReason
    }
    return columns | skipped | _of(one.lease for one in changed)


def _row(lease: Lease, delivery: InFlight) -> dict[str, object]:
    attempt = delivery.last_attempt
    return _change_row(lease, delivery.change) | {
        "state": delivery.state,
        "skip_reason": delivery.skip_reason,
        "attempts": delivery.attempts,
        "failures": delivery.failures,
        "pause": delivery.pause_seconds,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "message_id": attempt and attempt.message_id,
        "last_attempt_at": attempt and attempt.began_at,
        "duration": attempt and attempt.duration_seconds,
    }


def _attempt_rows(attempts: Sequence[tuple[Lease, KeptAttempt]], *, is_utf_8: bool) -> str:
    return orjson.dumps(
        [_attempt_row(lease, kept, place, is_utf_8=is_utf_8) for place, (lease, kept) in enumerate(attempts)]
    ).decode()


def _attempt_row(lease: Lease, kept: KeptAttempt, place: int, *, is_utf_8: bool) -> dict[str, object]:
    attempt, outcome, response = kept.attempt, kept.attempt.outcome, kept.attempt.response
    if response is not None and not is_utf_8:  # The server may not have all characters.
        response = response.encode("ascii", "backslashreplace").decode()
    return _change_row(lease, kept.change) | {
        "place": place,
        "number": kept.number,
        "began_at": attempt.began_at,
        "duration": attempt.duration_seconds,
        "status": outcome.status,
        "reason": outcome.reason if isinstance(outcome, Failed) else None,
        "flaw": attempt.flaw,
        "address": attempt.address,
        "protocol": attempt.protocol,
        "message_id": attempt.message_id,
        "response": response,
    }


def _change_row(lease: Lease, change: Change) -> dict[str, object]:
    return {
        "endpoint_id": lease.endpoint_id,
        "fencing_token": lease.fencing_token,
        "seq": change.seq,
        "reservation_id": change.reservation_id,
        "operation": "I" if change.operation is Operation.CREATED else "U",
        "changed_at": change.changed_at,
    }
