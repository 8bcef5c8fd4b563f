"""``cdc-bridge endpoint add``, ``set`` and ``rotate-secret``: what an endpoint is."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from cdc_bridge.cli.endpoint_options import (
    WHAT_IT_GETS,
    CaFileOption,
    ClientCertificateOption,
    ClientKeyOption,
    ConnectTimeoutOption,
    HeaderFileOption,
    HeaderOption,
    LatestOnlyOption,
    MaxInFlightOption,
    NameArgument,
    TimeoutOption,
    UrlArgument,
    UrlOption,
    given_headers,
    print_warnings,
)
from cdc_bridge.cli.options import (
    ConfigOption,
    DatabaseOption,
    JsonOption,
    database_url_from,
    print_json,
    settings_from,
)


class _Start(StrEnum):
    now = "now"
    oldest = "oldest"


def add(
    name: NameArgument,
    url: UrlArgument,
    header: HeaderOption = None,
    header_file: HeaderFileOption = None,
    max_in_flight: MaxInFlightOption = None,
    timeout_seconds: TimeoutOption = None,
    connect_timeout_seconds: ConnectTimeoutOption = None,
    latest_only: LatestOnlyOption = None,
    ca_file: CaFileOption = None,
    client_certificate_file: ClientCertificateOption = None,
    client_key_file: ClientKeyOption = None,
    start: Annotated[
        _Start,
        typer.Option(
            help="Begin with what is committed from now on, or with the oldest change kept.",
            rich_help_panel=WHAT_IT_GETS,
        ),
    ] = _Start.now,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Make no secret; calls are not signed.")] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Add an endpoint, and print its signing secret, once.

    What is not given is as the settings have it by default: CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT and so on.

    Example: cdc-bridge endpoint add till https://till.example/reservations --header-file /run/till-headers
    """
    settings = settings_from(config, database_url)
    from cdc_bridge.endpoints import admin as maintenance  # noqa: PLC0415
    from cdc_bridge.endpoints.options import EndpointOptions  # noqa: PLC0415

    options = EndpointOptions(
        url=url,
        headers=given_headers(header, header_file),
        max_in_flight=max_in_flight,
        latest_only=latest_only,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=connect_timeout_seconds,
        ca_file=ca_file,
        client_certificate_file=client_certificate_file,
        client_key_file=client_key_file,
    )
    added = asyncio.run(
        maintenance.add_endpoint(
            settings.database_url.get_secret_value(),
            name,
            options,
            allow_http=settings.allow_http,
            from_oldest=start is _Start.oldest,
            signed=not unsigned,
        )
    )
    print_warnings(added.warnings)
    if json_:
        print_json({"name": name, "url": added.shown_url, "start": start.value, "secret": added.secret})
        return
    typer.echo(f"Endpoint {name} is added: {added.shown_url}")
    if start is _Start.oldest:
        typer.echo("It begins with the oldest change that the log keeps.")
    else:
        typer.echo(
            "It begins with what is committed from now on. To send it the reservations there are already: "
            f"cdc-bridge backfill {name}"
        )
    if added.secret is None:
        typer.echo("Its calls are not signed.")
    else:
        _print_secret(added.secret)


def set_(
    name: NameArgument,
    url: UrlOption = None,
    header: HeaderOption = None,
    header_file: HeaderFileOption = None,
    max_in_flight: MaxInFlightOption = None,
    timeout_seconds: TimeoutOption = None,
    connect_timeout_seconds: ConnectTimeoutOption = None,
    latest_only: LatestOnlyOption = None,
    ca_file: CaFileOption = None,
    client_certificate_file: ClientCertificateOption = None,
    client_key_file: ClientKeyOption = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Change an endpoint: what is given, and nothing else.

    Headers given replace all there were. An empty value takes a file, or all headers, away: --ca-file '', --header ''.

    Example: cdc-bridge endpoint set till --url https://till.example/v2 --timeout-seconds 30
    """
    settings = settings_from(config, database_url)
    from cdc_bridge.endpoints import admin as maintenance  # noqa: PLC0415
    from cdc_bridge.endpoints.options import EndpointOptions  # noqa: PLC0415

    options = EndpointOptions(
        url=url,
        headers=given_headers(header, header_file),
        max_in_flight=max_in_flight,
        latest_only=latest_only,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=connect_timeout_seconds,
        ca_file=ca_file,
        client_certificate_file=client_certificate_file,
        client_key_file=client_key_file,
    )
    changing = maintenance.set_endpoint(
        settings.database_url.get_secret_value(), name, options, allow_http=settings.allow_http
    )
    print_warnings(asyncio.run(changing))
    typer.echo(f"Endpoint {name} is changed.")


def rotate_secret(
    name: NameArgument,
    keep_old_hours: Annotated[
        float, typer.Option(help="For so long calls are signed with the secret before as well.")
    ] = 24,
    now: Annotated[
        bool, typer.Option("--now", help="If a rotation is under way, drop its older secret at once.")
    ] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Make an endpoint a new signing secret, and print it, once. One that is not signed gets its first.

    Example: cdc-bridge endpoint rotate-secret till --keep-old-hours 72
    """
    url = database_url_from(config, database_url)
    from cdc_bridge.endpoints import admin as maintenance  # noqa: PLC0415
    from cdc_bridge.endpoints.status import when  # noqa: PLC0415

    rotated = asyncio.run(maintenance.rotate_secret(url, name, keep_old_hours=keep_old_hours, cut_short=now))
    until = rotated.old_until
    if json_:
        print_json({"name": name, "secret": rotated.secret, "old_until": until})
        return
    if until is None:
        typer.echo(f"Calls to {name} are signed with a new secret from now on.")
    else:
        typer.echo(
            f"Calls to {name} are signed with a new secret, and with the one before as well until {when(until)}."
        )
    _print_secret(rotated.secret)


def _print_secret(secret: str) -> None:
    typer.echo(f"\nIts signing secret, which is not shown again:\n\n    {secret}\n")
