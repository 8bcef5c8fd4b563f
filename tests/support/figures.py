"""Figures that a test found, such as its duplicates; shown after a run at length, beside what failed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.length import AT_LENGTH

_NAME = "figure"

Figures = Callable[[str], None]


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """Takes a line that is worth knowing even if all went well."""

    def note(line: str) -> None:
        print(line)
        record_property(_NAME, line)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not AT_LENGTH:
        return
    terminalreporter.section("figures")
    ended = [report for reports in terminalreporter.stats.values() for report in reports]
    for report in ended:
        if getattr(report, "when", None) != "teardown":  # by then all of a test's figures are there
            continue
        for name, line in report.user_properties:
            if name == _NAME:
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {line}")
