"""``cdc-bridge check``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cdc_bridge.alerts.check import check_alerts
from cdc_bridge.checks.preflight import run_checks
from cdc_bridge.checks.verdict import Check, Verdict
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, settings_from
from cdc_bridge.console import print_json, print_line
from cdc_bridge.displays import print_styled
from cdc_bridge.web.listen_settings import check_dashboard

_MARKS = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.SKIPPED: ("-", ""),
}


def check(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    alert: Annotated[bool, typer.Option("--alert", help="Send a test alert too.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check everything the daemon needs.

    Prints one line per check, and how to fix what fails. Exit code 1: a check failed.

    Example: cdc-bridge check --json
    """
    settings = settings_from(config, database_url)

    def show(result: Check) -> None:
        if not json_:
            print_styled(_MARKS[result.verdict], f" {result.name:<16} ", result.detail)
            if result.remedy:
                print_line(f"{'':19}-> {result.remedy}")

    async def run_all() -> list[Check]:
        found = []
        async for result in run_checks(settings):
            found.append(result)
            show(result)
        if (dashboard := check_dashboard(settings)) is not None:
            found.append(dashboard)
            show(dashboard)
        async for result in check_alerts(settings, send=alert):
            found.append(result)
            show(result)
        return found

    results = asyncio.run(run_all())
    failed = any(result.verdict is Verdict.FAILED for result in results)
    if json_:
        print_json({"ok": not failed, "checks": [result.as_json() for result in results]})
    raise typer.Exit(1 if failed else 0)
