"""All that is measured of many endpoints, against one endpoint in the same run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tests.bench.endpoints import targets
from tests.bench.endpoints.draining import measure_beside_stalled, measure_drained
from tests.bench.endpoints.running import Running, measure_running
from tests.bench.endpoints.takeover import measure_takeover
from tests.bench.figures import Line, Measured, alone, by_turns, compared, percentile
from tests.bench.scale import Scale
from tests.bench.stage import Stage

Found = TypeVar("Found")

_ONE = "one endpoint"


async def measure_endpoints(stage: Stage, scale: Scale) -> Measured:
    """The same with more and more endpoints; each change is wanted by one of them."""
    sizes = sorted({1, *scale.endpoints})
    lines: list[Line] = []
    raw: dict[str, list[float]] = {}
    parts = scale.endpoint_parts
    if "running" in parts:
        running = await _by_size(scale.endpoint_rounds, sizes, partial(measure_running, stage, scale=scale))
        lines += _running_lines(running)
        raw = {
            f"{targets.RAW_COST}{size}": [each.cost_milliseconds for each in found] for size, found in running.items()
        }
    if "draining" in parts:
        drained = await _by_size(scale.endpoint_rounds, sizes, partial(measure_drained, stage, scale=scale))
        lines += _against_one(targets.DRAINING, "/s", drained)
    if "stalled" in parts:
        lines += await _stalled_lines(stage, sizes[1:], scale)
    if "takeover" in parts:
        lines += _of_each(targets.TAKEOVER, "s", await _by_size(1, sizes, partial(measure_takeover, stage)))
    return Measured(lines, raw)


async def _by_size(
    rounds: int, sizes: Sequence[int], measure: Callable[[int], Awaitable[Found]]
) -> dict[int, list[Found]]:
    found = await by_turns(rounds, {str(size): partial(measure, size) for size in sizes})
    return {size: found[str(size)] for size in sizes}


def _running_lines(running: Mapping[int, Sequence[Running]]) -> list[Line]:
    def of_each(measure: str, unit: str, figure: Callable[[Running], float]) -> list[Line]:
        return _of_each(measure, unit, {size: list(map(figure, found)) for size, found in running.items()})

    def latency(measure: str, percent: float) -> list[Line]:
        found = {
            size: [percentile(each.milliseconds, percent) for each in of_size] for size, of_size in running.items()
        }
        return _against_one(measure, "ms", found)

    return [
        *latency(targets.LATENCY, 50),
        *latency(targets.LATENCY_P99, 99),
        *of_each(targets.COST, "ms", lambda each: each.cost_milliseconds),
        *of_each(targets.STATEMENTS, "/min", lambda each: each.idle.statements_a_minute),
        *of_each(targets.PROCESSOR, "%", lambda each: 100 * each.idle.daemon_part),
        *of_each(targets.MEMORY_IDLE, "MB", lambda each: each.idle.megabytes),
        *of_each(targets.MEMORY, "MB", lambda each: each.megabytes),
        *of_each(targets.LEASED, "s", lambda each: each.leased_seconds),
    ]


async def _stalled_lines(stage: Stage, sizes: Sequence[int], scale: Scale) -> list[Line]:
    lines = []
    for size in sizes:
        measure = partial(measure_beside_stalled, stage, size, scale)
        found = await by_turns(
            scale.endpoint_rounds, {"some": partial(measure, stalled=True), "none": partial(measure, stalled=False)}
        )
        goal = targets.goal(targets.STALLED, size)
        line = compared(targets.STALLED, "/s", found["some"], "none stalled", found["none"], goal)
        lines.append(replace(line, endpoints=size))
    return lines


def _of_each(measure: str, unit: str, found: Mapping[int, Sequence[float]]) -> list[Line]:
    return [
        replace(alone(measure, unit, samples, targets.goal(measure, size)), endpoints=size)
        for size, samples in found.items()
    ]


def _against_one(measure: str, unit: str, found: Mapping[int, Sequence[float]]) -> list[Line]:
    more = [
        replace(compared(measure, unit, samples, _ONE, found[1], targets.goal(measure, size)), endpoints=size)
        for size, samples in found.items()
        if size > 1
    ]
    return [replace(alone(measure, unit, found[1]), endpoints=1), *more]
