"""Capture switched off and on while e-Res works."""

from __future__ import annotations

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database

CHANGES = "select count(*) from cdc_bridge.change"
LOCKS = """
select l.mode
from pg_locks l
where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.relation = 'reservations'::regclass
"""


@pytest.fixture(autouse=True)
def booking(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1), ('S', 'C', 2)")


async def test_detach_takes_capture_off_and_attach_puts_it_back(database: Database) -> None:
    for _ in range(2):
        database.execute("select cdc_bridge.detach('reservations')")
    database.execute("update reservations set adults = 3 where id = 'R'")
    assert database.value(CHANGES) == 2
    for _ in range(2):
        database.execute("select cdc_bridge.attach('reservations', 'id')")
    database.execute("update reservations set adults = 4 where id = 'R'")
    assert database.value(CHANGES) == 3


async def test_disabling_and_enabling_waits_for_no_writer_and_makes_none_wait(database: Database) -> None:
    async with database.connection(autocommit=False) as writer, database.connection(autocommit=False) as dba:
        await writer.execute("update reservations set adults = 3 where id = 'R'")
        await dba.execute("set local lock_timeout = '1ms'")
        for _ in range(2):
            cursor = await dba.execute("select cdc_bridge.disable_capture()")
            assert await cursor.fetchone() == (1,)
        cursor = await dba.execute(LOCKS)
        assert await cursor.fetchall() == []
        await writer.execute("set local lock_timeout = '1ms'")
        await writer.execute("update reservations set adults = 4 where id = 'R'")
        await dba.commit()
        await writer.execute("update reservations set adults = 5 where id = 'R'")
        await writer.commit()
        assert database.value(CHANGES) == 4  # the two bookings and what was changed before the commit of the DBA

        await dba.execute("set local lock_timeout = '1ms'")
        await writer.execute("update reservations set adults = 6 where id = 'R'")
        for _ in range(2):
            cursor = await dba.execute("select cdc_bridge.enable_capture()")
            assert await cursor.fetchone() == (1,)
        cursor = await dba.execute(LOCKS)
        assert {mode for (mode,) in await cursor.fetchall()} <= {"AccessShareLock"}
        await dba.commit()
        await writer.execute("update reservations set adults = 7 where id = 'R'")
        await writer.commit()
    assert database.value(CHANGES) == 5


async def test_disabled_capture_is_seen_by_check(database: Database, bridges: Bridges) -> None:
    database.execute("select cdc_bridge.disable_capture()")
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "✗ capture" in output
    assert "select cdc_bridge.enable_capture();" in output
    database.execute("select cdc_bridge.enable_capture()")
    code, _, _ = await run_command("check", **bridges.settings)
    assert code == 0
