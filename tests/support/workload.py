"""Random writers that play e-Res at its worst.

Every change adds one to the reservation's ``duration``, which so becomes its version, and leaves a marker of its own in
``notes``. A writer remembers what its transaction changed, and counts it only when COMMIT has succeeded. Where the
server dies before it says so, a row that the transaction wrote into a table of its own tells afterwards.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import TupleRow

from tests.support.audit import Truth
from tests.support.databases import Database

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
_PROOF_TABLE = "create table workload_transaction (name text primary key)"
_LEAVE_PROOF = "insert into public.workload_transaction values (%s) returning pg_current_xact_id()::text"
_HAS_PROOF = "select exists (select from workload_transaction where name = %s)"
_ISOLATION_LEVELS = (None, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)
_EXPECTED_FAILURES = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
_TRY_AGAIN_SECONDS = 0.1


def chosen_seed() -> int:
    """Return the seed that was given, or a new one; it is printed either way."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))
    print(f"to repeat: {SEED_VARIABLE}={seed}")
    return seed


@dataclass
class _Transaction:
    name: str
    xid: int | None = None
    """Known once it has done its work and is about to end."""
    changed: set[str] = field(default_factory=set)
    markers: list[str] = field(default_factory=list)


class Workload:
    """Concurrent writers on a few reservations, so that they meet."""

    def __init__(
        self, database: Database, seed: int, *, prepared_transactions: bool = False, pause_seconds: float = 0.0
    ) -> None:
        """Prepare to write.

        Args:
            database: Where to write.
            seed: Of all randomness.
            prepared_transactions: Some commit in two phases.
            pause_seconds: The longest pause of a writer between two transactions.
        """
        self._database = database
        self._seed = seed
        self._prepared_transactions = prepared_transactions
        self._pause_seconds = pause_seconds
        self._ids = [f"R{number:03}" for number in range(40)]
        self._last_number = 0
        self._in_doubt: list[_Transaction] = []
        self.truth = Truth()

    def set_up(self, bulk_rows: int) -> None:
        """Make the customer, and the rows that one statement changes all at once; both before a daemon looks."""
        self._database.execute(_PROOF_TABLE)
        self._database.execute("insert into customers (id) values ('C')")
        with psycopg.connect(self._database.url) as connection:
            ids = {id_ for (id_,) in connection.execute(_CREATE_MANY, (bulk_rows,))}
            record = connection.execute("select pg_current_xact_id()::text").fetchone()
            assert record is not None
            self.truth.changed[int(record[0])] = ids

    async def run(self, writers: int, seconds: float) -> None:
        """Write for a time."""
        end = monotonic() + seconds
        await self.run_until(lambda: monotonic() >= end, writers)

    async def run_until(self, ended: Callable[[], bool], writers: int) -> None:
        """Write until a condition holds, whatever becomes of the server meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(writers):
                tasks.create_task(self._write_until(ended, random.Random(self._seed + number)))
        for transaction in self._in_doubt:
            self._conclude(transaction, committed=self._database.value(_HAS_PROOF, (transaction.name,)))
        self._in_doubt.clear()

    async def _write_until(self, ended: Callable[[], bool], chance: random.Random) -> None:
        while not ended():
            try:
                async with self._database.connection(autocommit=False) as connection:
                    while not ended():
                        await self._write(connection, chance)
                        await asyncio.sleep(self._pause_seconds * chance.random())
            except psycopg.OperationalError:  # The server is away, or ended this session.
                await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _write(self, connection: AsyncConnection[TupleRow], chance: random.Random) -> None:
        await connection.set_isolation_level(chance.choice(_ISOLATION_LEVELS))
        transaction = _Transaction(self._new_name())
        try:
            await self._work(connection, chance, transaction)
            await self._finish(connection, chance, transaction)
        except _EXPECTED_FAILURES:
            await connection.rollback()
            self._conclude(transaction, committed=False)
        except psycopg.OperationalError:
            self._in_doubt.append(transaction)
            raise

    def _conclude(self, transaction: _Transaction, *, committed: bool) -> None:
        if committed:
            assert transaction.xid is not None
            self.truth.changed[transaction.xid] = transaction.changed
        else:
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
        cursor = await connection.execute(_LEAVE_PROOF, (transaction.name,))
        ((xid,),) = await cursor.fetchall()
        transaction.xid, commit = int(xid), chance.random() < 0.85
        if self._prepared_transactions and chance.random() < 0.2:
            await self._finish_prepared(connection, f"p{self._seed}-{xid}", chance, commit=commit)
        elif commit:
            await connection.commit()
        else:
            await connection.rollback()
        self._conclude(transaction, committed=commit)

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

    def _new_name(self) -> str:
        self._last_number += 1
        return str(self._last_number)

    def _new_marker(self, transaction: _Transaction) -> str:
        marker = f"marker-{self._new_name()}."
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
        inner = _Transaction(transaction.name)
        with suppress(psycopg.Rollback):
            async with connection.transaction():
                await self._change(connection, chance, inner)
                if chance.random() < 0.5:
                    self.truth.rolled_back_markers.update(inner.markers)
                    raise psycopg.Rollback
                transaction.changed |= inner.changed
                transaction.markers += inner.markers
