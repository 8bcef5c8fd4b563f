"""A delivery that the delivery log rejects holds its reservation and the position, and nothing else."""

from __future__ import annotations

import random
import string

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.waiting import until

LONG = "".join(random.Random(4).choices(string.ascii_letters + string.digits, k=2692))
"""As much as e-Res's own primary key takes."""
BOOK = "insert into reservations (id, cust_id, reference) values (%s, 'C', %s)"
RECORDED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"
STATUS = "select status, reason, unread > 0 from cdc_bridge.endpoint_status"

# What a DBA may add to the table, and what takes it away.
REJECTIONS = {
    "an index": (
        "create index of_a_dba on cdc_bridge.delivery (endpoint_id, reservation_id)",
        "drop index cdc_bridge.of_a_dba",
        "index row size",
    ),
    "a constraint": (
        "alter table cdc_bridge.delivery add constraint of_a_dba check (length(reservation_id) < 100)",
        "alter table cdc_bridge.delivery drop constraint of_a_dba",
        'violates check constraint "of_a_dba"',
    ),
    "a trigger": (
        """
        create function public.of_a_dba() returns trigger language plpgsql as $$
        begin
          if length(new.reservation_id) > 100 then raise '%', new.reservation_id; end if;
          return new;
        end $$;
        create trigger of_a_dba before insert on cdc_bridge.delivery for each row execute function public.of_a_dba()
        """,
        "drop trigger of_a_dba on cdc_bridge.delivery",
        "a value cannot be used where it stands",
    ),
}


@pytest.mark.parametrize("kind", chosen(["a constraint"], list(REJECTIONS)))
async def test_others_are_recorded_and_it_is_named_and_recorded_later(
    kind: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    reject, accept, reason = REJECTIONS[kind]
    database.execute("insert into customers (id) values ('C')")
    with_daemon = await bridges.start()
    await with_daemon.until_assigned()
    database.execute(reject)
    database.execute(
        "insert into reservations (id, cust_id, reference) "
        "select case n when 100 then %s else 'R' || n end, 'C', n from generate_series(1, 300) n",
        (LONG,),
    )
    await receiver.wait_for_delivered(300)
    await until(lambda: database.value(RECORDED) == 299, "all others are recorded")
    line = await with_daemon.wait_for_log("delivery cannot be recorded")
    assert reason in line["reason"]
    assert LONG.startswith(line["reservation_id"].rstrip("…"))
    await until(lambda: database.execute(STATUS)[0][0] == "degraded", "it is reported")
    ((_, shown, unread),) = database.execute(STATUS)
    assert shown == f"delivery {line['seq']} cannot be recorded: {line['reason']}"
    assert unread

    database.execute("update reservations set adults = 3 where id = %s", (LONG,))
    database.execute(BOOK, ("LATER", 301))
    await until(lambda: database.value(RECORDED) == 300, "later changes are recorded")
    assert receiver.delivered_count == 301

    database.execute(accept)
    await until(lambda: database.value(RECORDED) == 302, "it and its newer change are recorded")
    assert [request.reservation_id for request in receiver.delivered].count(LONG) == 2
    await until(lambda: database.execute(STATUS) == [("healthy", None, False)], "all is well")
    assert await with_daemon.terminate() == 0


async def test_daemon_ends_if_nothing_can_be_recorded(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("revoke insert on cdc_bridge.delivery from cdc_bridge")
    database.execute(BOOK, ("R", 1))
    await until(lambda: not bridge.running, "it ends")
    assert "permission denied for table delivery" in bridge.text
    code, _, _ = await run_command("check", **bridges.settings)
    assert code == 1
