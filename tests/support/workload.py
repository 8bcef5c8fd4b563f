"""Random writers that play e-Res at its worst, and the four promises checked against what they committed.

Every change adds one to the reservation's ``duration``, which so becomes its version, and leaves a marker of its own in
``notes``. A writer remembers what its transaction changed, and counts it only when COMMIT has succeeded.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from tests.support.databases import Database
from tests.support.receiver import Call

SEED_VARIABLE = "CDC_BRIDGE_TEST_SEED"

_CHANGE = """
update public.reservations set duration = duration + 1, notes = %(marker)s where id = %(id)s returning id
"""
_CHANGE_MANY = """
update public.reservations set duration = duration + 1, notes = %(marker)s where id like %(pattern)s returning id
"""
_CREATE_MANY = """
insert into reservations (id, cust_id, reference, duration)
select 'BULK' || n, 'C', n, 1 from generate_series(1, %s) n returning id
"""
_UPSERT = """
insert into public.reservations (id, cust_id, reference, duration, notes) values (%(id)s, 'C', 1, 1, %(marker)s)
on conflict (id) do update set duration = reservations.duration + 1, notes = excluded.notes
returning id
"""
_ISOLATION_LEVELS = (None, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)
_EXPECTED_FAILURES = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)

UNSETTLED = """
select count(*)
from (select reservation_id, min(seq) as seq from cdc_bridge.change group by xid, reservation_id) c
where not exists (
  select from cdc_bridge.delivery d where d.seq = c.seq and d.state <> 'waiting'
)
"""


def chosen_seed() -> int:
    """Return the seed that was given, or a new one; it is printed either way."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))
    print(f"to repeat: {SEED_VARIABLE}={seed}")
    return seed


@dataclass
class Truth:
    """What was committed, as the writers know it."""

    changed: dict[int, set[str]] = field(default_factory=dict)
    """Reservations by the transaction that changed them."""
    rolled_back_markers: set[str] = field(default_factory=set)


@dataclass
class _Transaction:
    changed: set[str] = field(default_factory=set)
    markers: list[str] = field(default_factory=list)


class Workload:
    """Concurrent writers on a few reservations, so that they meet."""

    def __init__(self, database: Database, seed: int, *, prepared_transactions: bool = False) -> None:
        self._database = database
        self._seed = seed
        self._prepared_transactions = prepared_transactions
        self._ids = [f"R{number:03}" for number in range(40)]
        self._next_marker = 0
        self.truth = Truth()

    def set_up(self, bulk_rows: int) -> None:
        """Make the customer, and the rows that one statement changes all at once; both before a daemon looks."""
        self._database.execute("insert into customers (id) values ('C')")
        with psycopg.connect(self._database.url) as connection:
            ids = {id_ for (id_,) in connection.execute(_CREATE_MANY, (bulk_rows,))}
            record = connection.execute("select pg_current_xact_id()::text").fetchone()
            assert record is not None
            self.truth.changed[int(record[0])] = ids

    async def run(self, writers: int, seconds: float) -> None:
        """Write for a time."""
        end = monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(writers):
                tasks.create_task(self._write_until(end, random.Random(self._seed + number)))

    async def _write_until(self, end: float, chance: random.Random) -> None:
        async with self._database.connection(autocommit=False) as connection:
            while monotonic() < end:
                await connection.set_isolation_level(chance.choice(_ISOLATION_LEVELS))
                transaction = _Transaction()
                try:
                    await self._work(connection, chance, transaction)
                    await self._finish(connection, chance, transaction)
                except _EXPECTED_FAILURES:
                    await connection.rollback()
                    self.truth.rolled_back_markers.update(transaction.markers)

    async def _work(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        steps = (self._change, self._change, self._upsert, self._copy, self._savepoint, self._change_one_often)
        await connection.execute("select")  # begins the transaction, so that a savepoint is one
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            await chance.choice(steps)(connection, chance, transaction)
        if chance.random() < 0.006:
            await self._change_many(connection, transaction)
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random())  # a transaction left open: time is what it is made of

    async def _finish(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        cursor = await connection.execute("select pg_current_xact_id()::text")
        record = await cursor.fetchone()
        assert record is not None
        xid, commit = int(record[0]), chance.random() < 0.85
        if self._prepared_transactions and chance.random() < 0.2:
            await self._finish_prepared(connection, f"p{self._seed}-{xid}", chance, commit=commit)
        elif commit:
            await connection.commit()
        else:
            await connection.rollback()
        if commit:
            self.truth.changed[xid] = transaction.changed
        else:
            self.truth.rolled_back_markers.update(transaction.markers)

    async def _finish_prepared(
        self, connection: AsyncConnection[TupleRow], name: str, chance: random.Random, *, commit: bool
    ) -> None:
        await connection.execute(f"prepare transaction '{name}'".encode())
        await connection.rollback()  # nothing is left to roll back; psycopg's own account of the session ends here
        await asyncio.sleep(chance.random() / 4)
        await connection.set_autocommit(True)
        await connection.execute(f"{'commit' if commit else 'rollback'} prepared '{name}'".encode())
        await connection.set_autocommit(False)

    async def _execute(
        self, connection: AsyncConnection[TupleRow], statement: str, transaction: _Transaction, **parameters: str
    ) -> None:
        marker = self._new_marker(transaction)
        cursor = await connection.execute(statement.encode(), parameters | {"marker": marker})
        transaction.changed.update(id_ for (id_,) in await cursor.fetchall())

    def _new_marker(self, transaction: _Transaction) -> str:
        self._next_marker += 1
        marker = f"marker-{self._next_marker}."
        transaction.markers.append(marker)
        return marker

    async def _change(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        await self._execute(connection, _CHANGE, transaction, id=chance.choice(self._ids))

    async def _change_one_often(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        id_ = chance.choice(self._ids)
        for _ in range(chance.randint(2, 4)):
            await self._execute(connection, _CHANGE, transaction, id=id_)

    async def _change_many(self, connection: AsyncConnection[TupleRow], transaction: _Transaction) -> None:
        await self._execute(connection, _CHANGE_MANY, transaction, pattern="BULK%")

    async def _upsert(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        await self._execute(connection, _UPSERT, transaction, id=chance.choice(self._ids))

    async def _copy(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        marker = self._new_marker(transaction)
        ids = [f"COPY-{marker}{number}" for number in range(chance.randint(1, 20))]
        copying = "copy public.reservations (id, cust_id, reference, duration, notes) from stdin"
        async with connection.cursor() as cursor, cursor.copy(copying) as copy:
            for id_ in ids:
                await copy.write_row((id_, "C", 1, 1, marker))
        transaction.changed.update(ids)

    async def _savepoint(
        self, connection: AsyncConnection[TupleRow], chance: random.Random, transaction: _Transaction
    ) -> None:
        inner = _Transaction()
        with suppress(psycopg.Rollback):
            async with connection.transaction():
                await self._change(connection, chance, inner)
                if chance.random() < 0.5:
                    self.truth.rolled_back_markers.update(inner.markers)
                    raise psycopg.Rollback
                transaction.changed |= inner.changed
                transaction.markers += inner.markers


@dataclass(frozen=True)
class Audit:
    """How the calls that were accepted compare with what was committed. All but the last ought to be empty."""

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


def audit(database: Database, truth: Truth, accepted: Sequence[Call]) -> Audit:
    """Check the promises."""
    logged = {
        (int(xid), reservation_id): seq
        for xid, reservation_id, seq in database.execute(
            "select xid::text, reservation_id, min(seq) from cdc_bridge.change group by xid, reservation_id"
        )
    }
    committed = {(xid, reservation_id) for xid, ids in truth.changed.items() for reservation_id in ids}
    superseded = {seq for (seq,) in database.execute("select seq from cdc_bridge.delivery where state = 'superseded'")}
    by_reservation: dict[str, list[Call]] = defaultdict(list)
    for call in accepted:
        by_reservation[call.reservation_id].append(call)
    numbers = set(logged.values())
    called = {call.seq for call in accepted}
    final = {
        id_: (duration, notes)
        for id_, duration, notes in database.execute("select id, duration, notes from reservations")
    }
    return Audit(
        not_captured=sorted(committed - logged.keys()),
        captured_though_not_committed=sorted(logged.keys() - committed),
        missing=[change for change, seq in logged.items() if seq not in called | superseded],
        phantom=[
            call.headers["webhook-id"]
            for call in accepted
            if call.json["notes"] in truth.rolled_back_markers or call.seq not in numbers
        ],
        back_in_time=[
            (earlier.reservation_id, earlier.seq, later.seq, earlier.json["duration"], later.json["duration"])
            for calls in by_reservation.values()
            for earlier, later in pairwise(calls)
            if later.seq < earlier.seq or later.json["duration"] < earlier.json["duration"]
        ],
        stale=[
            (id_, (calls[-1].json["duration"], calls[-1].json["notes"]), final[id_])
            for id_, calls in by_reservation.items()
            if (calls[-1].json["duration"], calls[-1].json["notes"]) != final[id_]
        ],
        duplicates=len(accepted) - len(called),
    )
