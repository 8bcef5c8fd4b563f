"""A transaction that is left open for hours holds up itself alone."""

from __future__ import annotations

from collections import Counter

import psycopg

from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.deaths import left_behind
from tests.support.length import chosen
from tests.support.load import Load
from tests.support.receiver import Receiver

CREATE = "insert into reservations (id, cust_id, reference) values ('LATE', 'C', 1)"
XID = "select pg_current_xact_id()::text"


async def test_transaction_left_open_for_the_whole_run_holds_up_nobody_and_is_delivered_when_it_commits(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    with psycopg.connect(database.url) as left_open:
        left_open.execute(CREATE)
        ((xid,),) = left_open.execute(XID).fetchall()
        ever_left_behind = set[int]()
        bridge = await bridges.start()
        async with load.running():
            for _ in range(chosen(2, 20)):
                await load.delivered(40)
                await bridge.kill()
                ever_left_behind |= (await left_behind(bridge, database, receiver)).changes
                bridge = await bridges.start()
        await load.assert_promises_kept()
        assert "LATE" not in {request.reservation_id for request in receiver.delivered}
        left_open.commit()
    load.truth.changed[int(xid)] = {"LATE"}
    await receiver.wait_for(lambda: receiver.delivered[-1].reservation_id == "LATE", "the late transaction's change")
    await load.assert_promises_kept()
    called = Counter(request.seq for request in receiver.delivered)
    assert {seq for seq, times in called.items() if times > 1} <= ever_left_behind
    assert await bridge.terminate() == 0
