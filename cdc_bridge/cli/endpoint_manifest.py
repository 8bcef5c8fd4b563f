"""``cdc-bridge endpoint apply`` and ``export``: many endpoints from one file, and back."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.audit.actor import of_command
from cdc_bridge.cli.endpoint_options import Start, how_to_withdraw, print_warnings
from cdc_bridge.cli.manifest_report import applied_lines, as_json, difference_lines, fault_lines, listed, told
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from, settings_from
from cdc_bridge.console import print_json, print_line, print_lines
from cdc_bridge.endpoints.manifest import SECRET_FILE, Fault, SecretReader, read_manifest
from cdc_bridge.endpoints.manifest_plan import Plan, as_manifest
from cdc_bridge.endpoints.manifest_store import (
    OutcomeUnknown,
    apply_plan,
    exported_endpoints,
    new_secrets_for,
    prepare_manifest,
)
from cdc_bridge.endpoints.manifest_text import as_secrets, as_toml
from cdc_bridge.endpoints.option_input import STANDARD_INPUT, checked_secret, secret_line_of, unreadable_file
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.own_files import create_own, everybody_reads, user_name

_MAX_MEBIBYTES = 16


def apply(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            allow_dash=True,
            readable=False,
            help="Manifest, TOML or JSON; - is standard input.",
            show_default=False,
        ),
    ],
    prune: Annotated[
        int | None,
        typer.Option(
            "--prune",
            metavar="MAX",
            min=0,
            help="Remove the endpoints that are not in the file. If they are more than MAX, nothing is done.",
        ),
    ] = None,
    start: Annotated[
        Start,
        typer.Option(help="New endpoints begin with what is committed from now on, or the oldest change in the log."),
    ] = Start.now,
    keep_headers: Annotated[
        bool,
        typer.Option(
            "--keep-headers",
            help="Where the url leads to another server: send it the same headers, with the same secret.",
        ),
    ] = False,
    new_secrets: Annotated[
        bool, typer.Option("--new-secrets", help="Where the url leads to another server: make a new signing secret.")
    ] = False,
    secrets_file: Annotated[
        Path | None,
        typer.Option(
            "--secrets-file", metavar="NEWFILE", help="Write the secrets that are made to a new file, and print none."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Make the endpoints as a file declares them: add, change, and with --prune remove.

    The file has a table endpoints.NAME for each endpoint, with url and the options of endpoint add, such as
    max_in_flight or only. A table defaults holds for all of them. What is not in the file has its default. ***, as
    endpoint export writes it, keeps what is stored. A signing secret is made for a new endpoint, unless the file says
    signed = false or secret_file = "PATH"; it is printed once.

    Shows the difference and asks. Everything is applied in one transaction, or nothing. If the endpoints are as the
    file says, nothing is done, and the exit code is 0.

    Example: cdc-bridge endpoint apply endpoints.toml --dry-run
    """
    settings = settings_from(config, database_url)
    url, cipher = settings.database_url.get_secret_value(), settings.secrets_cipher()
    text, is_exposed = _read(file)
    exposed_secret_files: list[str] = []
    manifest = read_manifest(
        text, allow_http=settings.allow_http, secret_in=_secret_reader(file.parent, exposed_secret_files)
    )
    prepared = asyncio.run(
        prepare_manifest(
            url, manifest, cipher=cipher, prune=prune is not None, keep_headers=keep_headers, new_secrets=new_secrets
        )
    )
    plan = prepared.plan
    _require_no_faults(file, text, prepared.faults)
    _require_few_removals(plan, prune)
    secrets = new_secrets_for(plan)
    _require_new(secrets_file if secrets else None)
    warnings = [*_exposed(file if is_exposed and manifest.has_secrets else None, exposed_secret_files)]
    warnings += told(prepared.warnings)
    print_warnings(warnings)
    if not json_ or not (yes or dry_run):
        for line in difference_lines(prepared):
            print_line(line, err=json_)
    applied = not (plan.is_empty or dry_run)
    if applied:
        if not yes:
            _ask(file, err=json_)
        with _kept(secrets, secrets_file):
            from_oldest = start is Start.oldest
            asyncio.run(apply_plan(url, plan, secrets, cipher=cipher, from_oldest=from_oldest, by=of_command()))
    shown = secrets if applied and secrets_file is None else {}
    if json_:
        print_json(as_json(prepared, shown, warnings, applied=applied))
    elif applied:
        for line in applied_lines(plan, shown, from_oldest=start is Start.oldest):
            print_line(line)
        if secrets and secrets_file is not None:
            print_line(f"{secrets_file} has their signing secrets, which are not shown again.")
    elif plan.is_empty:
        print_line("There is nothing to do.")


def export(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Endpoints; without any, all.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Print endpoints as endpoint apply reads them: every option that differs from its default, and no secret.

    *** stands for what is not shown: the value of a header, the query of a URL, the user and password of a proxy.
    endpoint apply keeps what is stored there, and the signing secrets. The endpoint of a daemon's settings is left out.

    Example: cdc-bridge endpoint export > endpoints.toml
    """
    exported = as_manifest(asyncio.run(exported_endpoints(database_url_from(config, database_url), names or [])))
    if json_:
        print_json(exported)
    else:
        print_lines(as_toml(exported).rstrip("\n"))


def _read(file: Path) -> tuple[str, bool]:
    """Return a manifest's text, and whether every user of this machine can read its file."""
    limit = _MAX_MEBIBYTES * 2**20
    try:
        with nullcontext(sys.stdin.buffer) if file == STANDARD_INPUT else file.open("rb") as opened:
            data = opened.read(limit + 1)
        is_exposed = file != STANDARD_INPUT and everybody_reads(file)
    except OSError as error:
        raise unreadable_file(_named(file), error, f"cdc-bridge endpoint apply - --yes < {file}") from None
    if len(data) > limit:
        raise WrongUsage(f"{_named(file)} is larger than {_MAX_MEBIBYTES} MiB")
    try:
        return data.decode("utf-8-sig"), is_exposed
    except UnicodeDecodeError:
        raise WrongUsage(f"{_named(file)} is not UTF-8") from None


def _named(file: Path) -> str:
    return "standard input" if file == STANDARD_INPUT else str(file)


def _secret_reader(folder: Path, exposed: list[str]) -> SecretReader:
    """Return what reads a vendor's secret from a file, and notes the files that every user can read.

    Args:
        folder: Where a relative path begins.
        exposed: The files that every user can read.
    """

    def secret_in(path: Path) -> str:
        file = folder / path
        secret = checked_secret(secret_line_of(file, SECRET_FILE), SECRET_FILE)
        if everybody_reads(file):
            exposed.append(str(file))
        return secret

    return secret_in


def _exposed(file: Path | None, secret_files: Sequence[str]) -> Iterator[str]:
    if file is not None:
        yield f"{file} has secrets in it, and every user of this machine can read it; {how_to_withdraw(file)}"
    if secret_files:
        them = listed(secret_files)
        yield f"{SECRET_FILE}: every user of this machine can read {them}; withdraw that: chmod o-r"


def _require_no_faults(file: Path, text: str, faults: Sequence[Fault]) -> None:
    if faults:
        number = "a fault" if len(faults) == 1 else f"{len(faults):,} faults"
        raise WrongUsage(f"{_named(file)} has {number}; nothing was changed", more=list(fault_lines(faults, text)))


def _require_few_removals(plan: Plan, prune: int | None) -> None:
    number = len(plan.removed)
    if prune is not None and number > prune:
        raise WrongUsage(
            f"--prune {prune} allows fewer removals than the {number:,} that the file leads to: "
            f"{listed([endpoint.name for endpoint in plan.removed])}",
            f"Nothing was changed. To remove all of them: --prune {number}",
        )


def _require_new(secrets_file: Path | None) -> None:
    if secrets_file is not None and os.path.lexists(secrets_file):
        raise WrongUsage(
            f"--secrets-file {secrets_file} is there already", "Name a new file: no secret is overwritten."
        )


@contextmanager
def _kept(secrets: Mapping[str, str], file: Path | None) -> Iterator[None]:
    """Write secrets to a file, if there is to be one, before they are used; remove it if they were not."""
    if not secrets:
        yield
        return
    if file is not None:
        _write(file, secrets)
    try:
        yield
    except BaseException as error:
        if not isinstance(error, BridgeError) or isinstance(error, OutcomeUnknown):
            lost = "the new secrets are lost; for others: cdc-bridge endpoint rotate-secret NAME"
            print_line(f"If it was done, {lost if file is None else f'the new secrets are in {file}'}", err=True)
        elif file is not None:
            file.unlink()
        raise


def _write(file: Path, secrets: Mapping[str, str]) -> None:
    try:
        create_own(file, as_secrets(secrets).encode())
    except OSError as error:
        raise WrongUsage(
            f"--secrets-file {file} cannot be written by user {user_name()}: {error.strerror}",
            "Nothing was changed. Name a new file in a folder that this user can write to.",
        ) from None


def _ask(file: Path, *, err: bool) -> None:
    if file == STANDARD_INPUT or not sys.stdin.isatty():
        print_line("Nothing was done, as there is no terminal to ask on. To go ahead, add --yes.", err=True)
        raise typer.Exit(2)
    typer.confirm("Go ahead?", abort=True, err=err)
