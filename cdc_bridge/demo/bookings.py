"""Simulates e-Res: makes, changes and cancels bookings, and keeps what it committed and when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

_CREATE = """
insert into public.reservations (id, cust_id, reference, room_name, meal_name, datetime, adults, taken_by, web)
select %(id)s, c.id, %(reference)s, 'Restaurant', 'Dinner', %(at)s, %(adults)s, 'DEMO', 'T'
from public.customers c order by c.id offset %(customer)s limit 1
"""
_CHANGE = "update public.reservations set adults = %(adults)s, notes = %(notes)s, updated = now() where id = %(id)s"
_CANCEL = "update public.reservations set status = 'Cancelled', cancelled = 'T', updated = now() where id = %(id)s"
_CHANGES_OF_TRANSACTION = """
select c.reservation_id, min(c.seq) from cdc_bridge.change c where c.xid = %s::text::xid8 group by c.reservation_id
"""


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed change, and when its COMMIT returned."""

    reservation_id: str
    seq: int
    at: datetime


class Bookings:
    """Writes bookings on a connection of its own."""

    def __init__(self, connection: AsyncConnection[TupleRow], seed: int = 1) -> None:
        """Prepare to write.

        Args:
            connection: Connection to the demo database, as its owner.
            seed: Seed of the random choice of guests, times and tables.
        """
        self._connection = connection
        self._random = random.Random(seed)
        self._next_reference = 5000
        self.committed: list[Committed] = []
        self.rolled_back: set[str] = set()

    async def create(self, count: int = 1) -> list[str]:
        """Make bookings in one transaction; return their ids."""
        return await self._transaction([(_CREATE, self._new_booking()) for _ in range(count)])

    async def change(self, ids: Sequence[str], notes: str = "") -> None:
        """Change bookings in one transaction."""
        await self._transaction(
            [(_CHANGE, {"id": id_, "adults": self._random.randint(1, 8), "notes": notes}) for id_ in ids]
        )

    async def cancel(self, id_: str) -> None:
        """Cancel a booking."""
        await self._transaction([(_CANCEL, {"id": id_})])

    async def create_and_roll_back(self) -> int:
        """Make a booking in a transaction that is rolled back; return its reference."""
        booking = self._new_booking()
        async with self._connection.transaction(force_rollback=True):
            await self._connection.execute(_CREATE, booking)
        self.rolled_back.add(str(booking["id"]))
        return self._next_reference

    def _new_booking(self) -> dict[str, object]:
        self._next_reference += 1
        evening = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
        return {
            "id": uuid4().hex.upper(),
            "reference": self._next_reference,
            "at": evening + timedelta(days=self._random.randint(0, 13), minutes=15 * self._random.randint(0, 12)),
            "adults": self._random.randint(1, 8),
            "customer": self._random.randint(0, 199),
        }

    async def _transaction(self, statements: Sequence[tuple[str, dict[str, object]]]) -> list[str]:
        async with self._connection.transaction():
            for statement, parameters in statements:
                await self._connection.execute(statement.encode(), parameters)
            cursor = await self._connection.execute("select pg_current_xact_id()::text")
            record = await cursor.fetchone()
        at = datetime.now(UTC)
        cursor = await self._connection.execute(_CHANGES_OF_TRANSACTION, record)
        self.committed += [Committed(reservation_id, seq, at) for reservation_id, seq in await cursor.fetchall()]
        return [str(parameters["id"]) for _, parameters in statements]
