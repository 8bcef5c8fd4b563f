"""The attempts of the last hour are kept in the endpoint's row, and outlive the daemon that made them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from cdc_bridge import database as product
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.last_hour import MINUTES, LastHour
from cdc_bridge.endpoints.lease_store import DatabaseLeaseStore
from cdc_bridge.endpoints.overview import endpoint_overviews
from cdc_bridge.model import EndpointId
from cdc_bridge.sessions import Session, connect
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.registration import lease_of
from tests.support.responses import Response
from tests.support.waiting import until

T = TypeVar("T")

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SUMS = """
select
  coalesce((select sum(calls) from unnest(delivered_by_minute) calls), 0)::int,
  coalesce((select sum(calls) from unnest(failed_by_minute) calls), 0)::int
from cdc_bridge.endpoint
"""
ENDPOINT = "select endpoint_id from cdc_bridge.endpoint"
RECORDED = "select count(*) from cdc_bridge.delivery"
ALIVE_UNTIL = "select alive_until from cdc_bridge.daemon"
SOON = {"CDC_BRIDGE_LEASE_SECONDS": "3", "CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "300"}
LATE = {"CDC_BRIDGE_LEASE_SECONDS": "300"}


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


def reject_bad(receiver: Receiver) -> None:
    """Reject BAD once. Its retry gets no answer, so that no count changes while a test looks."""
    never = asyncio.Event()

    def script(request: ReceivedRequest) -> Response:
        if request.reservation_id != "BAD":
            return Response()
        is_retry = any(earlier.reservation_id == "BAD" for earlier in receiver.requests)
        return Response(after=never) if is_retry else Response(422)

    receiver.script = script


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
    assert (sum(hour.delivered), sum(hour.failed), len(hour.attempts)) == (2, 1, MINUTES)
    minutes = int((hour.last_minute_at - began_at).total_seconds() // 60) + 1
    assert hour.attempts[:-minutes] == [(0, 0)] * (MINUTES - minutes)


async def test_next_daemon_goes_on_after_kill(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    reject_bad(receiver)
    bridge = await bridges.start(**SOON)
    database.execute(BOOKING, ("BAD",))
    database.execute(BOOKING, ("R",))
    await until_counted(database, 1, 1)
    # A delivery that is not recorded when the daemon dies is made again, and counted again.
    await until(lambda: database.value(RECORDED) == 2, "both are recorded")
    await bridge.kill()
    assert sum((await last_hour(database)).delivered) == 1
    next_one = await bridges.start(**SOON)
    await next_one.until_assigned()
    database.execute(BOOKING, ("S",))
    await until_counted(database, 2, 1)


async def test_attempt_that_ends_after_the_last_renewal_is_counted_when_the_lease_is_released(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    answering = asyncio.Event()
    receiver.script = lambda _: Response(after=answering)
    bridge = await bridges.start(**LATE)
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_requests(1)
    alive_until = database.value(ALIVE_UNTIL)
    bridge.send(signal.SIGTERM)
    await until(lambda: database.value(ALIVE_UNTIL) != alive_until, "the daemon that stops renews, minutes ahead")
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
    await other.until_assigned()
    database.execute(BOOKING, ("S",))
    await until_counted(database, 2, 0)
    frozen.send(signal.SIGCONT)
    await frozen.wait_for_log("endpoint lease lost")
    database.execute(BOOKING, ("T",))
    await until_counted(database, 3, 0)


async def test_hour_ends_with_the_present_minute_whenever_it_was_counted(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start(**SOON)
    await bridge.until_assigned()
    await bridge.terminate()
    assert (await last_hour(database)).attempts == [(0, 0)] * MINUTES
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
    assert hour.attempts[-ago - 2 : -ago] == [(0, 3), (7, 1)]
    assert (sum(hour.delivered), sum(hour.failed)) == (7, 4)


class OpenSession:
    """A connection in the place of a daemon's heartbeat session."""

    def __init__(self, connection: Session) -> None:
        self.name = "test:1"
        self._connection = connection

    async def run(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        return await operation(self._connection)

    async def lock(self, daemon_id: int) -> bool:
        return daemon_id > 0


async def test_reports_change_no_index(database: Database, bridges: Bridges) -> None:
    bridge = await bridges.start(**SOON)
    await bridge.until_assigned()
    await bridge.kill()
    changed = (
        "select n_tup_upd, n_tup_upd - n_tup_hot_upd from pg_stat_user_tables "
        "where relid = 'cdc_bridge.endpoint'::regclass"
    )
    async with await connect(database.url) as connection:
        store = DatabaseLeaseStore(OpenSession(connection), product.Database("host=unused"), 60)
        lease = await lease_of(connection, connection, EndpointId(database.value(ENDPOINT)))
        await connection.execute("select pg_stat_force_next_flush()")
        updates, with_index = database.execute(changed)[0]
        hour = LastHour(database.value("select date_trunc('minute', now())"))
        for number in range(400):
            counted = LastHour(hour.last_minute_at, (1_000_000 + number,) * 60, (number,) * 60)
            await store.report(lease.registration, [(lease, EndpointState(last_hour=counted))])
        await connection.execute("select pg_stat_force_next_flush()")
    updates_now, with_index_now = database.execute(changed)[0]
    assert updates_now - updates >= 400
    assert with_index_now - with_index < 20
