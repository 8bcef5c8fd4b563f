"""What capture costs those who write one after the other, one or many at once, as pgbench sees it."""

from __future__ import annotations

from functools import partial

from tests.bench.contenders import (
    CAPTURED,
    EMPTY,
    IDLE,
    NAIVE,
    NAIVE_BUSY,
    NAIVE_IDLE,
    NO_TRIGGER,
    Contender,
    contending,
)
from tests.bench.figures import Cell, Goal, Line, Measured, compared
from tests.bench.scale import Scale
from tests.bench.stage import RESERVATIONS, Stage
from tests.support.databases import Database

ONE_UPDATE = f"""\\set number random(1, {RESERVATIONS})
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

_IN_THE_PLOT = {
    CAPTURED["absent"]: "bridge",
    CAPTURED["asleep"]: "bridge, asleep",
    CAPTURED["busy"]: "bridge, busy",
    EMPTY: "empty",
    NAIVE: "naive",
}
_NAIVE_BUSY_AT = (1, 16)
_TRICKLE_A_SECOND = 20


def _rate(database: Database, stage: Stage, script: str, clients: int, seconds: int) -> float:
    """Return commits a second."""
    return stage.pgbench(database, script, clients=clients, seconds=seconds).transactions_a_second


def _goal(contender: Contender) -> Goal | None:
    return Goal("at least", 0.9) if contender == CAPTURED["absent"] else None


async def measure_writers(stage: Stage, scale: Scale) -> Measured:
    """Commits a second of those who do nothing but one update a commit."""
    lines: list[Line] = []
    raw: dict[str, list[float]] = {}
    always = [NO_TRIGGER, *_IN_THE_PLOT]
    async with contending(stage, scale.backlog, [*always, NAIVE_BUSY]) as contenders:
        for clients in scale.writers:
            stage.say(f"{clients} writers, one update")
            found = await contenders.by_turns(
                scale.writing_rounds,
                [*always, NAIVE_BUSY] if clients in _NAIVE_BUSY_AT else always,
                partial(_rate, stage=stage, script=ONE_UPDATE, clients=clients, seconds=scale.writing_seconds),
            )
            for contender, rates in list(found.items())[1:]:
                cell = Cell(f"commits a second, one update each: {clients} writing", contender.daemon)
                line = compared(
                    f"commits, {clients} writers, one update, {contender.told}", "/s", rates,
                    NO_TRIGGER.told, found[NO_TRIGGER], _goal(contender),
                    cell if contender.capture == "bridge" else None,
                )  # fmt: skip
                lines.append(line)
                assert line.ratio is not None
                if contender in _IN_THE_PLOT:
                    raw[f"one update, {_IN_THE_PLOT[contender]}, {clients}"] = list(line.ratio.samples)
    return Measured(lines, raw)


async def measure_bookings(stage: Stage, scale: Scale) -> Measured:
    """The same of those who read what they change."""
    lines: list[Line] = []
    contestants = [NO_TRIGGER, CAPTURED["absent"], NAIVE]
    async with contending(stage, scale.backlog, contestants) as contenders:
        for clients in scale.writers:
            stage.say(f"{clients} writers, booking changed")
            found = await contenders.by_turns(
                min(2, scale.rounds),
                contestants,
                partial(_rate, stage=stage, script=_BOOKING, clients=clients, seconds=scale.writing_seconds),
            )
            lines += [
                compared(
                    f"commits, {clients} writers, booking changed, {contender.told}", "/s", found[contender],
                    NO_TRIGGER.told, found[NO_TRIGGER], _goal(contender),
                )
                for contender in contestants[1:]
            ]  # fmt: skip
    return Measured(lines)


async def measure_a_writer_now_and_then(stage: Stage, scale: Scale) -> Measured:
    """A commit that finds a real daemon asleep, and wakes it."""
    stage.say("a writer now and then")

    def milliseconds(database: Database) -> float:
        written = stage.pgbench(
            database, ONE_UPDATE, clients=1, seconds=scale.writing_seconds, at_most_a_second=_TRICKLE_A_SECOND
        )
        return written.latency_milliseconds

    contestants = [NO_TRIGGER, IDLE, NAIVE_IDLE]
    async with contending(stage, scale.backlog, contestants) as contenders:
        found = await contenders.by_turns(scale.rounds, contestants, milliseconds)
    return Measured(
        [
            compared(
                f"a commit, {_TRICKLE_A_SECOND} a second, {contender.told}", "ms", found[contender],
                NO_TRIGGER.told, found[NO_TRIGGER],
            )
            for contender in contestants[1:]
        ]
    )  # fmt: skip
