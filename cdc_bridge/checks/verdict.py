"""The result of a check, and how checks query the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.errors import BridgeError
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]


class Verdict(StrEnum):
    """Result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result with its remedy."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it for JSON."""
        return {name: str(value) for name, value in asdict(self).items()}


def ok(name: str, detail: str) -> Check:
    """Return a check that passed."""
    return Check(name, Verdict.OK, detail)


def failed(name: str, detail: str, remedy: str) -> Check:
    """Return a check that failed, and its remedy."""
    return Check(name, Verdict.FAILED, detail, remedy)


def failed_by(name: str, error: BridgeError) -> Check:
    """Return a check that failed with an error, and all that it says."""
    *told, last = error.lines
    return failed(name, "; ".join(told), last) if error.remedy else failed(name, "; ".join(error.lines), "")


def warning(name: str, detail: str, remedy: str) -> Check:
    """Return a check that passed with a warning, and its remedy."""
    return Check(name, Verdict.WARNING, detail, remedy)


def listed(names: Sequence[str]) -> str:
    """Return the first five names as text."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


async def record(connection: Connection, name: str) -> TupleRow:
    """Return the one row of a named statement."""
    (record,) = await records(connection, name)
    return record


async def records(connection: Connection, name: str) -> list[TupleRow]:
    """Return the rows of a named statement."""
    cursor = await connection.execute(_queries[name], {})  # With parameters, %% is a percent sign.
    return await cursor.fetchall()
