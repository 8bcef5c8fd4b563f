"""``cdc-bridge endpoint add``, ``set``, ``rotate-secret`` and ``encrypt-secrets``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from cdc_bridge.audit.actor import of_command
from cdc_bridge.cli.endpoint_options import (
    NameArgument,
    SecretFileOption,
    Start,
    given_options,
    given_secret,
    print_warnings,
    with_flags_for_all_options,
)
from cdc_bridge.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    settings_from,
)
from cdc_bridge.console import print_json, print_line
from cdc_bridge.endpoints import admin, signing_secret
from cdc_bridge.endpoints.encryption import convert_secrets
from cdc_bridge.endpoints.option import Group
from cdc_bridge.endpoints.status import when
from cdc_bridge.errors import WrongUsage


@with_flags_for_all_options(adding=True)
def add(
    name: NameArgument,
    start: Annotated[
        Start,
        typer.Option(
            help="Begin with what is committed from now on, or with the oldest change in the log.",
            rich_help_panel=Group.CONTENT.value,
        ),
    ] = Start.now,
    unsigned: Annotated[
        bool,
        typer.Option(
            "--unsigned", help="Make no secret; requests are not signed.", rich_help_panel=Group.REQUEST.value
        ),
    ] = False,
    secret_file: SecretFileOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
    **options: Any,
) -> None:
    """Add an endpoint, and print its signing secret, once, unless it comes from a file.

    An option that is not given has the default of its setting: CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT and so on.

    Example: cdc-bridge endpoint add till https://till.example/reservations --header-file /run/till-headers
    """
    _require_at_most_one(("--unsigned", unsigned), ("--secret-file", secret_file is not None))
    settings = settings_from(config, database_url)
    secret = given_secret(secret_file)
    added = asyncio.run(
        admin.add_endpoint(
            settings.database_url.get_secret_value(),
            name,
            given_options(options),
            allow_http=settings.allow_http,
            cipher=settings.secrets_cipher(),
            from_oldest=start is Start.oldest,
            signed=not unsigned,
            secret=secret,
            by=of_command(),
        )
    )
    print_warnings(added.warnings)
    if json_:
        print_json({"name": name, "url": added.shown_url, "start": start.value, "secret": added.secret})
        return
    print_line(f"Endpoint {name} is added: {added.shown_url}")
    if start is Start.oldest:
        print_line("It begins with the oldest change in the log.")
    else:
        print_line(
            "It begins with what is committed from now on. To send it the existing reservations: "
            f"cdc-bridge backfill {name}"
        )
    if unsigned:
        print_line("Requests to it are not signed.")
    elif added.secret is None:
        print_line("Requests to it are signed with the secret given.")
    else:
        _print_secret(added.secret)


@with_flags_for_all_options(adding=False)
def set_(
    name: NameArgument,
    keep_headers: Annotated[
        bool,
        typer.Option(
            "--keep-headers",
            help="With a --url of another server: send it the same headers, signed with the same secret.",
        ),
    ] = False,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="With --url: make a new signing secret, and print it, once.")
    ] = False,
    secret_file: SecretFileOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    **options: Any,
) -> None:
    """Change the options of an endpoint that are given, and no others.

    Headers given replace all existing ones. An empty value removes a file, a limit, or all headers: --ca-file '',
    --max-per-second '', --header ''.

    A URL of another server, by scheme, host or port, needs headers and signing secret anew, or --keep-headers. The
    secret is made (--new-secret) or comes from the vendor (--secret-file).

    Example: cdc-bridge endpoint set till --url https://till.example/v2 --timeout-seconds 30
    """
    _require_at_most_one(("--new-secret", new_secret), ("--secret-file", secret_file is not None))
    settings = settings_from(config, database_url)
    secret = given_secret(secret_file)
    changed = asyncio.run(
        admin.set_endpoint(
            settings.database_url.get_secret_value(),
            name,
            given_options(options),
            allow_http=settings.allow_http,
            cipher=settings.secrets_cipher(),
            keep_headers=keep_headers,
            with_new_secret=new_secret,
            secret=secret,
            by=of_command(),
        )
    )
    print_warnings(changed.warnings)
    print_line(f"Endpoint {name} is changed.")
    for consequence in changed.consequences:
        print_line(consequence)
    if changed.secret is not None:
        _print_secret(changed.secret)


def rotate_secret(
    name: NameArgument,
    keep_old_hours: Annotated[
        float, typer.Option(help="Hours for which requests are signed with the previous secret as well.")
    ] = 24,
    now: Annotated[
        bool, typer.Option("--now", help="Drop the older secret of a rotation in progress at once.")
    ] = False,
    secret_file: SecretFileOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Give an endpoint a new signing secret, and print it, once, unless it comes from a file.

    An endpoint that has no secret gets its first. With --secret-file, "secret" is null in JSON.

    Example: cdc-bridge endpoint rotate-secret till --keep-old-hours 72
    """
    settings = settings_from(config, database_url)
    secret = given_secret(secret_file)
    rotated = asyncio.run(
        signing_secret.rotate_secret(
            settings.database_url.get_secret_value(),
            name,
            cipher=settings.secrets_cipher(),
            keep_old_hours=keep_old_hours,
            cut_short=now,
            secret=secret,
            by=of_command(),
        )
    )
    until = rotated.old_until
    if json_:
        print_json({"name": name, "secret": rotated.secret, "old_until": until})
        return
    signed = f"Requests to {name} are signed with {'a new secret' if secret is None else 'the secret given'}"
    print_line(
        f"{signed} from now on." if until is None else f"{signed}, and with the previous one until {when(until)}."
    )
    if rotated.secret is not None:
        _print_secret(rotated.secret)


def encrypt_secrets(
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Decrypt all of them instead: they become plain text.")
    ] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Encrypt the secrets of all endpoints with the first key of secrets_key_file.

    Those are signing secrets, values of headers, queries of URLs and passwords of proxies, in plain text or encrypted
    with an older key. Each endpoint is changed whole, and deliveries go on. If it was interrupted, run it again.

    Example: cdc-bridge endpoint encrypt-secrets
    """
    settings = settings_from(config, database_url)
    done = asyncio.run(
        convert_secrets(
            settings.database_url.get_secret_value(), settings.secrets_cipher(), decrypt=decrypt, by=of_command()
        )
    )
    how = "in plain text" if done.key_id is None else f"encrypted with key {done.key_id}"
    if done.secrets or done.left:
        print_line(f"Secrets that are {how} now: {done.secrets:,}, of {done.endpoints:,} endpoints.")
    else:
        print_line(f"There is nothing to do: every secret is {how}.")
    for name, problem in done.left.items():
        print_line(f"Endpoint {name} is left as it was: {problem}.", err=True)
    raise typer.Exit(1 if done.left else 0)


def _require_at_most_one(*flags: tuple[str, bool]) -> None:
    """Make sure that at most one of some flags was given.

    Raises:
        WrongUsage: More were.
    """
    given = [flag for flag, is_given in flags if is_given]
    if len(given) > 1:
        raise WrongUsage(f"{' and '.join(given)} exclude each other", "Give one of them.")


def _print_secret(secret: str) -> None:
    for each in ("", "Its signing secret, which is not shown again:", "", f"    {secret}", ""):
        print_line(each)
