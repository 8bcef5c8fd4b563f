"""A change of a related table alone is delivered, with what it changed."""

from __future__ import annotations

import json

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

MANY = 10_000


async def test_guest_s_new_telephone_number_is_delivered_with_the_coming_reservations(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id, phone) values ('C', 'old')")
    database.execute(
        "insert into reservations (id, cust_id, reference, datetime) values "
        "('PAST', 'C', 1, now() - interval '1 day'), ('NEXT', 'C', 2, now() + interval '1 day')"
    )
    database.execute("create index on reservations (cust_id)")
    database.execute(
        "select cdc_bridge.attach_related('public.customers', key => 'id', via => 'cust_id', "
        "condition => 'reservation.datetime > now()')"
    )
    bridge = await bridges.start()
    await receiver.wait_for_delivered(2)
    database.execute("update customers set phone = 'new'")
    last = (await receiver.wait_for_delivered(3))[-1]
    assert (last.reservation_id, last.json["customer"]["phone"]) == ("NEXT", "new")
    # A second one, while the daemon sleeps, in a transaction that stays open for a while.
    async with database.connection(autocommit=False) as connection:
        await connection.execute("update customers set phone = 'newer'")
        database.execute("update reservations set adults = 7 where id = 'PAST'")
        await receiver.wait_for_delivered(4)
        await connection.commit()
    last = (await receiver.wait_for_delivered(5))[-1]
    assert (last.reservation_id, last.json["customer"]["phone"]) == ("NEXT", "newer")
    await until(lambda: database.value("select count(*) from cdc_bridge.related_change") == 0, "nothing is left to do")
    assert await bridge.terminate() == 0


async def test_parent_with_ten_thousand_reservations_is_expanded_in_pieces_whoever_is_killed(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute(
        "insert into reservations (id, cust_id, reference) select 'R' || n, 'C', n from generate_series(1, %s) n",
        (MANY,),
    )
    database.execute("create index on reservations (cust_id); analyze reservations")
    database.execute("select cdc_bridge.attach_related('public.customers', key => 'id', via => 'cust_id')")
    database.execute("truncate cdc_bridge.change")
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("update customers set phone = 'new'")
    changes = "select count(*), count(distinct xid), count(distinct reservation_id) from cdc_bridge.change"
    await until(lambda: database.execute(changes)[0][0] > 0, "the first piece is there")
    await bridge.kill()
    ((captured, _, _),) = database.execute(changes)
    assert captured < MANY
    await bridges.start()
    await until(lambda: database.value("select count(*) from cdc_bridge.related_change") == 0, "all are in the log")
    ((captured, pieces, reservations),) = database.execute(changes)
    assert reservations == MANY
    assert captured == MANY  # Each piece is recorded with how far it goes.
    assert pieces >= MANY / 500


async def test_key_that_no_longer_fits_is_said_and_holds_up_nothing(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    database.execute("create index on reservations (cust_id)")
    database.execute("select cdc_bridge.attach_related('public.customers', key => 'id', via => 'cust_id')")
    database.execute("alter table reservations drop column cust_id cascade")
    database.execute(
        "insert into cdc_bridge.related_change (related_id, key, changed_at) "
        "select related_id, 'C', now() - interval '2 minutes' from cdc_bridge.related_table"
    )
    bridge = await bridges.start()
    line = await bridge.wait_for_log("reservations of a changed row not found")
    assert "UndefinedColumn, SQLSTATE 42703" in line["problem"]
    _, output, _ = await run_command("check", "--json", **bridges.settings)
    (capture,) = [check for check in json.loads(output)["checks"] if check["name"] == "capture"]
    assert "1 changed rows of public.customers wait" in capture["detail"]


@pytest.mark.parametrize("kind", ["child", "parent"])
async def test_related_change_does_not_overtake_an_update_that_is_not_committed_yet(
    kind: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    """Delivered under a higher number, it would supersede the update for good."""
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    database.execute("create index on reservations (cust_id); create table order_lines (reservation_id text)")
    database.execute("select cdc_bridge.attach_related('public.customers', key => 'id', via => 'cust_id')")
    database.execute("select cdc_bridge.attach_related('public.order_lines', reservation_key => 'reservation_id')")
    await bridges.start()
    await receiver.wait_for_delivered(1)
    async with database.connection(autocommit=False) as booking:
        await booking.execute("update reservations set adults = 9 where id = 'R'")
        if kind == "child":
            database.execute("insert into order_lines values ('R')")
        else:
            database.execute("update customers set phone = 'new'")
        # Others are delivered meanwhile, so the daemon has seen it.
        database.execute("insert into reservations (id, cust_id, reference) values ('S', 'C', 1)")
        await until(lambda: any(one.reservation_id == "S" for one in receiver.delivered), "the other one is delivered")
        await booking.commit()
    await until(lambda: database.value("select count(*) from cdc_bridge.related_change") == 0, "both are in the log")
    await until(
        lambda: any(one.reservation_id == "R" and one.json["adults"] == 9 for one in receiver.delivered),
        "the update is delivered",
    )
