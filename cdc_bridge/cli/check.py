"""``cdc-bridge check``."""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console

from cdc_bridge.checks.preflight import run_checks
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, print_json, settings_from
from cdc_bridge.web.listen_settings import check_dashboard

_MARKS = {
    Verdict.OK: "[green]✓[/]",
    Verdict.WARNING: "[yellow]![/]",
    Verdict.FAILED: "[red]✗[/]",
    Verdict.SKIPPED: "-",
}


def check(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Check everything the daemon needs.

    Prints one line per check, and how to fix what fails. Exit code 1: a check failed.

    Example: cdc-bridge check --json
    """
    settings = settings_from(config, database_url)
    console = Console(highlight=False, soft_wrap=True)

    def show(result: Check) -> None:
        if not json_:
            console.print(f"{_MARKS[result.verdict]} {result.name:<16} ", end="")
            console.print(result.detail, markup=False)
            if result.remedy:
                console.print(f"{'':19}-> {result.remedy}", markup=False)

    async def run_all() -> list[Check]:
        found = []
        async for result in run_checks(settings):
            found.append(result)
            show(result)
        if (dashboard := check_dashboard(settings)) is not None:
            found.append(dashboard)
            show(dashboard)
        return found

    results = asyncio.run(run_all())
    failed = any(result.verdict is Verdict.FAILED for result in results)
    if json_:
        print_json({"ok": not failed, "checks": [result.as_json() for result in results]})
    raise typer.Exit(1 if failed else 0)
