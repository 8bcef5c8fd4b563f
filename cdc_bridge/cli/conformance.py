"""``cdc-bridge conformance``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_bridge.cli.conformance_report import as_json, as_markdown, closing_lines, lines
from cdc_bridge.cli.endpoint_options import given_options, with_flags_for
from cdc_bridge.cli.options import JsonOption
from cdc_bridge.cli.schema_file import SchemaOption, schema_in
from cdc_bridge.cli.tried_endpoint import TRIED_OPTIONS, TriedSecretOption, tried_endpoint
from cdc_bridge.console import print_json, print_line
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import BridgeError
from cdc_bridge.own_files import write_own
from cdc_bridge.vendor.conformance.requests import RequestFactory
from cdc_bridge.vendor.conformance.runner import Result, Verdict, run_conformance_test


@with_flags_for(*TRIED_OPTIONS)
def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of your endpoint, https://...", show_default=False)],
    secret_file: TriedSecretOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a report into a file too (Markdown).")
    ] = None,
    schema: SchemaOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json_: JsonOption = False,
    **options: Any,
) -> None:
    """Test a vendor's endpoint against the contract.

    Posts some seventy invented reservations: use a test endpoint, not a live till. It sees responses only, and says at
    its end what to look up in the till. Needs no database. Exit code 0: every requirement is met.

    Example: cdc-bridge conformance https://till.example/test --secret-file secret --report report.md
    """
    endpoint = tried_endpoint("conformance", url, secret_file, given_options(options))
    requests = RequestFactory(None if schema is None else schema_in(schema))
    if not yes:
        if not sys.stdin.isatty():
            print_line("Nothing was sent. To go ahead: cdc-bridge conformance URL --yes", err=True)
            raise typer.Exit(2)
        print_line(f"This posts some seventy invented reservations to {endpoint.shown_url}.")
        typer.confirm("Go ahead?", abort=True)
    results = asyncio.run(_run(endpoint, requests, show=not json_))
    if json_:
        print_json(as_json(endpoint, results))
    else:
        for each in closing_lines(results):
            print_line(each)
    if report is not None:
        _write(report, as_markdown(endpoint, results))
        print_line(f"Report written to {report}.", err=True)
    raise typer.Exit(1 if any(result.verdict is Verdict.NOT_MET for result in results) else 0)


async def _run(endpoint: Endpoint, requests: RequestFactory, *, show: bool) -> list[Result]:
    results = []
    async for result in run_conformance_test(endpoint, requests):
        results.append(result)
        if show:
            for each in lines(result):
                print_line(each)
    return results


def _write(file: Path, text: str) -> None:
    try:
        write_own(file, text.encode())
    except OSError as error:
        raise BridgeError(f"the report {file} cannot be written: {error.strerror}") from error
