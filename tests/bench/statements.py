"""What capture costs one statement, as the client sees it who runs it and commits.

Without the wait for the disk, which is the same with and without capture, and longer than what is looked for. Where a
NOTIFY makes others wait for it, those who write at once tell.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import psycopg

from tests.bench.contenders import ADDED, CAPTURED, NAIVE, NO_TRIGGER, Contender, contending
from tests.bench.figures import Cell, Goal, Line, Measured, alone, compared
from tests.bench.scale import Scale
from tests.bench.stage import RESERVATIONS, Stage
from tests.support.databases import Database

_INSERT = f"""
insert into public.reservations (id, cust_id, reference, room_name, meal_name, notes)
values (
  upper(md5('added ' || %(number)s)), upper(md5('c' || 1 + mod(%(number)s, 5000))), {ADDED},
  'Main Restaurant', 'Dinner', 'A table by the window'
)
"""
_UPDATE = """
update public.reservations set adults = 1 + mod(adults, 9)
where id = any (
  array(select upper(md5('r' || i)) from generate_series(%(number)s::integer, %(number)s::integer + {rows} - 1) as i)
)
"""
_UPDATE_MANY = "update public.reservations set adults = 1 + mod(adults, 9) where reference between 1 and {rows}"


@dataclass(frozen=True)
class _Statement:
    told: str
    """Its name in the table."""
    text: str
    times: int
    unit: str
    per_second: float


@dataclass(frozen=True)
class _Took:
    """How long it took, in seconds: the median of what was seen."""

    statement: float
    """Alone, its transaction begun before and committed afterwards."""
    whole: float
    """With its COMMIT."""


def _statements(scale: Scale) -> Sequence[_Statement]:
    return (
        _Statement("one row inserted", _INSERT, scale.statements, "µs", 1e6),
        _Statement("one row updated", _UPDATE.format(rows=1), scale.statements, "µs", 1e6),
        _Statement("100 rows updated by one statement", _UPDATE.format(rows=100), scale.statements // 5, "µs", 1e6),
        _Statement("50,000 rows updated by one statement", _UPDATE_MANY.format(rows=50_000), 1, "ms", 1e3),
    )


def _run(database: Database, statement: _Statement) -> _Took:
    numbers = random.sample(range(1, RESERVATIONS - 100), statement.times)
    alone, whole = [], []
    with psycopg.connect(database.url, options="-c synchronous_commit=off") as connection:
        for number in numbers:
            connection.execute("select")  # The transaction has begun.
            began = time.perf_counter()
            connection.execute(statement.text.encode(), {"number": number})
            ran = time.perf_counter()
            connection.commit()
            alone.append(ran - began)
            whole.append(time.perf_counter() - began)
    return _Took(statistics.median(alone), statistics.median(whole))


async def measure_statements(stage: Stage, scale: Scale) -> Measured:
    """One row inserted, one updated, a hundred and fifty thousand by one statement."""
    lines: list[Line] = []
    always = [NO_TRIGGER, *CAPTURED.values()]
    async with contending(stage, scale.backlog, [*always, NAIVE]) as contenders:
        for statement in _statements(scale):
            stage.say(statement.told)
            found = await contenders.by_turns(
                scale.statement_rounds,
                [*always, NAIVE] if statement.times == 1 else always,
                partial(_run, statement=statement),
            )
            lines += _lines(statement, found)
            if statement.text == _UPDATE.format(rows=1):
                lines.append(_more_for_one(found))
    return Measured(lines)


def _lines(statement: _Statement, found: Mapping[Contender, Sequence[_Took]]) -> list[Line]:
    took = {contender: [statement.per_second * each.whole for each in all_] for contender, all_ in found.items()}
    lines = []
    for contender in list(took)[1:]:
        bulk = statement.times == 1 and contender == CAPTURED["absent"]
        lines.append(
            compared(
                f"{statement.told}, {contender.told}", statement.unit, took[contender],
                NO_TRIGGER.told, took[NO_TRIGGER], Goal("at most", 1.25) if bulk else None,
                Cell(f"time: {statement.told}", contender.daemon) if contender.capture == "bridge" else None,
            )
        )  # fmt: skip
    return lines


def _more_for_one(found: Mapping[Contender, Sequence[_Took]]) -> Line:
    pairs = zip(found[CAPTURED["absent"]], found[NO_TRIGGER], strict=True)
    more = [1e6 * (captured.statement - bare.statement) for captured, bare in pairs]
    return alone("more for one row updated, without its COMMIT", "µs", more, Goal("at most", 40))
