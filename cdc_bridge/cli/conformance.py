"""``cdc-bridge conformance``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.cli.conformance_report import as_json, as_markdown, line, summary
from cdc_bridge.cli.endpoint_options import HeaderFileOption, HeaderOption, given_headers
from cdc_bridge.cli.options import JsonOption, print_json
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import Endpoint
from cdc_bridge.setting_values import (
    check_client_certificate,
    checked_ca_file,
    checked_headers,
    checked_url,
    decoded_secret,
)
from cdc_bridge.vendor.conformance.runner import Result, Verdict, run_conformance_test

_MTLS = "Client certificate (mTLS)"


def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of your endpoint, https://...", show_default=False)],
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            allow_dash=True,
            help="File with the signing secret, whsec_...; - is standard input. Without it, requests are not signed.",
        ),
    ] = None,
    header: HeaderOption = None,
    header_file: HeaderFileOption = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the trusted CA certificate(s). Default: the system's."),
    ] = None,
    client_certificate_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the client certificate.", rich_help_panel=_MTLS),
    ] = None,
    client_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with its key. Default: the same file.",
            rich_help_panel=_MTLS,
        ),
    ] = None,
    timeout_seconds: Annotated[
        float,
        typer.Option(min=0.1, max=300, help="Request timeout, in seconds. The default is the bridge's."),
    ] = 15.0,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a report into a file too (Markdown).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json_: JsonOption = False,
) -> None:
    """Test a vendor's endpoint against the contract.

    Posts some seventy invented reservations: use a test endpoint, not a live till. Needs no database. Exit code 0:
    every requirement is met.

    Example: cdc-bridge conformance https://till.example/test --secret-file secret --report report.md
    """
    certificates = (ca_file, client_certificate_file, client_key_file)
    endpoint = _endpoint(url, secret_file, given_headers(header, header_file), certificates, timeout_seconds)
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("Nothing was sent. To go ahead: cdc-bridge conformance URL --yes", err=True)
            raise typer.Exit(2)
        typer.echo(f"This posts some seventy invented reservations to {endpoint.shown_url}.")
        typer.confirm("Go ahead?", abort=True)
    results = asyncio.run(_run(endpoint, show=not json_))
    if json_:
        print_json(as_json(endpoint, results))
    else:
        typer.echo(f"\n{summary(results)}")
    if report is not None:
        _write(report, as_markdown(endpoint, results))
        typer.echo(f"Report written to {report}.", err=True)
    raise typer.Exit(1 if any(result.verdict is Verdict.NOT_MET for result in results) else 0)


async def _run(endpoint: Endpoint, *, show: bool) -> list[Result]:
    results = []
    async for result in run_conformance_test(endpoint):
        results.append(result)
        if show:
            typer.echo(line(result))
    return results


def _endpoint(
    url: str,
    secret_file: Path | None,
    headers: tuple[str, ...] | None,
    certificates: tuple[Path | None, Path | None, Path | None],
    timeout_seconds: float,
) -> Endpoint:
    ca_file, client_certificate_file, client_key_file = certificates
    if client_key_file is not None and client_certificate_file is None:
        raise WrongUsage("--client-key-file needs --client-certificate-file", "Add it: --client-certificate-file FILE")
    option = "URL"
    try:
        # checked_url admits http:// to this machine only, where a vendor develops.
        checked = checked_url(url, allow_http=True)
        option = "--secret-file"
        secret = None if secret_file is None else decoded_secret(_read(secret_file))
        option = "--header"
        pairs = checked_headers(headers or ())
        option = "--ca-file"
        authorities = None if ca_file is None else checked_ca_file(ca_file)
        option = "--client-certificate-file"
        if client_certificate_file is not None:
            check_client_certificate(client_certificate_file, client_key_file)
    except ValueError as error:
        raise WrongUsage(f"{option} {error}") from None
    return Endpoint(
        name="conformance",
        url=checked,
        headers=pairs,
        secret=secret,
        previous_secret=None,
        previous_secret_until=None,
        ca_file=authorities,
        client_certificate_file=client_certificate_file,
        client_key_file=client_key_file,
        max_in_flight=100,
        latest_only=False,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=min(5.0, timeout_seconds),
    )


def _read(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.read().strip()
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"{file} cannot be read: {reason}") from None


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BridgeError(f"the report {file} cannot be written: {error.strerror}") from error
