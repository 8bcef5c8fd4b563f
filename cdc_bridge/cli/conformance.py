"""``cdc-bridge conformance``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.endpoint_options import HeaderFileOption, HeaderOption, given_headers
from cdc_bridge.cli.options import JsonOption, print_json

if TYPE_CHECKING:
    from cdc_bridge.model import Endpoint
    from cdc_bridge.vendor.conformance.trial import Result

_MTLS = "Where your endpoint asks for a client certificate (mTLS)"


def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="Your endpoint, https://...", show_default=False)],
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            allow_dash=True,
            help="File with the signing secret, whsec_...; - is standard input. Without one, calls are not signed.",
        ),
    ] = None,
    header: HeaderOption = None,
    header_file: HeaderFileOption = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the CA certificate(s) that alone are trusted; else the system's."),
    ] = None,
    client_certificate_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the certificate to show.", rich_help_panel=_MTLS),
    ] = None,
    client_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with that certificate's key; without, it is in the same file.",
            rich_help_panel=_MTLS,
        ),
    ] = None,
    timeout_seconds: Annotated[
        float,
        typer.Option(min=0.1, max=300, help="Longest time for an answer, in seconds: the bridge's own by default."),
    ] = 15.0,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the report into a file as well (Markdown).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_: JsonOption = False,
) -> None:
    """Try whether an EPOS vendor's endpoint takes calls as it should: an acceptance test, with a report to pass on.

    It posts some seventy invented reservations, so let it go to an endpoint for trials and not to a till at work.
    No database is needed, and nothing of one is sent. Exit code 0: everything that is asked is met.

    Example: cdc-bridge conformance https://till.example/trials --secret-file secret --report report.md
    """
    certificates = (ca_file, client_certificate_file, client_key_file)
    endpoint = _endpoint(url, secret_file, given_headers(header, header_file), certificates, timeout_seconds)
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("Nothing was sent. To go ahead: cdc-bridge conformance URL --yes", err=True)
            raise typer.Exit(2)
        typer.echo(f"This posts some seventy invented reservations to {endpoint.shown_url}.")
        typer.confirm("Go ahead?", abort=True)
    results = asyncio.run(_try(endpoint, show=not json_))
    from cdc_bridge.cli.conformance_report import as_json, as_markdown, summary  # noqa: PLC0415
    from cdc_bridge.vendor.conformance.trial import Verdict  # noqa: PLC0415

    if json_:
        print_json(as_json(endpoint, results))
    else:
        typer.echo(f"\n{summary(results)}")
    if report is not None:
        _write(report, as_markdown(endpoint, results))
        typer.echo(f"The report is in {report}.", err=True)
    raise typer.Exit(1 if any(result.verdict is Verdict.NOT_MET for result in results) else 0)


async def _try(endpoint: Endpoint, *, show: bool) -> list[Result]:
    from cdc_bridge.cli.conformance_report import line  # noqa: PLC0415
    from cdc_bridge.vendor.conformance.trial import try_endpoint  # noqa: PLC0415

    results = []
    async for result in try_endpoint(endpoint):
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
    from cdc_bridge.errors import WrongUsage  # noqa: PLC0415
    from cdc_bridge.model import Endpoint  # noqa: PLC0415
    from cdc_bridge.setting_values import (  # noqa: PLC0415
        check_client_certificate,
        checked_ca_file,
        checked_headers,
        checked_url,
        decoded_secret,
    )

    ca_file, client_certificate_file, client_key_file = certificates
    if client_key_file is not None and client_certificate_file is None:
        raise WrongUsage("--client-key-file needs its certificate", "Name that too: --client-certificate-file FILE")
    wrong = "URL"
    try:
        # http:// leads to this machine alone, where a vendor tries things out.
        checked = checked_url(url, allow_http=True)
        wrong = "--secret-file"
        secret = None if secret_file is None else decoded_secret(_read(secret_file))
        wrong = "--header"
        pairs = checked_headers(headers or ())
        wrong = "--ca-file"
        authorities = None if ca_file is None else checked_ca_file(ca_file)
        wrong = "--client-certificate-file"
        if client_certificate_file is not None:
            check_client_certificate(client_certificate_file, client_key_file)
    except ValueError as error:
        raise WrongUsage(f"{wrong} {error}") from None
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
    from cdc_bridge.errors import BridgeError  # noqa: PLC0415

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BridgeError(f"the report {file} cannot be written: {error.strerror}") from error
