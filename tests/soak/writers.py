"""Writers of a soak test: each change adds one to a reservation's ``duration``, its version, and writes its ``notes``.

They need not know what was committed: the database tells in the end.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from tests.support.databases import Database

_WRITERS = 4
_CREATE_MANY = """
insert into public.reservations (id, cust_id, reference, duration)
select 'R' || n, 'C', n, 0 from generate_series(0, %s - 1) as n
"""
_CHANGE = "update public.reservations set duration = duration + 1, notes = %s where reference = any (%s)"
_CREATE = "insert into public.reservations (id, cust_id, reference, duration, notes) values ('R' || %s, 'C', %s, 1, %s)"
_MANY = 100
_TRY_AGAIN_SECONDS = 0.2
_LONGEST_OPEN_SECONDS = 3.0
WRITTEN = "select id, duration, notes from public.reservations where duration > 0"
"""The reservations that anybody has written, as they stand."""


class Writers:
    """Several at once, so many transactions a second altogether."""

    def __init__(self, database: Database, seed: int, *, restaurants: int, per_second: float) -> None:
        self._database = database
        self._seed = seed
        self._pause_seconds = _WRITERS / per_second
        self._reservations = max(1000, 2 * restaurants)
        self.transactions = 0
        """Those that were certainly committed."""

    def set_up(self) -> None:
        """Make the reservations, two for each restaurant or more, which nobody is to hear of until they are written."""
        with psycopg.connect(self._database.url, options="-c session_replication_role=replica") as connection:
            connection.execute("insert into public.customers (id) values ('C')")
            connection.execute(_CREATE_MANY, (self._reservations,))
            connection.execute("create index on public.reservations (reference)")

    async def run(self, ended: asyncio.Event) -> None:
        """Write until the end, whatever becomes of the server meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(_WRITERS):
                new = count(self._reservations + number, _WRITERS)
                tasks.create_task(self._write(ended, random.Random(self._seed + number), new))

    async def _write(self, ended: asyncio.Event, chance: random.Random, new: count[int]) -> None:
        while not ended.is_set():
            try:
                async with self._database.connection(autocommit=False) as connection:
                    while not ended.is_set():
                        await self._transact(connection, chance, new)
                        await asyncio.sleep(chance.expovariate(1 / self._pause_seconds))
            except psycopg.OperationalError:  # The server is away, or two writers met.
                await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _transact(self, connection: AsyncConnection[TupleRow], chance: random.Random, new: count[int]) -> None:
        for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
            notes = f"{chance.randrange(2**64):016x}"
            match chance.random():
                case kind if kind < 0.1:
                    number = next(new)
                    await connection.execute(_CREATE, (number, number, notes))
                case kind if kind < 0.11:
                    first = chance.randrange(self._reservations)
                    await connection.execute(_CHANGE, (notes, list(range(first, first + _MANY))))
                case _:
                    await connection.execute(_CHANGE, (notes, [chance.randrange(self._reservations)]))
        if chance.random() < 0.01:
            await asyncio.sleep(chance.uniform(0, _LONGEST_OPEN_SECONDS))
        if chance.random() < 0.05:
            await connection.rollback()
        else:
            await connection.commit()
            self.transactions += 1
