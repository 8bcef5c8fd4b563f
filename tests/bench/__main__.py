"""Runs the benchmark: ``python -m tests.bench``, as ``make bench`` does."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.dashboard import measure_dashboard
from tests.bench.drains import (
    measure_backlog,
    measure_drain,
    measure_open_transaction,
    measure_slow_endpoint,
    measure_ten_endpoints,
)
from tests.bench.endpoints.measure import measure_endpoints
from tests.bench.figures import Measured
from tests.bench.growth import measure_growth
from tests.bench.latency import measure_latency
from tests.bench.machine import conditions
from tests.bench.plots import write_plots
from tests.bench.publishing import keep_as_earlier, publish
from tests.bench.report import write_figures
from tests.bench.scale import ENDPOINT_PARTS, FULL, QUICK, Scale
from tests.bench.stage import Stage
from tests.bench.statements import measure_statements
from tests.bench.upkeep import measure_idle, measure_writes
from tests.bench.writers import measure_a_writer_now_and_then, measure_bookings, measure_writers

MEASURES: dict[str, Callable[[Stage, Scale], Awaitable[Measured]]] = {
    "statements": measure_statements,
    "writers": measure_writers,
    "bookings": measure_bookings,
    "trickle": measure_a_writer_now_and_then,
    "latency": measure_latency,
    "drain": measure_drain,
    "slow": measure_slow_endpoint,
    "backlog": measure_backlog,
    "open": measure_open_transaction,
    "ten": measure_ten_endpoints,
    "idle": measure_idle,
    "writes": measure_writes,
    "growth": measure_growth,
    "dashboard": measure_dashboard,
    "endpoints": measure_endpoints,
}


async def run(names: list[str], scale: Scale, folder: Path) -> None:
    """Measure, and write what was found."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {what}", file=sys.stderr, flush=True)

    with Stage(say) as stage:
        under = conditions(stage.server_version, scale)
        measured = [await MEASURES[name](stage, scale) for name in names]
    under["seconds"] = str(round(time.monotonic() - began))
    write_figures(folder, under, measured)
    write_plots(folder, measured)
    print((folder / "table.md").read_text(encoding="utf-8"))
    say(f"table, figures and plots are in {folder}/")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten minutes, to see whether a change went the right way")
    parser.add_argument(
        "--only", nargs="+", choices=MEASURES, metavar="MEASURE", help=f"some of: {', '.join(MEASURES)}"
    )
    parser.add_argument(
        "--endpoints", type=_sizes, metavar="N,N", default=FULL.endpoints, help="how many, of the measure of that name"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=ENDPOINT_PARTS, metavar="PART", default=ENDPOINT_PARTS,
        help=f"some of it: {', '.join(ENDPOINT_PARTS)}",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, default=Path("bench-results"), help="where table, figures and plots go")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write the folder's results into README and the guides, instead of measuring",
    )
    parser.add_argument(
        "--keep-as-earlier",
        action="store_true",
        help="keep what a change costs with many endpoints in the folder's results, as the earlier version's line",
    )
    chosen = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        parser.error("it takes figures of processes from /proc, so it runs on Linux only")
    if chosen.publish or chosen.keep_as_earlier:
        if not (chosen.folder / "figures.json").exists():
            parser.error(f"there are no figures in {chosen.folder}/: measure first, with make bench")
        (publish if chosen.publish else keep_as_earlier)(chosen.folder)
    else:
        scale = replace(QUICK if chosen.quick else FULL, endpoints=chosen.endpoints, endpoint_parts=tuple(chosen.parts))
        asyncio.run(run(chosen.only or list(MEASURES), scale, chosen.folder))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    main()
