"""What happens in the demo, act by act."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from cdc_bridge.demo.bookings import Bookings
from cdc_bridge.demo.environment import Stage
from cdc_bridge.demo.receiver import Call
from cdc_bridge.demo.tally import Tally, count
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader

_PATIENCE_SECONDS = 60.0
_BETWEEN_BOOKINGS_SECONDS = 0.15
_AWAY_SECONDS = 1.5
_BURST = 60
_KILLED_AFTER_CALLS = 15

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
    """Play the demo; return 0 if nothing was lost, else 1.

    Args:
        stay: whether to stay up afterwards; ``None``: if standard output is a terminal.

    Raises:
        BridgeError: it could not be set up, or got stuck.
    """
    _end_cleanly_on_signals()
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "[bold]cdc-bridge demo[/]: starting PostgreSQL, the example e-Res, an HTTPS receiver and the daemon ..."
    )
    async with Stage(lambda call: console.print(_line(call), markup=False)) as stage:
        story = _Story(console, stage, await stage.connect())
        tally = await story.play()
        _show(console, tally)
        if stay if stay is not None else sys.stdout.isatty():
            await story.stay()
    return 0 if tally.nothing_lost else 1


def _end_cleanly_on_signals() -> None:
    """Let SIGTERM and a closed terminal do what Ctrl-C does, so that nothing is left behind."""
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signal_number, signal.raise_signal, signal.SIGINT)


class _Story:
    def __init__(self, console: Console, stage: Stage, connection: AsyncConnection[TupleRow]) -> None:
        self._console = console
        self._stage = stage
        self._connection = connection
        self._bookings = Bookings(connection)

    async def play(self) -> Tally:
        await self._stage.start_daemon()
        await self._ordinary_evening()
        await self._rolled_back()
        crowded_from = datetime.now(UTC)
        await self._burst()
        await self._endpoint_away()
        await self._killed()
        return await self._tally(crowded_from)

    async def _ordinary_evening(self) -> None:
        self._act("Bookings are made, changed and cancelled")
        await self._bookings.create()
        await self._all_settled()  # The daemon has started when the first has arrived.
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

    async def _rolled_back(self) -> None:
        self._act("A booking is made in a transaction that is rolled back: no call")
        await self._bookings.create_and_roll_back()
        await self._bookings.create()
        await self._all_settled()

    async def _burst(self) -> None:
        self._act(f"A burst: {_BURST} bookings in one transaction")
        await self._bookings.create(_BURST)
        await self._all_settled()

    async def _endpoint_away(self) -> None:
        self._act("The endpoint goes away; bookings go on; it comes back")
        await self._stage.receiver.stop()
        made = await self._bookings.create(3)
        await asyncio.sleep(_AWAY_SECONDS)
        await self._bookings.change([made[0]], "Changed while the till was away")
        await self._stage.receiver.start()
        self._note("it is back, and found so by the next probe")
        await self._all_settled()

    async def _killed(self) -> None:
        self._act("The daemon is killed with -9 in the middle of a burst, and started again")
        calls_before = len(self._stage.receiver.calls)
        await self._bookings.create(_BURST)
        await self._calls_arrive(calls_before + _KILLED_AFTER_CALLS)
        await self._stage.kill_daemon()
        self._note("killed; bookings go on without it")
        await self._bookings.create(3)
        await self._stage.start_daemon()
        await self._all_settled()

    async def stay(self) -> None:
        psql = self._stage.psql
        self._act("It stays up for you. Its page, in a browser on this machine:")
        self._console.print(f"{self._stage.page_url}\nToken: {self._stage.page_token}", markup=False, highlight=False)
        self._act("And try, in another terminal:")
        for statement in (
            "update reservations set adults = adults + 1 where reference = 5001",
            "insert into reservations (id, cust_id, reference) select md5(now()::text), id, 71 from customers limit 1",
            "select state, attempts, reservation_id from cdc_bridge.delivery order by seq desc limit 5",
        ):
            self._console.print(f'{psql} -c "{statement}"', markup=False)
        self._console.print("[dim]Ctrl-C ends it and removes everything.[/]")
        try:
            while True:
                self._stage.require_daemon()
                await asyncio.sleep(1)
        except asyncio.CancelledError:
            self._console.print("Ending ...")

    async def _tally(self, crowded_from: datetime) -> Tally:
        reservations = {change.reservation_id for change in self._bookings.committed}
        loaded = await ReservationLoader().load(self._connection, [ReservationId(id_) for id_ in reservations])
        return count(
            self._bookings.committed,
            self._stage.receiver.calls,
            final_bodies={reservation.subject: reservation.body for reservation in loaded.reservations.values()},
            rolled_back=self._bookings.rolled_back,
            retries=await self._number(_RETRIES),
            crowded_from=crowded_from,
        )

    async def _all_settled(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while unsettled := await self._number(_UNSETTLED):
                    self._stage.require_daemon()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise BridgeError(f"after {_PATIENCE_SECONDS:g} s {unsettled} changes are still not delivered") from None

    async def _calls_arrive(self, number: int) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while len(self._stage.receiver.calls) < number:
                await asyncio.sleep(0.001)

    async def _number(self, statement: str) -> int:
        cursor = await self._connection.execute(statement.encode())
        record = await cursor.fetchone()
        return int(record[0]) if record else 0

    def _act(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/]")

    def _note(self, text: str) -> None:
        self._console.print(f"[dim]  ({text})[/]")


def _line(call: Call) -> str:
    reservation, customer = call.reservation, call.reservation["customer"]
    mark = "✓" if call.status == 200 else "✗"
    when = datetime.fromisoformat(reservation["datetime"]).strftime("%a %d %b %H:%M")
    guest = f"{customer['firstname']} {customer['surname']}"
    words = f"{reservation['reference']} {guest}, {reservation['adults']} at {when}, {reservation['status']}"
    notes = f', "{reservation["notes"]}"' if reservation["notes"] else ""
    return (
        f"  {call.at:%H:%M:%S.%f}"[:-3]
        + f"  {mark} {call.status}  {call.operation:<7}  {words}{notes}  [{call.verdict}]"
    )


def _show(console: Console, tally: Tally) -> None:
    table = Table(title="\nWhat was committed and what arrived", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for row in tally.rows():
        table.add_row(*row)
    console.print(table)
    verdict = (
        "[bold green]Nothing was lost.[/]" if tally.nothing_lost else "[bold red]Something was lost: see the table.[/]"
    )
    console.print(verdict)
