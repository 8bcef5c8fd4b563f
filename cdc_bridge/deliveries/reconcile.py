"""Compares e-Res's reservations with what an endpoint was told of them last: proves that nothing was missed.

What would be posted for a reservation now is hashed and compared with the hash in the webhook-id of its newest
delivery. That also finds what capture cannot see: rows written while triggers were off or bypassed, rows restored from
elsewhere, a change of the customer or the call alone.

A page of reservations, the ledger, the change log and the position are read in one snapshot, so a change that is on its
way is told from one that was missed, whatever is written meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.enqueue import MOST_AT_ONCE, Chosen, ReservationQueue
from cdc_bridge.deliveries.reservation_keys import ReservationKeys
from cdc_bridge.deliveries.unread_changes import with_unread_changes
from cdc_bridge.model import DeliveryState, EndpointId, ReservationId, Seq
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.queries import load_queries
from cdc_bridge.transport.message import body_hash

_queries = load_queries(__name__)

_PAGE = 2000
"""So many are compared in one snapshot, as the end of the change log is read for each page anew."""

_LOAD = 200
"""So many bodies are in memory at once."""

_LEAST_PAUSE_SECONDS = 0.1


class Standing(StrEnum):
    """How a reservation stands at an endpoint."""

    IN_ORDER = "in order"
    """What was delivered last is what would be posted now."""
    ON_ITS_WAY = "on its way"
    """A delivery waits, or a change is in the log and not in the ledger yet."""
    MISSING = "missing"
    """The endpoint never got it."""
    STALE = "stale"
    """What was delivered last differs from what would be posted now."""
    DEAD = "dead"
    """What would be posted now was refused until the end of the schedule."""


WRONG = (Standing.MISSING, Standing.STALE, Standing.DEAD)
"""Where the endpoint does not have what it ought to, and nothing is on its way."""


@dataclass(frozen=True, slots=True)
class LastDeliveries:
    """What the ledger has of a reservation."""

    newest_seq: Seq
    newest_state: DeliveryState
    delivered_hash: str | None
    """Hash of the body that was delivered last; ``None``: none was."""
    accepted: bool
    """Whether a call was ever accepted for it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How one reservation stands."""

    reservation_id: ReservationId
    standing: Standing
    newest_seq: int
    """Its newest delivery in the ledger; 0: there is none."""


@dataclass(slots=True)
class Reconciled:
    """What was found so far."""

    keep_ids: int | None = None
    """Of how many reservations of each kind that is wrong the ids are kept; ``None``: of all."""
    found: Counter[Standing] = field(default_factory=Counter)
    ids: dict[Standing, list[ReservationId]] = field(default_factory=lambda: {standing: [] for standing in WRONG})
    queued: int = 0

    @property
    def compared(self) -> int:
        """How many reservations were looked at."""
        return self.found.total()

    @property
    def all_well(self) -> bool:
        """Whether the endpoint has, or is about to get, all that it ought to."""
        return not any(self.found[standing] for standing in WRONG)

    def note(self, findings: Collection[Finding]) -> None:
        """Count some findings."""
        self.found.update(finding.standing for finding in findings)
        for finding in findings:
            ids = self.ids.get(finding.standing)
            if ids is not None and (self.keep_ids is None or len(ids) < self.keep_ids):
                ids.append(finding.reservation_id)


def stands(last: LastDeliveries | None, hash_now: str, *, unread: bool) -> Standing:
    """Judge how a reservation stands.

    Args:
        last: what the ledger has of it; ``None``: nothing.
        hash_now: of the body that would be posted now.
        unread: it has a change in the log that is not in the ledger yet.
    """
    if last is not None and last.newest_state.is_pending:
        return Standing.ON_ITS_WAY
    if last is not None and last.delivered_hash == hash_now:
        return Standing.IN_ORDER
    if unread:
        return Standing.ON_ITS_WAY
    if last is not None and last.newest_state is DeliveryState.DEAD:
        return Standing.DEAD
    return Standing.STALE if last is not None and last.accepted else Standing.MISSING


async def reconcile(
    connection: AsyncConnection[TupleRow],
    endpoint_id: EndpointId,
    since: datetime,
    reconciled: Reconciled,
    *,
    told: Callable[[], None] = lambda: None,
    repair: Collection[Standing] = (),
    queue: ReservationQueue,
    gently: bool = False,
) -> None:
    """Compare all reservations updated since a time with what the endpoint got, and queue what is wrong.

    Args:
        connection: to the database, autocommit.
        endpoint_id: whose ledger.
        since: reservations updated then or later are looked at.
        reconciled: what was found; right also when this is interrupted.
        told: called after each page.
        repair: the kinds that are queued to be called.
        queue: where.
        gently: pause after each page for as long as it took, so that others have their turn.

    Raises:
        BridgeError: the view cannot be read by time, or the endpoint is gone.
        psycopg.Error: the database could not be used.
    """
    chosen: list[Chosen] = []
    began = time.monotonic()
    async for findings in _findings(connection, endpoint_id, since):
        took_seconds = time.monotonic() - began
        reconciled.note(findings)
        told()
        chosen += [
            Chosen(finding.reservation_id, finding.newest_seq) for finding in findings if finding.standing in repair
        ]
        if len(chosen) + _PAGE > MOST_AT_ONCE:
            reconciled.queued += await queue.put(chosen)
            chosen.clear()
        if gently:
            await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, took_seconds))
        began = time.monotonic()
    if chosen:
        reconciled.queued += await queue.put(chosen)


async def _findings(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, since: datetime
) -> AsyncIterator[list[Finding]]:
    keys, loader = ReservationKeys(since), ReservationLoader()
    while not keys.at_end:
        async with connection.transaction():
            await connection.execute(_queries["in_one_snapshot"])
            # Pruning may go on meanwhile, and what it has deleted would look missing.
            cursor = await connection.execute(_queries["delivery_log_start"], {"endpoint_id": endpoint_id})
            ((begins,),) = await cursor.fetchall() or [(None,)]
            if begins is not None:
                keys.begin_no_earlier(begins)
            page = await keys.next_page(connection, _PAGE)
            hashes = await _hashes(connection, loader, page)
            ledger = await _last_deliveries(connection, endpoint_id, page)
            suspects = [id_ for id_ in hashes if stands(ledger.get(id_), hashes[id_], unread=False) in WRONG]
            unread = await with_unread_changes(connection, endpoint_id, suspects)
        yield [
            Finding(
                id_,
                stands(ledger.get(id_), hashes[id_], unread=id_ in unread),
                ledger[id_].newest_seq if id_ in ledger else 0,
            )
            for id_ in hashes
        ]


async def _hashes(
    connection: AsyncConnection[TupleRow], loader: ReservationLoader, page: list[ReservationId]
) -> dict[ReservationId, str]:
    hashes: dict[ReservationId, str] = {}
    for start in range(0, len(page), _LOAD):
        loaded = await loader.load(connection, page[start : start + _LOAD])
        hashes |= {id_: body_hash(reservation.body) for id_, reservation in loaded.reservations.items()}
    return hashes


async def _last_deliveries(
    connection: AsyncConnection[TupleRow], endpoint_id: EndpointId, page: list[ReservationId]
) -> dict[ReservationId, LastDeliveries]:
    cursor = await connection.execute(
        _queries["last_deliveries"], {"endpoint_id": endpoint_id, "reservation_ids": page}
    )
    return {
        ReservationId(id_): LastDeliveries(
            Seq(seq), DeliveryState(state), None if message_id is None else message_id.partition("-")[2], accepted
        )
        for id_, seq, state, message_id, accepted in await cursor.fetchall()
    }
