"""The table: a column for each peer, on a terminal and in README."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Spread, percentile
from tests.bench.peers.account import worst
from tests.bench.peers.environment import CONTESTANTS
from tests.bench.peers.peer import Abilities
from tests.bench.peers.results import REFERENCE, WRITERS, Drain, Results
from tests.bench.peers.workers.posting import IN_FLIGHT
from tests.bench.report import number, spread

_WIDTH = 118
_READ_AS = (
    "Medians, in brackets the lowest and the highest; of the kills the worst. No worker runs beside the writers. The "
    "limit of the latency is a bare LISTEN and POST."
)

_ABILITIES: Mapping[str, Callable[[Abilities], str]] = {
    "joined rows in the body": lambda does: does.joins,
    "order per reservation": lambda does: does.orders,
    "signature": lambda does: does.signs,
    "retries for days": lambda does: does.retries,
}


@dataclass(frozen=True)
class _Row:
    """One line: what stands in it for each peer, and for the limit."""

    title: str
    cells: Mapping[str, str]


def terminal_table(results: Results) -> str:
    """Return the table for a terminal, with all that it was measured on."""
    columns = _columns(results)
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    for title in ("", *columns.values()):
        table.add_column(title, overflow="fold")
    for row in _rows(results):
        table.add_row(row.title, *(row.cells.get(key, "") for key in columns))
    console = Console(width=_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    conditions = [f"{name}: {value}" for name, value in results.conditions.items()]
    for paragraph in (_READ_AS, *_remarks(results), *conditions):
        lines += textwrap.wrap(paragraph, _WIDTH)
    return "\n".join([*lines, ""])


def markdown_table(results: Results | None) -> str:
    """Return the table for README; without results, what each does and does not do."""
    if results is None:
        return "\n".join([*_markdown({peer.key: peer.name for peer in CONTESTANTS}, _abilities()), ""])
    measured, machine = results.conditions["measured"].partition(",")[0], results.conditions["machine"]
    under = f"{_READ_AS} Measured {measured} on {machine}, which also ran PostgreSQL, writers and receiver."
    lines = [*_markdown(_columns(results), _rows(results)), "", *textwrap.wrap(under, _WIDTH), ""]
    for remark in _remarks(results):
        lines += textwrap.wrap(remark, _WIDTH, initial_indent="* ", subsequent_indent="  ")
    return "\n".join([*lines, ""])


def _markdown(columns: Mapping[str, str], rows: Sequence[_Row]) -> list[str]:
    lines = [["", *columns.values()], ["---"] * (1 + len(columns))]
    lines += [[row.title, *(row.cells.get(key, "") for key in columns)] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _columns(results: Results) -> dict[str, str]:
    return {**results.headings, REFERENCE: "limit"}


def _rows(results: Results) -> list[_Row]:
    return [*(row for row in _measured(results) if row.cells), *_abilities()]


def _abilities() -> list[_Row]:
    return [_Row(title, {peer.key: of(peer.abilities) for peer in CONTESTANTS}) for title, of in _ABILITIES.items()]


def _measured(results: Results) -> Iterator[_Row]:
    rates = {key: [each.per_second for each in samples] for key, samples in results.drain.items()}
    yield _Row(f"commits of {WRITERS} writers, against no capture", _ratios(results.commits))
    yield _Row(
        "commit to request, idle, p50 / p99",
        {key: _percentiles(samples) for key, samples in results.latency.items()},
    )
    yield _Row(f"drain, {IN_FLIGHT} in flight, against a bare client", _no_backlog(results) | _ratios(rates))
    yield _Row(
        "processor time of a delivery, worker + PostgreSQL",
        {key: _processor_time(samples, key) for key, samples in results.drain.items()},
    )
    yield _Row(
        f"kill -9 in the middle of {results.changes:,}",
        {key: str(worst(samples)) for key, samples in results.kill.items()},
    )


def _ratios(rates: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return what each reaches of the reference, and what that is."""
    return {
        key: f"1 ({number(Spread(tuple(own)).median)} /s)" if key == REFERENCE else _ratio(own, rates[REFERENCE])
        for key, own in rates.items()
    }


def _ratio(rates: Sequence[float], reference: Sequence[float]) -> str:
    return spread(Spread(tuple(a / b for a, b in zip(rates, reference, strict=True))))


def _percentiles(rounds: Sequence[Sequence[float]]) -> str:
    p50, p99 = (Spread(tuple(percentile(samples, at) for samples in rounds)).median for at in (50, 99))
    return f"{number(p50)} / {number(p99)} ms"


def _no_backlog(results: Results) -> dict[str, str]:
    if not results.drain:
        return {}
    return {peer.key: "keeps no backlog" for peer in CONTESTANTS if not peer.keeps_backlog}


def _processor_time(samples: Sequence[Drain], key: str) -> str:
    worker = Spread(tuple(each.worker_microseconds for each in samples)).median
    postgresql = Spread(tuple(each.postgresql_microseconds for each in samples)).median
    return f"{number(worker)} µs" if key == REFERENCE else f"{number(worker)} + {number(postgresql)} µs"


def _remarks(results: Results) -> Iterator[str]:
    for peer in CONTESTANTS:
        if peer.key in results.left_out:
            yield f"{peer.name}: left out, {results.left_out[peer.key]}."
        elif peer.key in results.headings and peer.remark:
            yield f"{peer.name}: {peer.remark[:1].lower()}{peer.remark[1:]}"
