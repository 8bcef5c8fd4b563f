"""The figures of a run, written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.peers.account import Account

REFERENCE = "limit"
"""Whom the peers are measured beside: no capture, a bare LISTEN and POST, a bare client."""

WRITERS = 16


@dataclass(frozen=True)
class Drain:
    """How fast a backlog was delivered, and what a delivery took."""

    per_second: float
    worker_microseconds: float
    """Processor time of a delivery."""
    postgresql_microseconds: float


@dataclass(frozen=True)
class Results:
    """What was measured; samples by the key of a peer, one a round."""

    conditions: Mapping[str, str]
    headings: Mapping[str, str]
    """Name and version of each peer that took part."""
    left_out: Mapping[str, str]
    """Those that did not, and why."""
    changes: int
    """In the middle of so many workers were killed."""
    commits: Mapping[str, Sequence[float]]
    """A second."""
    latency: Mapping[str, Sequence[Sequence[float]]]
    """Milliseconds, of each change."""
    drain: Mapping[str, Sequence[Drain]]
    kill: Mapping[str, Sequence[Account]]


def write_results(file: Path, results: Results) -> None:
    """Write them as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")


def read_results(file: Path) -> Results:
    """Read what was written."""
    stored = json.loads(file.read_text(encoding="utf-8"))
    drain = {key: [Drain(**each) for each in samples] for key, samples in stored["drain"].items()}
    kill = {key: [Account(**each) for each in samples] for key, samples in stored["kill"].items()}
    return Results(**stored | {"drain": drain, "kill": kill})
