"""The verdict on a mapping file: as lines that read well at 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.errors import InstallationError
from cdc_bridge.mapping_check.examination import Examination, Problem, examine

_WIDTH = 68
"""Of a line: the error that it is part of is indented by twelve."""
_MOST_KEYS_NAMED = 4


class MappingFaulty(InstallationError):
    """A mapping has faults; nothing was changed."""

    def __init__(self, file: Path, examination: Examination, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        keys = list(dict.fromkeys(problem.key for problem in problems if not problem.rejected))
        named = ",".join(keys) if len(keys) <= _MOST_KEYS_NAMED else "KEY,KEY"
        lines = [*_lines(file, problems), "Nothing was changed. Correct it and run this again."]
        if keys:
            lines += _wrapped(f"If the vendor knows: cdc-bridge install --allow-incomplete {named}", "")
        super().__init__(f"the mapping has {count}", more=lines)
        self.examination = examination


class MappingVerdict:
    """Judges a mapping file in the transaction that tries its installation."""

    def __init__(self, file: Path, allowed: Collection[str] = ()) -> None:
        """Take the file.

        Args:
            file: The mapping.
            allowed: Keys in which it may break the contract.
        """
        self._file = file
        self._allowed = allowed

    async def __call__(self, connection: AsyncConnection[TupleRow], *, installed: bool) -> None:
        """Judge the mapping.

        Args:
            connection: A DBA's, in a transaction in which the schema is installed.
            installed: The mapping is installed as well.

        Raises:
            MappingFaulty: It has faults that are not allowed.
        """
        text = self._file.read_text(encoding="utf-8-sig")
        examination = await examine(connection, text, installed=installed)
        problems = examination.not_allowed(self._allowed)
        if problems:
            raise MappingFaulty(self._file, examination, problems)


def as_json(examination: Examination) -> dict[str, Any]:
    """Return the problems, and the file with all corrections if nobody else has to correct anything."""
    return {
        "problems": [
            {
                "key": problem.key or None,
                "line": problem.line,
                "problem": problem.problem,
                "action": problem.action or None,
                "fix": problem.text or None,
                "note": problem.note or None,
            }
            for problem in examination.problems
        ],
        "corrected": examination.corrected,
        "notes": [],
    }


def _lines(file: Path, problems: Sequence[Problem]) -> list[str]:
    lines: list[str] = []
    for problem, following in zip_longest(problems, problems[1:]):
        lines += _wrapped(f"{file}:{problem.line}: {problem.problem}", "  ", first="")
        same = following is not None and (following.line, following.text) == (problem.line, problem.text)
        if problem.text and not same:
            lines.append(f"  {problem.action}:")
            lines += [f"    {line}" for line in textwrap.dedent(problem.text).splitlines()]
        elif problem.action and not problem.text:
            lines += _wrapped(problem.action, "  ")
        if problem.note:
            lines += _wrapped(problem.note, "  ")
    return lines


def _wrapped(text: str, indentation: str, *, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indentation if first is None else first,
        subsequent_indent=indentation,
        break_long_words=False,
        break_on_hyphens=False,
    )
