"""How fast a backlog is delivered that is spread evenly over many endpoints, and while some of them never respond."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from tests.bench.drains import change, rate
from tests.bench.endpoints.hosted import add_endpoints, hosted
from tests.bench.receiver import started_receiver
from tests.bench.scale import Scale
from tests.bench.stage import Stage, within
from tests.support.databases import Database

_STALL = """
update cdc_bridge.endpoint set url = replace(url, '/0/', '/never/')
where endpoint_id in (select endpoint_id from cdc_bridge.endpoint order by endpoint_id limit %s)
"""
_OTHERS = "select array_agg(endpoint_id) from cdc_bridge.endpoint where url like '%/0/%'"
_WANTED = """
select count(*)
from cdc_bridge.change c
join public.reservations r on r.id = c.reservation_id
join cdc_bridge.endpoint e on e."only" = array['@restaurant=' || r.reference %% %s]
where e.endpoint_id = any (%s)
"""
_DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered' and endpoint_id = any (%s)"


def stalled_of(endpoints: int) -> int:
    """Return how many are one percent of them, or the next to that."""
    return max(1, endpoints // 100)


async def measure_drained(stage: Stage, endpoints: int, scale: Scale) -> float:
    """Return the deliveries a second to all endpoints, from the first of them on."""
    stage.say(f"draining {scale.endpoint_drained:,} changes to {endpoints:,} endpoints")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(stage.receiver())
        database = await _prepare(stage, stack, endpoints, scale, url)
        return await _drain(stage, database, endpoints, scale)


async def measure_beside_stalled(stage: Stage, endpoints: int, scale: Scale, *, stalled: bool) -> float:
    """Return the same to the other 99 % of the endpoints, where one percent of them never respond, or all do."""
    count = stalled_of(endpoints)
    stage.say(f"draining to {endpoints:,} endpoints, {count if stalled else 'none'} of them stalled")
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(started_receiver(stage.certificate.chain_and_key_file))
        database = await _prepare(stage, stack, endpoints, scale, f"{receiver.url}/0")
        database.execute(_STALL, [count])
        others = database.value(_OTHERS)
        if not stalled:
            database.execute("update cdc_bridge.endpoint set url = replace(url, '/never/', '/0/')")
        return await _drain(stage, database, endpoints, scale, others)


async def _prepare(stage: Stage, stack: AsyncExitStack, endpoints: int, scale: Scale, url: str) -> Database:
    database = hosted(stage, stack)
    add_endpoints(stage, database, endpoints, url)
    await asyncio.to_thread(change, database, scale.endpoint_drained)
    await asyncio.to_thread(database.execute, "vacuum analyze")
    stage.checkpoint()
    return database


async def _drain(
    stage: Stage, database: Database, endpoints: int, scale: Scale, to: Sequence[int] | None = None
) -> float:
    """Have a daemon deliver until it is done or time is up; return its rate, its start included if it is not done."""
    if to is None:
        to = database.value(_OTHERS)
    wanted = database.value(_WANTED, [endpoints, to])
    async with stage.daemon(database):
        done = await within(scale.endpoint_seconds, lambda: database.value(_DELIVERED, [to]) >= wanted)
        delivered = int(database.value(_DELIVERED, [to]))
    if done:
        return rate(database, to)
    stage.say(f"{delivered:,} of {wanted:,} were delivered in {scale.endpoint_seconds} s")
    return max(1, delivered) / scale.endpoint_seconds
