"""Erasing a reservation from everything of ours."""

from __future__ import annotations

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import Receiver
from tests.support.waiting import until

GUEST = "graham@example.org"
SETTLED = "select count(*) from cdc_bridge.delivery where state not in ('queued', 'retrying')"


def kept_of(database: Database, text: str) -> list[str]:
    """Return the tables of ours that have a text anywhere."""
    tables = [name for (name,) in database.execute("select tablename from pg_tables where schemaname = 'cdc_bridge'")]
    found = f"select count(*) from cdc_bridge.{{}} t where strpos(t::text, '{text}') > 0"
    return [table for table in tables if database.value(found.format(table))]


async def test_settled_reservation_is_erased_everywhere_and_others_are_not(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("insert into customers (id) values ('C')")
    await bridges.start()
    for reservation in (GUEST, "OTHER"):
        database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (reservation,))
        database.execute("update reservations set adults = 3 where id = %s", (reservation,))
    await receiver.wait_for_delivered(4)
    await until(lambda: database.value(SETTLED) == 4, "all are recorded")
    database.execute("delete from reservations where id = %s", (GUEST,))
    assert kept_of(database, GUEST) == ["change", "delivery"]
    code, output, errors = await run_command("erase", GUEST, **bridges.settings)
    assert (code, errors) == (0, "")
    assert output == "Erased: 2 changes, 2 deliveries.\n"
    assert kept_of(database, GUEST) == []
    assert database.value("select count(*) from cdc_bridge.delivery where reservation_id = 'OTHER'") == 2
    code, output, _ = await run_command("erase", GUEST, **bridges.settings)
    assert (code, output) == (0, "Erased: 0 changes, 0 deliveries.\n")


async def test_what_is_still_to_be_delivered_stays_and_is_erased_later(
    database: Database, bridges: Bridges, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    database.execute("insert into customers (id) values ('C')")
    await bridges.start()
    database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (GUEST,))
    await receiver.wait_for_delivered(1)
    await until(lambda: database.value(SETTLED) == 1, "it is recorded")
    await endpoint.run("pause", "default")
    await until(lambda: database.value("select daemon_id from cdc_bridge.endpoint") is None, "it is paused")
    database.execute("delete from reservations where id = %s", (GUEST,))
    database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 2)", (GUEST,))
    database.execute("delete from reservations where id = %s", (GUEST,))
    code, output, errors = await run_command("erase", GUEST, **bridges.settings)
    assert code == 1
    assert output == "Erased: 1 changes, 1 deliveries.\n"
    assert errors.startswith("Still to be delivered: 1 changes, 0 deliveries.")
    await endpoint.run("resume", "default")
    skipped = "select skipped_deleted from cdc_bridge.endpoint"
    await until(lambda: database.value(skipped) == 1, "it is skipped, as it was deleted")
    code, output, errors = await run_command("erase", GUEST, **bridges.settings)
    assert (code, errors) == (0, "")
    assert kept_of(database, GUEST) == []
    assert len(receiver.delivered) == 1
