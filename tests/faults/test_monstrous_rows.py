"""Rows of megabytes: the daemon's memory stays bounded, what is too large is named, and small ones are not delayed."""

from __future__ import annotations

import json

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.memory import peak_bytes
from tests.support.receiver import Receiver
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024
WAITING = chosen(200, 1000)
MOST_MEMORY = 256 * MIB
LARGE = f"repeat('n', {10 * MIB})"  # Stored compressed, as guests' texts are.


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


@pytest.mark.slow
async def test_many_rows_of_ten_megabytes_are_delivered_with_bounded_memory(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute(
        f"insert into reservations (id, cust_id, reference, notes) "
        f"select 'L' || n, 'C', n, {LARGE} from generate_series(1, {WAITING}) n"
    )
    bridge = await bridges.start()
    await receiver.wait_for_delivered(5)
    # Behind them, and delivered long before all of them.
    database.execute("insert into reservations (id, cust_id, reference) values ('SMALL', 'C', 1)")
    await until(lambda: any(one.reservation_id == "SMALL" for one in receiver.delivered), "the small one is delivered")
    assert receiver.delivered_count < WAITING / 4
    assert {len(one.json["notes"]) for one in receiver.delivered if one.reservation_id != "SMALL"} == {10 * MIB}
    assert peak_bytes(bridge.pid) < MOST_MEMORY


@pytest.mark.slow
async def test_row_that_is_too_large_waits_as_its_own_problem_and_is_named(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    # 24 rows of one statement, and one whose escapes make it six times as large.
    database.execute(
        "insert into reservations (id, cust_id, reference, notes) "
        f"select 'H' || n, 'C', n, repeat('n', {40 * MIB}) from generate_series(1, 24) n"
    )
    database.execute(
        f"insert into reservations (id, cust_id, reference, notes) values ('E', 'C', 1, repeat(chr(1), {4 * MIB}))"
    )
    database.execute("insert into reservations (id, cust_id, reference, notes) values ('S', 'C', 1, '')")
    bridge = await bridges.start()
    requests = await receiver.wait_for_delivered(1)
    assert [request.reservation_id for request in requests] == ["S"]
    waiting = "select count(*), min(last_error) from cdc_bridge.delivery where state = 'retrying'"
    await until(lambda: database.execute(waiting)[0][0] == 25, "all others wait for their next attempt")
    error = database.value("select last_error from cdc_bridge.delivery where reservation_id = 'H7'")
    assert error == "it cannot be loaded: its body has about 41,943,074 bytes, more than max_body_bytes (16,777,216)"
    assert peak_bytes(bridge.pid) < MOST_MEMORY
    _, output, _ = await run_command("endpoint", "list", "--json", **bridges.settings)
    (endpoint,) = json.loads(output)
    assert (endpoint["status"], "max_body_bytes" in endpoint["reason"]) == ("degraded", True)
    code, _, errors = await run_command("payload", "H7", **bridges.settings)
    assert code == 1
    assert "max_body_bytes" in errors
    # Nothing is lost: once it is smaller, it is delivered.
    database.execute("update reservations set notes = 'short' where id = 'H7'")
    requests = await receiver.wait_for_delivered(2)
    assert requests[-1].json["notes"] == "short"


async def test_daemon_that_is_killed_among_large_rows_starts_again(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute(
        f"insert into reservations (id, cust_id, reference, notes) "
        f"select 'L' || n, 'C', n, {LARGE} from generate_series(1, 6) n"
    )
    bridge = await bridges.start()
    await receiver.wait_for_delivered(1)
    await bridge.kill()
    await bridges.start()
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 6, "all are delivered")
    assert len({one.reservation_id for one in receiver.delivered}) == 6
