"""Measures the bridge beside its peers: ``python -m tests.bench.peers``, as ``make bench-peers`` does."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import scale
from tests.bench.machine import conditions
from tests.bench.peers.environment import CONTESTANTS, heading, java_version, why_not
from tests.bench.peers.measures import (
    FULL,
    QUICK,
    PeersScale,
    Run,
    measure_commits,
    measure_drain,
    measure_kill,
    measure_latency,
)
from tests.bench.peers.results import Results, write_results
from tests.bench.peers.table import terminal_table
from tests.bench.publishing import PEERS_FIGURES, publish_peers
from tests.bench.stage import Stage

MEASURES = ("commits", "latency", "drain", "kill")


async def measure(keys: Sequence[str], measures: Sequence[str], size: PeersScale) -> Results:
    """Measure those that can take part."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {what}", file=sys.stderr, flush=True)

    chosen = [peer for peer in CONTESTANTS if peer.key in keys]
    left_out = {peer.key: reason for peer in chosen if (reason := why_not(peer))}
    peers = [peer for peer in chosen if peer.key not in left_out]
    for peer in chosen:
        say(f"{peer.name}: left out, {left_out[peer.key]}" if peer.key in left_out else heading(peer))
    with ExitStack() as stack:
        # With autovacuum, as queues are made for it.
        usual = stack.enter_context(Stage(say, autovacuum="on"))
        logical = None
        if any(peer.logical_wal for peer in peers):
            logical = stack.enter_context(Stage(say, autovacuum="on", wal_level="logical"))
        settings = ", ".join(f"{name}={value}" for name, value in usual.postgres_settings.items())
        under = conditions(usual.server_version, scale.FULL if size == FULL else scale.QUICK) | {
            "on them": "PostgreSQL, writers, workers and receiver",
            "postgresql": f"{usual.server_version}, {settings}",
            "receiver": "of our own, in Python, 204 to everything, over TLS",
            "rounds": str(size.rounds),
        }
        for peer in peers:
            if peer.java:
                under["java"] = str(java_version(peer))
        run = Run(usual, logical, peers, size)
        results = Results(
            conditions=under,
            headings={peer.key: heading(peer) for peer in peers},
            left_out=left_out,
            changes=size.killed,
            commits=await measure_commits(run) if "commits" in measures else {},
            latency=await measure_latency(run) if "latency" in measures else {},
            drain=await measure_drain(run) if "drain" in measures else {},
            kill=await measure_kill(run) if "kill" in measures else {},
        )
    under["seconds"] = str(round(time.monotonic() - began))
    return results


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    keys = [peer.key for peer in CONTESTANTS]
    parser.add_argument("--quick", action="store_true", help="to try it, some ten minutes")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASURES,
        default=MEASURES,
        metavar="MEASURE",
        help=f"some of: {', '.join(MEASURES)}",
    )
    parser.add_argument(
        "--peers", nargs="+", choices=keys, default=keys, metavar="PEER", help=f"some of: {', '.join(keys)}"
    )
    parser.add_argument("--folder", type=Path, default=Path("bench-results"), help="where the figures go")
    parser.add_argument(
        "--publish", action="store_true", help="write the folder's results into README, instead of measuring"
    )
    chosen = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        parser.error("it takes figures of processes from /proc, so it runs on Linux only")
    file = chosen.folder / PEERS_FIGURES
    if chosen.publish:
        if not file.exists():
            parser.error(f"there are no figures in {chosen.folder}/: measure first, with make bench-peers")
        publish_peers(file)
        return
    results = asyncio.run(measure(chosen.peers, chosen.only, QUICK if chosen.quick else FULL))
    write_results(file, results)
    print(terminal_table(results))
    print(f"the figures are in {file}", file=sys.stderr)


if __name__ == "__main__":
    main()
