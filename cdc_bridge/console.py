"""Everything that a command prints goes through here or :mod:`~cdc_bridge.displays`, and is escaped on its way.

Nothing else prints: ``tests/unit/test_console.py`` sees to it. Log lines are escaped in :mod:`~cdc_bridge.logs`, the
dashboard's pages in its rendering.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

import typer

from cdc_bridge.errors import BridgeError
from cdc_bridge.escaping import escaped

_INDENT = " " * len("cdc-bridge: ")


def print_line(text: str = "", *, err: bool = False) -> None:
    """Print one line: a line break in it is escaped like everything else."""
    typer.echo(escaped(text), err=err)


def print_lines(text: str, *, err: bool = False) -> None:
    """Print a text whose line breaks are its own, such as indented JSON."""
    typer.echo(escaped(text, keep="\n"), err=err)


def print_document(text: str) -> None:
    """Print a file of ours or of the DBA. Where it is piped each byte counts; on a terminal it is escaped."""
    typer.echo(escaped(text, keep="\n\t") if sys.stdout.isatty() else text, nl=False)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON, times in UTC; without indentation, on one line."""
    print_lines(json.dumps(value, indent=indent, default=_utc))


def print_error(error: BridgeError) -> None:
    """Print an error and its remedy on standard error."""
    problem, *more = error.lines
    print_line(f"cdc-bridge: {problem}", err=True)
    for each in more:
        print_line(_INDENT + each, err=True)


def escape_logs_of_libraries() -> None:
    """Escape what libraries log in a command that keeps no log."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_EscapingFormatter())


class _EscapingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record), keep="\n")


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error that nobody foresaw, on standard error."""
    typer.echo(escaped("".join(traceback.format_exception(error)), keep="\n"), nl=False, err=True)


def _utc(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
