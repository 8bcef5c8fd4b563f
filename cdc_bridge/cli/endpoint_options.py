"""The options that ``endpoint add`` and ``endpoint set`` share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WHAT_IT_GETS = "What it gets"
"""A panel of the help of its own: an option with two names would leave the others no room for theirs."""

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name.", show_default=False)]
_URL = "Where reservations are posted, https://... Put nothing secret into it: every user of this machine can read it."
UrlArgument = Annotated[str, typer.Argument(metavar="URL", help=_URL, show_default=False)]
UrlOption = Annotated[str | None, typer.Option("--url", help=_URL)]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="'NAME: VALUE'",
        help="A header of every call; may be repeated. Every user of this machine can read a command line: give one "
        "whose value is secret by --header-file.",
    ),
]
HeaderFileOption = Annotated[
    Path | None,
    typer.Option("--header-file", help="File with such headers, one a line; - is standard input.", allow_dash=True),
]
MaxInFlightOption = Annotated[int | None, typer.Option("--max-in-flight", help="Most calls under way at once.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout-seconds", help="Longest time for one call, in seconds.")
]
ConnectTimeoutOption = Annotated[
    float | None,
    typer.Option("--connect-timeout-seconds", help="Longest time for a connection to come about, in seconds."),
]
LatestOnlyOption = Annotated[
    bool | None,
    typer.Option(
        "--latest-only/--every-change",
        help="Make one call of several changes of a reservation that wait for theirs, or one of each.",
        rich_help_panel=WHAT_IT_GETS,
    ),
]
CaFileOption = Annotated[
    str | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        help="File on the daemon's machine with the CA certificate(s) that alone are trusted; without, the system's.",
    ),
]
ClientCertificateOption = Annotated[
    str | None,
    typer.Option(
        "--client-certificate-file",
        metavar="FILE",
        help="File on the daemon's machine with the certificate to show to an endpoint that asks for one (mTLS).",
    ),
]
ClientKeyOption = Annotated[
    str | None,
    typer.Option(
        "--client-key-file", metavar="FILE", help="File with that certificate's key; without, it is in the same file."
    ),
]


def given_headers(headers: Sequence[str] | None, file: Path | None) -> tuple[str, ...] | None:
    """Return the header lines given in one way or the other; ``None``: none were. An empty one stands for none at all.

    Raises:
        WrongUsage: the file cannot be read, or has none in it.
    """
    from cdc_bridge.endpoints.options import header_lines_of  # noqa: PLC0415

    if not headers and file is None:
        return None
    return (*filter(None, headers or ()), *(() if file is None else header_lines_of(file)))


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for warning in warnings:
        typer.echo(f"cdc-bridge: warning: {warning}", err=True)
