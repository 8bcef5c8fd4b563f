"""What the daemon does when it has nothing to do, and what the whole path writes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from tests.bench.drains import change, drain
from tests.bench.figures import Goal, Measured, alone
from tests.bench.scale import Scale
from tests.bench.stage import RESERVATIONS, Stage, until
from tests.bench.usage import processor_seconds
from tests.support.databases import Database

_STATEMENTS = """
select coalesce(sum(s.calls), 0)
from pg_stat_statements s
join pg_roles r on r.oid = s.userid
where r.rolname = 'cdc_bridge' and s.dbid = (select oid from pg_database where datname = current_database())
"""
_ROWS = """
select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) from pg_stat_all_tables where schemaname = 'cdc_bridge'
"""

_OTHER_SESSIONS = """
select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""


async def measure_idle(stage: Stage, scale: Scale) -> Measured:
    """The daemon asleep."""
    stage.say(f"doing nothing for {scale.idle_seconds} s")
    async with AsyncExitStack() as stack:
        database = stack.enter_context(stage.database("bridge"))
        url = await stack.enter_async_context(stage.receiver())
        daemon = await stack.enter_async_context(stage.daemon(database, url))
        await daemon.wait_for_log("listening")
        await _one_delivered(database)
        statements, seconds = statements_sent(database), processor_seconds(daemon.pid)
        await asyncio.sleep(scale.idle_seconds)
        statements, seconds = statements_sent(database) - statements, processor_seconds(daemon.pid) - seconds
    return Measured(
        [
            alone("idle daemon: part of a processor", "%", [100 * seconds / scale.idle_seconds], Goal("at most", 0.1)),
            alone("idle daemon: statements", "/min", [statements * 60 / scale.idle_seconds], Goal("at most", 20)),
        ]
    )


async def _one_delivered(database: Database) -> None:
    database.execute("update public.reservations set adults = 2 where reference = 1")
    await until(lambda: bool(database.value("select exists (select from cdc_bridge.delivery)")), "the first delivery")


def statements_sent(database: Database) -> int:
    """Return how many statements daemons have sent to a database."""
    return int(database.value(_STATEMENTS))


async def measure_writes(stage: Stage, scale: Scale) -> Measured:
    """What a change writes into the database: e-Res's own row, capture, and the deliveries."""
    count = scale.drained // 5
    stage.say(f"what {count:,} changes write")
    with stage.database("none") as none:
        own = _wal_bytes_of(none, count)
    async with AsyncExitStack() as stack:
        database = stack.enter_context(stage.database("bridge"))
        captured = _wal_bytes_of(database, count)
        rows_captured, before = await _rows(database), _wal_bytes(database)
        url = await stack.enter_async_context(stage.receiver())
        await drain(stage, database, url, count)
        delivering = _wal_bytes(database) - before
        rows = await _rows(database)
    return Measured(
        [
            alone("WAL of a change: e-Res's own", "bytes", [own / count]),
            alone("WAL of a change: more with capture", "bytes", [(captured - own) / count]),
            alone("WAL of a change: more when delivered", "bytes", [delivering / count]),
            alone("rows written for a change: captured", "", [rows_captured / count]),
            alone("rows written for a change: delivered", "", [(rows - rows_captured) / count]),
        ]
    )


async def _rows(database: Database) -> int:
    """Return the rows that were written, once all sessions that wrote some have ended and so told."""
    await until(lambda: not database.value(_OTHER_SESSIONS), "the end of other sessions")
    return int(database.value(_ROWS))


def _wal_bytes_of(database: Database, count: int) -> int:
    database.execute("checkpoint")
    # Every page's first change after a checkpoint is written whole; that is not a change's own.
    change(database, RESERVATIONS, size=100, captured=False)
    before = _wal_bytes(database)
    change(database, count)
    return _wal_bytes(database) - before


def _wal_bytes(database: Database) -> int:
    return int(database.value("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))
