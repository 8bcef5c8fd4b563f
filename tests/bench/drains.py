"""How fast a backlog is delivered: signed, over TLS, and recorded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import orjson
import psycopg

from tests.bench.figures import Goal, Measured, alone, by_turns, compared
from tests.bench.receiver import Message, started_receiver
from tests.bench.scale import Scale
from tests.bench.stage import RESERVATIONS, Stage, until
from tests.bench.usage import Usage
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint

IN_FLIGHT = 64
_RESPONSE_MILLISECONDS = 50
_ENDPOINTS = 10

_CHANGES = """
do $$
declare
  ids constant text[] := array(select id from public.reservations order by reference);
  i integer := 0;
begin
  while i < {count} loop
    update public.reservations set adults = 1 + adults % 9
    where id = any (ids[1 + i % {reservations} : {size} + i % {reservations}]);
    commit;
    i := i + {size};
  end loop;
end
$$
"""


_RATE = """
select count(*) filter (where recorded_at > first_at) / extract(epoch from max(recorded_at) - min(first_at))
from (
  select recorded_at, min(recorded_at) over () as first_at from cdc_bridge.delivery where endpoint_id = any (%s)
) as d
"""


def change(database: Database, count: int, *, size: int = 1, captured: bool = True) -> None:
    """Commit so many changes, of as many reservations as there are, in transactions of a size."""
    script = _CHANGES.format(count=count, size=size, reservations=RESERVATIONS)
    options = f"-c synchronous_commit=off -c session_replication_role={'origin' if captured else 'replica'}"
    with psycopg.connect(database.url, autocommit=True, options=options) as connection:
        connection.execute(script.encode())


def delivered(database: Database) -> int:
    """Return how many deliveries are recorded."""
    return int(database.value("select count(*) from cdc_bridge.delivery where state = 'delivered'"))


def rate(database: Database, endpoint_ids: Sequence[int] = (1,)) -> float:
    """Return the deliveries recorded a second, from the first transaction that recorded some to the last."""
    return float(database.value(_RATE, [list(endpoint_ids)]))


async def drain(
    stage: Stage, database: Database, url: str, count: int, usages: list[Usage] | None = None, **settings: str
) -> float:
    """Have a daemon deliver so many changes or more; return its rate, and add what it used up."""
    async with stage.daemon(database, url, CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT=str(IN_FLIGHT), **settings) as daemon:
        usage = stage.usage(daemon)
        await until(lambda: delivered(database) >= count, f"{count} deliveries")
        usage.note()
    if usages is not None:
        usages.append(usage)
    return rate(database)


async def post_bare(
    stage: Stage, url: str, message: Message, count: int, in_flight: int = IN_FLIGHT
) -> tuple[float, float]:
    """Have the bare client post; return its rate, and the processor time of all requests in seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.reference", "post",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    task = {"url": url, "ca_file": str(stage.certificate.ca_file), "in_flight": in_flight, "count": count, **message}
    output, _ = await process.communicate(orjson.dumps(task) + b"\n")
    requests_per_second, seconds = map(float, output.split())
    return requests_per_second, seconds


def prepare(stage: Stage, stack: AsyncExitStack, count: int, size: int = 1) -> Database:
    """Return a database with a backlog, that lasts as long as the stack."""
    database = stack.enter_context(stage.database("bridge"))
    change(database, count, size=size)
    database.execute("vacuum analyze")
    stage.checkpoint()
    return database


async def a_message(stage: Stage) -> Message:
    """Return headers and body of a request, for the bare client to repeat."""
    async with AsyncExitStack() as stack:
        database = prepare(stage, stack, 1)
        receiver = await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file))
        async with stage.daemon(database, f"{receiver.url}/0"):
            await until(lambda: delivered(database) == 1, "one delivery")
        return await receiver.last_message()


async def measure_drain(stage: Stage, scale: Scale) -> Measured:
    """A backlog, beside a bare client that posts the same bytes."""
    stage.say(f"draining {scale.drained} changes")
    message = await a_message(stage)
    usages: list[Usage] = []
    bare_seconds: list[float] = []

    async def bridge() -> float:
        async with AsyncExitStack() as stack:
            database = await asyncio.to_thread(prepare, stage, stack, scale.drained)
            url = await stack.enter_async_context(stage.receiver())
            return await drain(stage, database, url, scale.drained, usages)

    async def bare() -> float:
        async with stage.receiver() as url:
            requests_per_second, seconds = await post_bare(stage, url, message, scale.drained)
        bare_seconds.append(seconds)
        return requests_per_second

    found = await by_turns(scale.rounds, {"bridge": bridge, "bare": bare})
    name = f"draining {scale.drained:,} changes, {IN_FLIGHT} in flight"
    per_request = 1e6 / scale.drained
    return Measured(
        [
            compared(name, "/s", found["bridge"], "bare aiohttp client", found["bare"], Goal("at least", 0.85)),
            alone(
                "processor time of a delivery: daemon", "µs", [per_request * usage.daemon_seconds for usage in usages]
            ),
            alone(
                "processor time of a delivery: PostgreSQL",
                "µs",
                [per_request * usage.postgres_seconds for usage in usages],
            ),
            alone(
                "processor time of a request: bare aiohttp client",
                "µs",
                [per_request * seconds for seconds in bare_seconds],
            ),
            alone("peak memory of the daemon, draining", "MB", [usage.peak_megabytes for usage in usages]),
        ]
    )


async def measure_slow_endpoint(stage: Stage, scale: Scale) -> Measured:
    """The same with an endpoint that responds slowly."""
    stage.say(f"draining to an endpoint that takes {_RESPONSE_MILLISECONDS} ms")
    message = await a_message(stage)
    alone_rates: list[float] = []

    async def bridge() -> float:
        async with AsyncExitStack() as stack:
            database = await asyncio.to_thread(prepare, stage, stack, scale.slow_drained)
            receiver = await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file))
            return await drain(stage, database, f"{receiver.url}/{_RESPONSE_MILLISECONDS}", scale.slow_drained)

    async def bare() -> float:
        async with started_receiver(stage.certificate.chain_and_key_file) as receiver:
            url = f"{receiver.url}/{_RESPONSE_MILLISECONDS}"
            alone_rates.append((await post_bare(stage, url, message, 50, in_flight=1))[0])
            return (await post_bare(stage, url, message, scale.slow_drained))[0]

    found = await by_turns(scale.rounds, {"bridge": bridge, "bare": bare})
    name = f"draining to an endpoint that takes {_RESPONSE_MILLISECONDS} ms, {IN_FLIGHT} in flight"
    ideal = [IN_FLIGHT * rate for rate in alone_rates]
    return Measured(
        [
            compared(
                name,
                "/s",
                found["bridge"],
                f"{IN_FLIGHT} times one request at a time",
                ideal,
                Goal("at least", 0.95),
            ),
            compared(name, "/s", found["bridge"], "bare aiohttp client", found["bare"]),
        ]
    )


async def measure_backlog(stage: Stage, scale: Scale) -> Measured:
    """The first of a large backlog, beside all of a small one; and the memory that it takes."""
    few = scale.drained * 2 // 5
    usages: list[Usage] = []

    async def drain_of(backlog: int) -> float:
        stage.say(f"draining a backlog of {backlog:,} changes")
        async with AsyncExitStack() as stack:
            database = await asyncio.to_thread(prepare, stage, stack, backlog, 10)
            url = await stack.enter_async_context(stage.receiver())
            return await drain(stage, database, url, few, usages if backlog > few else None)

    many = scale.large_backlog
    found = await by_turns(scale.rounds, {"many": partial(drain_of, many), "few": partial(drain_of, few)})
    return Measured(
        [
            compared(
                f"draining a backlog of {many:,}", "/s", found["many"], f"of {few:,}", found["few"],
                Goal("at least", 0.95),
            ),
            alone(
                f"peak memory of the daemon, backlog of {many:,}", "MB",
                [usage.peak_megabytes for usage in usages], Goal("at most", 150),
            ),
        ]
    )  # fmt: skip


async def measure_open_transaction(stage: Stage, scale: Scale) -> Measured:
    """A transaction that stays open, and dead rows that can therefore not be cleared away."""
    count = scale.drained // 2

    async def drain_beside(*, open_transaction: bool) -> float:
        async with AsyncExitStack() as stack:
            database = stack.enter_context(stage.database("bridge"))
            if open_transaction:
                stage.say(f"draining beside an open transaction and {scale.dead_rows:,} dead rows")
                connection = stack.enter_context(psycopg.connect(database.url))
                connection.execute("set transaction isolation level repeatable read")
                connection.execute("select pg_current_xact_id()")
                await asyncio.to_thread(change, database, scale.dead_rows, size=100, captured=False)
            await asyncio.to_thread(change, database, count)
            await asyncio.to_thread(database.execute, "vacuum analyze")
            stage.checkpoint()
            url = await stack.enter_async_context(stage.receiver())
            return await drain(stage, database, url, count)

    found = await by_turns(
        scale.rounds,
        {"open": partial(drain_beside, open_transaction=True), "none": partial(drain_beside, open_transaction=False)},
    )
    name = f"draining, a transaction open, {scale.dead_rows:,} dead rows"
    return Measured([compared(name, "/s", found["open"], "without", found["none"], Goal("at least", 0.95))])


async def measure_ten_endpoints(stage: Stage, scale: Scale) -> Measured:
    """Endpoints side by side: one of them never responds; and two daemons that share them."""
    per_endpoint = scale.drained_by_ten

    async def drain_all(endpoints: int, *, stalled: int = 0, daemons: int = 1) -> float:
        healthy = range(1 + stalled, endpoints + 1)
        async with AsyncExitStack() as stack:
            database = await asyncio.to_thread(prepare, stage, stack, per_endpoint)
            url = await stack.enter_async_context(stage.receiver())
            never = await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file))
            for number in range(1, endpoints + 1):
                to = f"{never.url}/never" if number <= stalled else url
                add_endpoint(database, f"e{number}", to, stage.certificate.ca_file)
            for _ in range(daemons):
                await stack.enter_async_context(stage.daemon(database))
            await until(lambda: delivered(database) >= per_endpoint * len(healthy), "all deliveries")
            return rate(database, healthy)

    stage.say("ten endpoints")
    shared = await by_turns(
        scale.rounds,
        {
            "stalled": partial(drain_all, _ENDPOINTS, stalled=1),
            "nine": partial(drain_all, _ENDPOINTS - 1),
            "two daemons": partial(drain_all, _ENDPOINTS, daemons=2),
            "one daemon": partial(drain_all, _ENDPOINTS),
        },
    )
    return Measured(
        [
            compared(
                "nine endpoints beside one that never responds", "/s", shared["stalled"], "nine alone", shared["nine"],
                Goal("at least", 0.95),
            ),
            compared("ten endpoints, two daemons", "/s", shared["two daemons"], "one daemon", shared["one daemon"]),
        ]
    )  # fmt: skip
