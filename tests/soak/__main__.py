"""Runs the soak test: ``python -m tests.soak``, as ``make soak`` does."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

from tests.soak.course import Options, soak


def main() -> int:
    """Read the command line, run it and print the report; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long is written and broken; default: 30")
    parser.add_argument("--endpoints", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--seed", type=int, help="of what breaks and when; default: another each time")
    parser.add_argument("--per-second", type=float, default=30.0, help="transactions a second; default: 30")
    parser.add_argument("--folder", type=Path, default=Path("soak-results"), help="for report and logs")
    chosen = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        parser.error("it takes figures of processes from /proc, so it runs on Linux only")
    seed = random.SystemRandom().randrange(2**32) if chosen.seed is None else chosen.seed
    chosen.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {what}", file=sys.stderr, flush=True)

    title = f"soak test: {chosen.minutes:g} minutes, {chosen.endpoints:,} endpoints, --seed {seed}"
    say(title)
    options = Options(chosen.minutes, chosen.endpoints, seed, chosen.per_second, chosen.folder)
    verdict = asyncio.run(soak(options, say))
    report = f"{title}\n{verdict.report()}"
    (chosen.folder / "report.txt").write_text(report, encoding="utf-8")
    print(report, end="")
    return 1 if verdict.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
