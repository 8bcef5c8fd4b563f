"""``cdc-bridge check``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import typer

from cdc_bridge.alerts.check import check_alerts
from cdc_bridge.checks import sample as sampling
from cdc_bridge.checks.preflight import run_checks
from cdc_bridge.checks.sample import Sample, sample_payloads
from cdc_bridge.checks.verdict import Check, Verdict, failed
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, settings_from
from cdc_bridge.cli.progress import progress_bar
from cdc_bridge.console import print_json, print_line
from cdc_bridge.displays import print_beside
from cdc_bridge.errors import DatabaseUnavailable
from cdc_bridge.settings import Settings
from cdc_bridge.web.listen_settings import check_dashboard, listen_settings

_MARKS = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.SKIPPED: ("-", ""),
}
_NEEDED_FOR_SAMPLE = frozenset({"database", "installation"})
_SHOWN_IDS = 2


def check(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    alert: Annotated[bool, typer.Option("--alert", help="Send a test alert too.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", metavar="N", min=1, max=100_000, help="Hold N bodies of each payload in use to its schema too."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Check everything the daemon needs.

    Prints one line per check, and how to fix what fails. Exit code 1: a check failed.

    With --sample it loads reservations that the endpoints get, half of them those changed last, and compares the
    bodies with the JSON Schema: the contract's, or that of contract schema --payload. It names keys, what is wrong with
    them, and ids of reservations, never values. Nothing is sent.

    Example: cdc-bridge check --sample 500
    """
    settings = settings_from(config, database_url, judgements=(listen_settings,))
    results: list[Check] = []
    samples: list[Sample] = []

    async def run_all() -> None:
        async for result in _checks(settings, alert=alert):
            add(result)
        if sample is not None:
            async for result in _check_sample(settings, results, sample, samples):
                add(result)

    def add(result: Check) -> None:
        results.append(result)
        if not json_:
            print_beside(_MARKS[result.verdict], f" {result.name:<16} ", text=result.detail)
            if result.remedy:
                print_line(f"{'':19}-> {result.remedy}")

    asyncio.run(run_all())
    is_ok = not any(result.verdict is Verdict.FAILED for result in results)
    if json_:
        of_samples = {} if sample is None else {"samples": [each.as_json() for each in samples]}
        print_json({"ok": is_ok, "checks": [result.as_json() for result in results], **of_samples})
    else:
        _print_details(samples)
    raise typer.Exit(0 if is_ok else 1)


async def _checks(settings: Settings, *, alert: bool) -> AsyncIterator[Check]:
    async for result in run_checks(settings):
        yield result
    if (dashboard := check_dashboard(settings)) is not None:
        yield dashboard
    async for result in check_alerts(settings, send=alert):
        yield result


async def _check_sample(
    settings: Settings, results: Sequence[Check], number: int, samples: list[Sample]
) -> AsyncIterator[Check]:
    missing = [each.name for each in results if each.name in _NEEDED_FOR_SAMPLE and each.verdict is not Verdict.OK]
    if missing:
        yield Check(sampling.NAME, Verdict.SKIPPED, f"needs the {missing[0]}")
        return
    try:
        with progress_bar("load a sample") as bar:
            async for each in sample_payloads(settings.database_url.get_secret_value(), number, bar.show):
                samples.append(each)  # noqa: PERF401 - those before a failure are shown
    except DatabaseUnavailable as error:
        yield failed(sampling.NAME, error.problem, error.remedy)
    for each in samples:
        yield each.check


def _print_details(samples: Sequence[Sample]) -> None:
    for sample in samples:
        if sample.details:
            print_line()
            print_line(f'Payload "{sample.payload}":')
        for told, tally in sample.details:
            print_line(f"  {told}")
            print_line(f"    such as {', '.join(tally.ids[:_SHOWN_IDS])}")
