"""An endpoint that a vendor's command tries: its URL, its secret and its options stand on the command line alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.endpoints.option_input import Given, checked_secret, secret_line_of, unusable_flag
from cdc_bridge.endpoints.options import OPTIONS, Endpoint, UnusableOption, endpoint_from

TRIED_OPTIONS = ("headers", "ca_file", "client_certificate_file", "client_key_file", "proxy", "timeout_seconds")
"""Those that decide whether a request arrives."""

TriedSecretOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        allow_dash=True,
        help="File with the signing secret, whsec_...; - is standard input. Without it, requests are not signed.",
    ),
]


def tried_endpoint(name: str, url: str, secret_file: Path | None, given: Given) -> Endpoint:
    """Return an endpoint.

    Args:
        name: The command's.
        url: Its URL.
        secret_file: File with its signing secret; ``None``: requests are not signed.
        given: Its options, only those that were given.

    Raises:
        WrongUsage: Something of it cannot be used. Repeats nothing that may be secret.
    """
    stored = {"url": url, **given}
    timeout_seconds = stored.get("timeout_seconds", OPTIONS["timeout_seconds"].default)
    stored["connect_timeout_seconds"] = min(OPTIONS["connect_timeout_seconds"].default, timeout_seconds)
    try:
        if secret_file is not None:
            stored["secret"] = checked_secret(secret_line_of(secret_file))
        # http:// leads to this machine alone, where a vendor tries things out.
        return endpoint_from(name, stored, allow_http=True)
    except UnusableOption as error:
        raise unusable_flag(error) from None
