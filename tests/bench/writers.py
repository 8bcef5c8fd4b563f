"""What capture costs those who write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import psycopg

from tests.bench.figures import Goal, Line, Measured, alone, by_turns, compared
from tests.bench.scale import Scale
from tests.bench.stage import RESERVATIONS, Capture, Stage
from tests.support.databases import Database

_ONE_UPDATE = f"""\\set number random(1, {RESERVATIONS})
update public.reservations set status = 'Arrived', adults = 1 + mod(adults, 9), updated = now()
where id = upper(md5('r' || :number));
"""
"""Little else than the change itself: a transaction of one statement."""

_BOOKING = f"""\\set number random(1, {RESERVATIONS})
begin;
select * from public.reservations where id = upper(md5('r' || :number));
select c.*
from public.customers c join public.reservations r on r.cust_id = c.id
where r.id = upper(md5('r' || :number));
update public.reservations set status = 'Arrived', adults = 1 + mod(adults, 9), updated = now()
where id = upper(md5('r' || :number));
commit;
"""
"""As an application does it: it reads what it changes."""

_BULK = "update public.reservations set adults = 1 + mod(adults, 9) where reference <= 50000"

_TRICKLE_A_SECOND = 20


class _Writing:
    """Databases with one capture each, to be written to by turns."""

    def __init__(self, stage: Stage, stack: AsyncExitStack, scale: Scale) -> None:
        self._stage = stage
        self._stack = stack
        self._scale = scale
        self.databases: dict[Capture, Database] = {}

    def add(self, capture: Capture) -> Database:
        self.databases[capture] = self._stack.enter_context(self._stage.database(capture))
        return self.databases[capture]

    async def rate(self, capture: Capture, script: str, clients: int) -> float:
        """Return commits a second."""
        await self._settle(capture)
        run = partial(self._stage.pgbench, clients=clients, seconds=self._scale.writing_seconds)
        return await asyncio.to_thread(lambda: run(self.databases[capture], script).transactions_a_second)

    async def trickle_milliseconds(self, capture: Capture) -> float:
        """Return how long a commit takes where one comes now and then."""
        await self._settle(capture)
        run = partial(
            self._stage.pgbench, clients=1, seconds=self._scale.writing_seconds, at_most_a_second=_TRICKLE_A_SECOND
        )
        return await asyncio.to_thread(lambda: run(self.databases[capture], _ONE_UPDATE).latency_milliseconds)

    async def _settle(self, capture: Capture) -> None:
        await asyncio.to_thread(self.databases[capture].execute, "vacuum public.reservations")
        await asyncio.to_thread(self._stage.checkpoint)


async def measure_writers(stage: Stage, scale: Scale) -> Measured:
    """Commits a second, with the daemon there and its endpoint paused: it takes no processor from the writers."""
    lines: list[Line] = []
    raw: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        writing = _Writing(stage, stack, scale)
        captures: tuple[Capture, ...] = ("none", "bridge", "empty", "naive")
        for capture in captures:
            writing.add(capture)
        await stack.enter_async_context(_paused_daemon(stage, writing.databases["bridge"]))
        for name, script, rounds in (
            ("one update", _ONE_UPDATE, scale.writing_rounds),
            ("booking changed", _BOOKING, min(2, scale.rounds)),
        ):
            for clients in scale.writers:
                stage.say(f"{clients} writers, {name}")
                found = await by_turns(
                    rounds,
                    {capture: partial(writing.rate, capture, script, clients) for capture in writing.databases},
                )
                for capture in captures[1:]:
                    line = compared(
                        f"commits, {clients} writers, {name}, endpoint paused: {_NAMES[capture]}", "/s", found[capture],
                        "no trigger", found["none"], Goal("at least", 0.9) if capture == "bridge" else None,
                    )  # fmt: skip
                    lines.append(line)
                    assert line.ratio is not None
                    raw[f"{name}, {capture}, {clients}"] = list(line.ratio.samples)
    return Measured(lines, raw)


_NAMES: dict[Capture, str] = {
    "bridge": "captured",
    "empty": "such a trigger that does nothing",
    "naive": "row trigger with NOTIFY",
    "naive, same daemon": "row trigger with NOTIFY",
}


@asynccontextmanager
async def _paused_daemon(stage: Stage, database: Database) -> AsyncIterator[None]:
    async with stage.receiver() as url, stage.daemon(database, url) as daemon:
        await daemon.wait_for_log("listening")
        database.execute("update cdc_bridge.endpoint set paused_at = now()")
        await daemon.wait_for_log("stopping")
        yield


async def measure_writers_beside_deliveries(stage: Stage, scale: Scale) -> Measured:
    """The same where the daemon delivers, on the same processors."""
    lines: list[Line] = []
    async with AsyncExitStack() as stack:
        writing = _Writing(stage, stack, scale)
        url = await stack.enter_async_context(stage.receiver())
        delivering: tuple[Capture, ...] = ("bridge", "naive, same daemon")
        for capture in ("none", *delivering):
            writing.add(capture)

        async def beside_daemon(measure: Callable[[], Awaitable[float]], capture: Capture) -> float:
            if capture not in delivering:
                return await measure()
            async with stage.daemon(writing.databases[capture], url) as daemon:
                await daemon.wait_for_log("listening")
                figure = await measure()
            writing.databases[capture].execute("truncate cdc_bridge.change")  # what is left over is not the next one's
            return figure

        for clients in (1, 16):
            stage.say(f"{clients} writers beside a daemon that delivers")
            found = await by_turns(
                scale.rounds,
                {
                    c: partial(beside_daemon, partial(writing.rate, c, _ONE_UPDATE, clients), c)
                    for c in writing.databases
                },
            )
            lines += [
                compared(
                    f"commits, {clients} writers, delivering: {_NAMES[c]}", "/s", found[c], "no trigger", found["none"]
                )
                for c in delivering
            ]
        stage.say("a writer now and then, daemon asleep")
        found = await by_turns(
            scale.rounds,
            {c: partial(beside_daemon, partial(writing.trickle_milliseconds, c), c) for c in writing.databases},
        )
        lines += [
            compared(
                f"a commit, {_TRICKLE_A_SECOND} a second, daemon asleep: {_NAMES[c]}", "ms", found[c],
                "no trigger", found["none"],
            )
            for c in delivering
        ]  # fmt: skip
    return Measured(lines)


async def measure_one_update(stage: Stage, scale: Scale) -> Measured:
    """How much longer one update takes, seen by its transaction: the median of what a client sees."""
    with stage.database("none") as none, stage.database("bridge") as bridge:
        found = await by_turns(
            max(3, scale.rounds),
            {
                "none": partial(asyncio.to_thread, _median_microseconds, none, scale.updates),
                "bridge": partial(asyncio.to_thread, _median_microseconds, bridge, scale.updates),
            },
        )
    more = [after - before for after, before in zip(found["bridge"], found["none"], strict=True)]
    return Measured(
        [
            compared("one update in its transaction", "µs", found["bridge"], "no trigger", found["none"]),
            alone("more for one update", "µs", more, Goal("at most", 40)),
        ]
    )


def _median_microseconds(database: Database, count: int) -> float:
    database.execute("vacuum public.reservations")
    times: list[float] = []
    with psycopg.connect(database.url) as connection:
        ids = [
            row[0]
            for row in connection.execute("select id from public.reservations order by random() limit %s", [count])
        ]
        connection.commit()
        for reservation_id in ids:
            connection.execute("select")  # The transaction has begun.
            began = time.perf_counter_ns()
            connection.execute(
                "update public.reservations set adults = 1 + mod(adults, 9) where id = %s", [reservation_id]
            )
            times.append((time.perf_counter_ns() - began) / 1000)
            connection.commit()
    return sorted(times)[len(times) // 2]


async def measure_bulk(stage: Stage, scale: Scale) -> Measured:
    """An update of 50,000 rows by one statement."""
    stage.say("an update of 50,000 rows")
    with stage.database("none") as none, stage.database("bridge") as bridge, stage.database("naive") as naive:
        found = await by_turns(
            scale.bulk_rounds,
            {
                name: partial(asyncio.to_thread, _bulk_milliseconds, stage, database)
                for name, database in (("none", none), ("bridge", bridge), ("naive", naive))
            },
        )
    return Measured(
        [
            compared(
                "update of 50,000 rows: captured",
                "ms",
                found["bridge"],
                "no trigger",
                found["none"],
                Goal("at most", 1.25),
            ),
            compared(
                "update of 50,000 rows: row trigger with NOTIFY", "ms", found["naive"], "no trigger", found["none"]
            ),
        ]
    )


def _bulk_milliseconds(stage: Stage, database: Database) -> float:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("vacuum public.reservations")
        stage.checkpoint()
        began = time.perf_counter()
        connection.execute(_BULK)
        return (time.perf_counter() - began) * 1000
