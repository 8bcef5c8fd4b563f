"""How large change log and delivery log become, and that they stay so: weeks in time-lapse, with autovacuum on."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.bench.figures import Goal, Line, Measured, alone, compared
from tests.bench.scale import Scale
from tests.bench.stage import Stage
from tests.support.databases import Database, install_bridge, load_example
from tests.support.server import AUTOVACUUM, Server
from tests.support.simulated_days import KEEP_DAYS, SimulatedDays, Sizes, left_open

_RETENTIONS = 3
_DAYS_AFTER = 2


async def measure_growth(stage: Stage, scale: Scale) -> Measured:
    """Three retentions, and then a day on which transactions stay open; on a server of its own."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(ThrowawayPostgres(stage.postgres.binaries, settings=AUTOVACUUM))
        database = Database(Server("own", postgres.url, postgres.binaries), "postgres")
        load_example(database)
        install_bridge(database)
        days = SimulatedDays(
            database, changes_a_day=scale.changes_a_day, prunings_a_day=scale.prunings_a_day, patience_seconds=300
        )
        url = await stack.enter_async_context(stage.receiver())
        await stack.enter_async_context(stage.daemon(database, url))
        stage.say(f"{KEEP_DAYS * _RETENTIONS} days of {scale.changes_a_day:,} changes in time-lapse")
        (*_, first) = await days.live(KEEP_DAYS)
        (*_, last) = await days.live(KEEP_DAYS * (_RETENTIONS - 1))
        stage.say("a day with transactions open in time-lapse")
        with left_open(database):
            held = await days.live(vacuumed=False)
        after = await days.live(_DAYS_AFTER)
    return Measured(_lines(first, last, max((*held, *after), key=lambda sizes: sizes.bytes)))


def _lines(first: Sizes, last: Sizes, held: Sizes) -> list[Line]:
    return [
        alone("change log: a change kept, with its index", "bytes", [first.log_bytes / first.changes]),
        alone(
            "delivery log: a delivery kept, with its indexes", "bytes", [first.delivery_log_bytes / first.deliveries]
        ),
        compared(
            f"both logs after {_RETENTIONS} retentions of {KEEP_DAYS} days", "MB", [last.bytes / 1e6],
            "after the first", [first.bytes / 1e6], Goal("at most", 1.5),
        ),
        compared(
            "peak of both logs, transactions open for a day", "MB", [held.bytes / 1e6],
            "before", [last.bytes / 1e6], Goal("at most", 1.25),
        ),
    ]  # fmt: skip
