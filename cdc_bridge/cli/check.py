"""``cdc-bridge check``."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, settings_from


def check(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything the daemon needs; each line a tick or a cross with what mends it.

    Example: cdc-bridge check --json
    """
    settings = settings_from(config, database_url)
    from rich.console import Console  # noqa: PLC0415

    from cdc_bridge.checks.preflight import run_checks  # noqa: PLC0415
    from cdc_bridge.checks.verdict import Check, Verdict  # noqa: PLC0415
    from cdc_bridge.web.listen_settings import check_dashboard  # noqa: PLC0415

    marks = {
        Verdict.OK: "[green]✓[/]",
        Verdict.WARNING: "[yellow]![/]",
        Verdict.FAILED: "[red]✗[/]",
        Verdict.SKIPPED: "-",
    }
    console = Console(highlight=False, soft_wrap=True)

    def show(result: Check) -> None:
        if not json_:
            console.print(f"{marks[result.verdict]} {result.name:<16} ", end="")
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
        typer.echo(json.dumps({"ok": not failed, "checks": [result.as_json() for result in results]}, indent=2))
    raise typer.Exit(1 if failed else 0)
