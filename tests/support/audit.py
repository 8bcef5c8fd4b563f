"""The promises, checked against what the writers know to be committed and what was delivered."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tests.support.databases import Database
from tests.support.receiver import ReceivedRequest
from tests.support.waiting import PATIENCE_SECONDS

UNSETTLED = """
select count(*)
from (select reservation_id, min(seq) as seq from cdc_bridge.change group by xid, reservation_id) c
where not exists (
  select from cdc_bridge.delivery d where d.seq = c.seq and d.state not in ('queued', 'retrying')
)
"""

_DRAWN = """
select d.seq, d.reservation_id
from cdc_bridge.delivery d
where not exists (select from cdc_bridge.change c where c.seq = d.seq)
"""
_LOOK_AGAIN_SECONDS = 0.1


@dataclass
class Truth:
    """What was committed, as the writers know it."""

    changed: dict[int, set[str]] = field(default_factory=dict)
    """Reservations by the transaction that changed them."""
    rolled_back_markers: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Audit:
    """How deliveries compare with what was committed. All but the last should be empty."""

    not_captured: Sequence[object]
    captured_though_not_committed: Sequence[object]
    missing: Sequence[object]
    phantom: Sequence[object]
    back_in_time: Sequence[object]
    stale: Sequence[object]
    duplicates: int

    def assert_promises_kept(self) -> None:
        broken = {name: value[:5] for name, value in vars(self).items() if not isinstance(value, int) and value}
        assert not broken, broken


def commit(database: Database, truth: Truth, statement: str) -> None:
    """Run one statement that changes reservations, and remember what it changed."""
    changed = database.execute(
        f"with changed as ({statement} returning id) select pg_current_xact_id()::text::bigint, id from changed"
    )
    truth.changed[changed[0][0]] = {id_ for _, id_ in changed}


async def wait_until_settled(database: Database) -> None:
    """Wait until every change is settled for every endpoint; give up when no more are for long."""
    fewest = left = None
    async with database.connection() as connection:
        while left != 0:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while left == fewest:
                        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                        cursor = await connection.execute(UNSETTLED)
                        ((left,),) = await cursor.fetchall()
                        left = left if fewest is None else min(left, fewest)
            except TimeoutError:
                pytest.fail(f"{left} changes are not settled, and none was within {PATIENCE_SECONDS:g} s")
            fewest = left


def audit(database: Database, truth: Truth, accepted: Sequence[ReceivedRequest]) -> Audit:
    """Check the promises."""
    logged = {
        (int(xid), reservation_id): seq
        for xid, reservation_id, seq in database.execute(
            "select xid::text, reservation_id, min(seq) from cdc_bridge.change group by xid, reservation_id"
        )
    }
    committed = {(xid, reservation_id) for xid, ids in truth.changed.items() for reservation_id in ids}
    superseded = {seq for (seq,) in database.execute("select seq from cdc_bridge.delivery where state = 'superseded'")}
    by_reservation: dict[str, list[ReceivedRequest]] = defaultdict(list)
    for request in accepted:
        by_reservation[request.reservation_id].append(request)
    # What was queued by "backfill" or "reconcile" has a number of its own, which the log lacks.
    numbers = {seq: id_ for (_, id_), seq in logged.items()} | dict(database.execute(_DRAWN))
    called = {request.seq for request in accepted}
    newest_called = {id_: max(request.seq for request in requests) for id_, requests in by_reservation.items()}
    final = {
        id_: (duration, notes)
        for id_, duration, notes in database.execute("select id, duration, notes from reservations")
    }
    return Audit(
        not_captured=sorted(committed - logged.keys()),
        captured_though_not_committed=sorted(logged.keys() - committed),
        missing=[
            (xid, id_)
            for (xid, id_), seq in logged.items()
            if seq not in called and not (seq in superseded and newest_called.get(id_, 0) > seq)
        ],
        phantom=[
            request.headers["webhook-id"]
            for request in accepted
            if request.json["notes"] in truth.rolled_back_markers or numbers.get(request.seq) != request.reservation_id
        ],
        back_in_time=[
            (earlier.reservation_id, earlier.seq, later.seq, earlier.json["duration"], later.json["duration"])
            for requests in by_reservation.values()
            for earlier, later in pairwise(requests)
            if later.seq < earlier.seq or later.json["duration"] < earlier.json["duration"]
        ],
        stale=[
            (id_, (requests[-1].json["duration"], requests[-1].json["notes"]), final[id_])
            for id_, requests in by_reservation.items()
            if (requests[-1].json["duration"], requests[-1].json["notes"]) != final[id_]
        ],
        duplicates=len(accepted) - len(called),
    )
