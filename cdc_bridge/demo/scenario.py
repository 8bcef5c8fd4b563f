"""The demo's scenario: bookings, a rollback, a burst, an endpoint outage and a killed daemon."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.console import print_line
from cdc_bridge.database import one_loading_connection
from cdc_bridge.demo.bookings import Bookings
from cdc_bridge.demo.environment import DemoEnvironment
from cdc_bridge.demo.summary import Summary, summarise
from cdc_bridge.displays import print_styled, show, table
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.vendor.receive.receiver import ReceivedRequest

_TIMEOUT_SECONDS = 60.0
_BETWEEN_BOOKINGS_SECONDS = 0.15
_OUTAGE_SECONDS = 1.5
_BURST = 60
_KILLED_AFTER_REQUESTS = 15

_UNSETTLED = """
select count(distinct (c.xid, c.reservation_id))
from cdc_bridge.change c
where not exists (
  select from cdc_bridge.delivery d
  where d.reservation_id = c.reservation_id and d.seq >= c.seq and d.state not in ('queued', 'retrying')
)
"""
_RETRIES = "select coalesce(sum(attempts - 1), 0) from cdc_bridge.delivery where attempts > 1"


async def run_demo(*, stay: bool | None) -> int:
    """Run the demo; return 0 if nothing was lost, else 1.

    Args:
        stay: Whether to keep running afterwards; ``None`` keeps running if standard output is a terminal.

    Raises:
        BridgeError: The environment could not be set up, or deliveries got stuck.
    """
    _end_cleanly_on_signals()
    print_styled(
        ("cdc-bridge demo", "bold"), ": starting PostgreSQL, the example e-Res, an HTTPS receiver and the daemon ..."
    )
    async with DemoEnvironment(lambda request: print_line(_line(request))) as environment:
        scenario = _Scenario(environment, await environment.connect())
        summary = await scenario.run()
        _show(summary)
        _show_what_is_next()
        if stay if stay is not None else sys.stdout.isatty():
            await scenario.stay()
    return 0 if summary.nothing_lost else 1


def _end_cleanly_on_signals() -> None:
    """Let SIGTERM and a closed terminal do what Ctrl-C does, so that nothing is left behind."""
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signal_number, signal.raise_signal, signal.SIGINT)


class _Scenario:
    def __init__(self, environment: DemoEnvironment, connection: AsyncConnection[TupleRow]) -> None:
        self._environment = environment
        self._connection = connection
        self._bookings = Bookings(connection)
        self._started_at = datetime.now(UTC)

    async def run(self) -> Summary:
        await self._environment.start_daemon()
        await self._single_bookings()
        await self._rollback()
        faults_from = datetime.now(UTC)
        await self._burst()
        await self._endpoint_outage()
        await self._daemon_killed()
        return await self._summary(faults_from)

    async def _single_bookings(self) -> None:
        self._heading("Bookings are made, changed and cancelled")
        await self._bookings.create()
        await self._all_settled()  # The daemon has started when the first has arrived.
        self._started_at = datetime.now(UTC)
        made = []
        for _ in range(4):
            made += await self._bookings.create()
            await asyncio.sleep(_BETWEEN_BOOKINGS_SECONDS)
        await self._bookings.change([made[0]], "Window table, please")
        await asyncio.sleep(_BETWEEN_BOOKINGS_SECONDS)
        await self._bookings.change([made[1]], "Birthday cake")
        await asyncio.sleep(_BETWEEN_BOOKINGS_SECONDS)
        await self._bookings.cancel(made[2])
        await self._all_settled()

    async def _rollback(self) -> None:
        self._heading("A booking is made in a transaction that is rolled back: no request")
        reference = await self._bookings.create_and_roll_back()
        self._note(f"{reference} was rolled back; the next one is committed")
        await self._bookings.create()
        await self._all_settled()

    async def _burst(self) -> None:
        self._heading(f"A burst: {_BURST} bookings in one transaction")
        await self._bookings.create(_BURST)
        await self._all_settled()

    async def _endpoint_outage(self) -> None:
        self._heading("The endpoint goes down; bookings go on; it comes back")
        await self._environment.receiver.stop()
        made = await self._bookings.create(3)
        await asyncio.sleep(_OUTAGE_SECONDS)
        await self._bookings.change([made[0]], "Changed during the outage")
        await self._environment.receiver.start()
        self._note("it is back; the next probe finds it")
        await self._all_settled()

    async def _daemon_killed(self) -> None:
        self._heading("The daemon is killed with -9 in the middle of a burst, and started again")
        received_before = len(self._environment.requests)
        await self._bookings.create(_BURST)
        await self._requests_arrive(received_before + _KILLED_AFTER_REQUESTS)
        await self._environment.kill_daemon()
        self._note("killed; bookings go on without it")
        await self._bookings.create(3)
        await self._environment.start_daemon()
        await self._all_settled()

    async def stay(self) -> None:
        psql = self._environment.psql
        self._heading("The demo keeps running. Its dashboard, in a browser on this machine:")
        print_line(self._environment.dashboard_url)
        print_line(f"Token: {self._environment.dashboard_token}")
        self._heading("Try, in another terminal:")
        for statement in (
            "update reservations set adults = adults + 1 where reference = 5001",
            (
                "insert into reservations (id, cust_id, reference) select upper(md5(now()::text)), id, "
                "(select max(reference) + 1 from reservations) from customers limit 1"
            ),
            "select state, attempts, reservation_id from cdc_bridge.delivery order by seq desc limit 5",
        ):
            print_line(f'{psql} -c "{statement}"')
        print_styled(("Press Ctrl-C to end the demo and remove everything.", "dim"))
        try:
            while True:
                self._environment.require_daemon()
                await asyncio.sleep(1)
        except asyncio.CancelledError:
            print_line("Ending ...")

    async def _summary(self, faults_from: datetime) -> Summary:
        reservations = {change.reservation_id for change in self._bookings.committed}
        async with one_loading_connection(self._environment.database_url) as loading:
            loaded = await ReservationLoader().load(loading, [ReservationId(id_) for id_ in reservations])
        return summarise(
            self._bookings.committed,
            self._environment.requests,
            final_bodies={reservation.subject: reservation.body for reservation in loaded.reservations.values()},
            rolled_back=self._bookings.rolled_back,
            retries=await self._number(_RETRIES),
            started_at=self._started_at,
            faults_from=faults_from,
        )

    async def _all_settled(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                while unsettled := await self._number(_UNSETTLED):
                    self._environment.require_daemon()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise BridgeError(f"after {_TIMEOUT_SECONDS:g} s {unsettled} changes are not delivered yet") from None

    async def _requests_arrive(self, number: int) -> None:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            while len(self._environment.requests) < number:
                await asyncio.sleep(0.001)

    async def _number(self, statement: str) -> int:
        cursor = await self._connection.execute(statement.encode())
        record = await cursor.fetchone()
        return int(record[0]) if record else 0

    def _heading(self, title: str) -> None:
        print_line()
        print_styled((title, "bold"))

    def _note(self, text: str) -> None:
        print_styled((f"  ({text})", "dim"))


def _line(request: ReceivedRequest) -> str:
    reservation = orjson.loads(request.body)
    customer = reservation["customer"]
    mark = "✓" if request.is_accepted and request.is_valid else "✗"
    when = datetime.fromisoformat(reservation["datetime"]).strftime("%a %d %b %H:%M")
    guest = f"{customer['firstname']} {customer['surname']}"
    booking = f"{reservation['reference']} {guest}, {reservation['adults']} at {when}, {reservation['status']}"
    notes = f', "{reservation["notes"]}"' if reservation["notes"] else ""
    remarks = "; ".join([f"signature {request.signature}", *request.remarks, *request.violations])
    return (
        f"  {request.at:%H:%M:%S.%f}"[:-3]
        + f"  {mark} {request.status}  {request.type.removeprefix('reservation.'):<7}  {booking}{notes}  [{remarks}]"
    )


def _show(summary: Summary) -> None:
    print_line()
    print_styled(("What was committed and what arrived", "bold"))
    show(table({"": "left", " ": "right"}, [((name, "dim"), figure) for name, figure in summary.rows()]))
    print_styled(
        ("Nothing was lost.", "bold green")
        if summary.nothing_lost
        else ("Something was lost: see the table.", "bold red")
    )


def _show_what_is_next() -> None:
    # "make demo" installs the command beside Python, where the reader's shell may not look.
    command = (
        "cdc-bridge" if shutil.which("cdc-bridge") else os.path.relpath(Path(sys.executable).with_name("cdc-bridge"))
    )
    print_line()
    print_styled(("What is next", "bold"))
    for guide, purpose in (
        ("mapping", "from your own tables to the first delivery"),
        ("dba", "what it installs, what that costs, how to remove it"),
        ("operator", "run the daemon"),
        ("vendor", "receive the webhooks"),
    ):
        print_line(f"  {command} guide {guide:<10}{purpose}")
