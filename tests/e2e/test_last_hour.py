"""The attempts of the last hour are kept in the endpoint's row, and outlive the daemon that made them."""

from __future__ import annotations

import asyncio
import signal

import pytest
from psycopg import AsyncConnection

from cdc_bridge.endpoints.last_hour import MINUTES, LastHour
from cdc_bridge.endpoints.overview import endpoint_overviews
from cdc_bridge.endpoints.store import EndpointState, ListedEndpoint, renew_and_list
from tests.support.answers import Answer
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SUMS = """
select
  coalesce((select sum(calls) from unnest(delivered_by_minute) calls), 0)::int,
  coalesce((select sum(calls) from unnest(failed_by_minute) calls), 0)::int
from cdc_bridge.endpoint
"""
LEASED_UNTIL = "select leased_until from cdc_bridge.endpoint"
SOON = {"CDC_BRIDGE_LEASE_SECONDS": "1"}
LATE = {"CDC_BRIDGE_LEASE_SECONDS": "300"}


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def reject_bad(receiver: Receiver) -> None:
    receiver.script = lambda call: Answer(status=422 if call.reservation_id == "BAD" else 200)


async def last_hour(database: Database, role: str = "cdc_bridge") -> LastHour:
    async with database.connection() as connection:
        await connection.execute(f"set role {role}".encode())
        (endpoint,) = await endpoint_overviews(connection)
        return endpoint.last_hour


async def until_counted(database: Database, delivered: int, failed: int) -> None:
    """Wait until so many attempts are counted; a failed one may have been retried meanwhile, and counts again."""

    def counted() -> bool:
        ((delivered_now, failed_now),) = database.execute(SUMS)
        return bool(delivered_now == delivered and (failed_now >= failed if failed else failed_now == 0))

    await until(counted, f"{delivered} delivered and {failed} failed attempts are counted")


@pytest.mark.parametrize("role", ["cdc_bridge", "cdc_bridge_reader"])
async def test_attempts_are_counted_by_the_minute(
    database: Database, bridges: Bridges, receiver: Receiver, role: str
) -> None:
    reject_bad(receiver)
    began_at = database.value("select date_trunc('minute', now())")
    await bridges.start(**SOON)
    for name in ("R", "S", "BAD"):
        database.execute(BOOKING, (name,))
    await until_counted(database, 2, 1)
    hour = await last_hour(database, role)
    assert (sum(hour.accepted), sum(hour.refused) >= 1, len(hour.calls)) == (2, True, MINUTES)
    minutes = int((hour.last_minute_at - began_at).total_seconds() // 60) + 1
    assert hour.calls[:-minutes] == [(0, 0)] * (MINUTES - minutes)


async def test_next_daemon_goes_on_after_kill(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    reject_bad(receiver)
    bridge = await bridges.start(**SOON)
    database.execute(BOOKING, ("BAD",))
    database.execute(BOOKING, ("R",))
    await until_counted(database, 1, 1)
    await bridge.kill()
    assert sum((await last_hour(database)).accepted) == 1
    next_one = await bridges.start(**SOON)
    await next_one.wait_for_log("endpoint taken")
    database.execute(BOOKING, ("S",))
    await until_counted(database, 2, 1)


async def test_attempt_that_ends_after_the_last_renewal_is_counted_when_the_lease_is_released(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    answering = asyncio.Event()
    receiver.script = lambda _: Answer(after=answering)
    bridge = await bridges.start(**LATE)
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_calls(1)
    leased_until = database.value(LEASED_UNTIL)
    bridge.send(signal.SIGTERM)
    await until(lambda: database.value(LEASED_UNTIL) != leased_until, "the daemon that stops renews, minutes ahead")
    assert database.execute(SUMS) == [(0, 0)]
    answering.set()
    assert await bridge.wait() == 0
    assert database.execute(SUMS) == [(1, 0)]
    assert database.value("select last_success_at is not null from cdc_bridge.endpoint")


async def test_daemon_that_was_frozen_does_not_write_over_what_the_next_one_counted(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    frozen = await bridges.start(**SOON)
    database.execute(BOOKING, ("R",))
    await until_counted(database, 1, 0)
    frozen.send(signal.SIGSTOP)
    other = await bridges.start(**SOON)
    await other.wait_for_log("endpoint taken")
    database.execute(BOOKING, ("S",))
    await until_counted(database, 2, 0)
    frozen.send(signal.SIGCONT)
    await frozen.wait_for_log("endpoint taken over by another daemon")
    database.execute(BOOKING, ("T",))
    await until_counted(database, 3, 0)


async def test_hour_ends_with_the_present_minute_whenever_it_was_counted(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start(**SOON)
    await bridge.wait_for_log("endpoint taken")
    await bridge.terminate()
    assert (await last_hour(database)).calls == [(0, 0)] * MINUTES
    counted_at = database.value("""
        update cdc_bridge.endpoint
        set
          last_minute_at = date_trunc('minute', now()) - interval '20 minutes',
          delivered_by_minute = array_fill(0, array[59]) || 7,
          failed_by_minute = array_fill(0, array[58]) || array[3, 1]
        returning last_minute_at
    """)
    hour = await last_hour(database)
    ago = int((hour.last_minute_at - counted_at).total_seconds() // 60)
    assert ago >= 20
    assert hour.calls[-ago - 2 : -ago] == [(0, 3), (7, 1)]
    assert (sum(hour.accepted), sum(hour.refused)) == (7, 4)


async def renewed(connection: AsyncConnection, listed: ListedEndpoint, hour: LastHour) -> None:
    held = [(listed.endpoint_id, listed.fencing_token, EndpointState(last_hour=hour))]
    still_ours, _ = await renew_and_list(connection, held, 1, 60, listening=True)
    assert still_ours == {listed.endpoint_id}


async def test_renewals_change_no_index(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start(**SOON)
    await bridge.wait_for_log("endpoint taken")
    await bridge.kill()
    changed = (
        "select n_tup_upd, n_tup_upd - n_tup_hot_upd from pg_stat_user_tables "
        "where relid = 'cdc_bridge.endpoint'::regclass"
    )
    async with database.connection() as connection:
        _, (listed,) = await renew_and_list(connection, [], 1, 60, listening=True)
        await connection.execute("select pg_stat_force_next_flush()")
        updates, with_index = database.execute(changed)[0]
        hour = LastHour(database.value("select date_trunc('minute', now())"))
        for number in range(400):
            await renewed(connection, listed, LastHour(hour.last_minute_at, (1_000_000 + number,) * 60, (number,) * 60))
        await connection.execute("select pg_stat_force_next_flush()")
    updates_now, with_index_now = database.execute(changed)[0]
    assert updates_now - updates >= 400
    assert with_index_now - with_index < 20
