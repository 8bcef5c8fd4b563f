"""Days of a database's life in moments, one after another: changes, their deliveries, pruning, autovacuum.

A simulated day is over when its changes are delivered, and what is too old is told from when days ended, so it is the
same on every machine. The server has to have autovacuum on, and should have it look every second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from tests.support.databases import Database
from tests.support.waiting import until

KEEP_DAYS = 7

_SET_UP = """
set session_replication_role = replica;
insert into public.customers (id) values ('C') on conflict do nothing;
insert into public.reservations (id, cust_id, reference, duration)
select upper(md5('day ' || i)), 'C', i, 0 from generate_series(1, {count}) as i;
"""
_CHANGE = """
do $$
begin
  for i in {first} .. {last} loop
    update public.reservations set duration = duration + 1 where id = upper(md5('day ' || i));
    commit;
  end loop;
end
$$
"""
_HANDED_OVER = """
select not exists (
  select
  from cdc_bridge.endpoint_position e
  join cdc_bridge.change c on c.xid >= pg_snapshot_xmin(e.position) and not pg_visible_in_snapshot(c.xid, e.position)
)
"""
_PRUNE = "call cdc_bridge.prune(clock_timestamp() - %s, clock_timestamp() - %s)"
_VACUUMED = """
select bool_and(
  s.n_dead_tup <= current_setting('autovacuum_vacuum_threshold')::float8
    + c.reltuples * coalesce(o.option_value, current_setting('autovacuum_vacuum_scale_factor'))::float8
)
from pg_stat_user_tables s
join pg_class c on c.oid = s.relid
left join pg_options_to_table(c.reloptions) o on o.option_name = 'autovacuum_vacuum_scale_factor'
where s.relid in ('cdc_bridge.change'::regclass, 'cdc_bridge.delivery'::regclass)
"""
_SIZES = """
select pg_total_relation_size('cdc_bridge.change'), pg_total_relation_size('cdc_bridge.delivery'),
  pg_total_relation_size('cdc_bridge.endpoint') + pg_total_relation_size('cdc_bridge.daemon'),
  (select count(*) from cdc_bridge.change), (select count(*) from cdc_bridge.delivery)
"""


@dataclass(frozen=True)
class Sizes:
    """How large the tables are, with their indexes, and how many rows they have."""

    log_bytes: int
    delivery_log_bytes: int
    endpoint_bytes: int
    changes: int
    deliveries: int

    @property
    def bytes(self) -> int:
        """Of change log and delivery log."""
        return self.log_bytes + self.delivery_log_bytes


class SimulatedDays:
    """A life of days."""

    def __init__(
        self, database: Database, *, changes_a_day: int, prunings_a_day: int = 1, patience_seconds: float = 60.0
    ) -> None:
        """Book what is changed every day, each reservation once.

        Args:
            database: where; a daemon delivers there.
            changes_a_day: each a commit of its own.
            prunings_a_day: into so many parts a day is divided; the more, the less waits to be pruned or vacuumed.
            patience_seconds: for all that is waited for in a part of a day.
        """
        self._database = database
        self._parts = [
            (1 + changes_a_day * part // prunings_a_day, changes_a_day * (part + 1) // prunings_a_day)
            for part in range(prunings_a_day)
        ]
        self._patience_seconds = patience_seconds
        self._ends: list[datetime] = []
        database.execute(_SET_UP.format(count=changes_a_day))

    async def live(self, days: int = 1, *, vacuumed: bool = True) -> list[Sizes]:
        """Live for some days; return how large all is at the end of each.

        Args:
            days: so many.
            vacuumed: wait until autovacuum has cleared away what was pruned; beside an open transaction it cannot.
        """
        found: list[Sizes] = []
        for _ in range(days):
            for first, last in self._parts:
                await asyncio.to_thread(self._database.execute, _CHANGE.format(first=first, last=last))
                await self._until(_HANDED_OVER, "all changes are handed over")
                self._ends.append(self._database.value("select clock_timestamp()"))
                if len(self._ends) > KEEP_DAYS * len(self._parts):
                    await asyncio.to_thread(self._prune, self._ends[-1 - KEEP_DAYS * len(self._parts)])
                if vacuumed:
                    await self._until(_VACUUMED, "autovacuum has caught up")
            found.append(Sizes(*self._database.execute(_SIZES)[0]))
        return found

    def _prune(self, older_than: datetime) -> None:
        with psycopg.connect(self._database.url, autocommit=True) as connection:
            connection.execute(_PRUNE, (older_than, self._ends[0]))
            connection.execute("select pg_stat_force_next_flush()")  # or autovacuum and we hear of it later

    async def _until(self, condition: str, what: str) -> None:
        await until(lambda: self._database.value(condition), what, self._patience_seconds)


@contextmanager
def left_open(database: Database) -> Iterator[None]:
    """Leave open a transaction that has written, and commits in the end, and one that reads and sees what was."""
    with psycopg.connect(database.url) as writing, psycopg.connect(database.url) as reading:
        writing.execute("insert into public.reservations (id, cust_id, reference) values ('LATE', 'C', 1)")
        reading.execute("set transaction isolation level repeatable read, read only")
        reading.execute("select count(*) from public.reservations")
        yield
