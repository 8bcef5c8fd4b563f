"""``cdc-bridge endpoint portal``: the link with which a vendor sees the deliveries of one endpoint."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from cdc_bridge.access.rights import Right
from cdc_bridge.access.tokens import DEFAULT_PORTAL_LIFETIME, MAX_PORTAL_LIFETIME, make_portal_link, revoke_portal_link
from cdc_bridge.audit.actor import of_command
from cdc_bridge.cli.endpoint_options import NameArgument
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, lifetime, settings_from
from cdc_bridge.console import print_json, print_line
from cdc_bridge.endpoints.status import when
from cdc_bridge.errors import WrongUsage
from cdc_bridge.settings import usable_web_url


def _url(text: str) -> str | None:
    try:
        return usable_web_url(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def portal(
    name: NameArgument,
    right: Annotated[
        Right,
        typer.Option(
            help="view: see deliveries and attempts; content: see request previews as well; change: send test requests "
            "and deliveries again, too."
        ),
    ] = Right.CHANGE,
    expires: Annotated[
        timedelta | None,
        typer.Option(
            metavar="TIME",
            parser=lifetime,
            help=f"Time after which it ends, such as 12h or 30d; at most {MAX_PORTAL_LIFETIME.days}d. Default: "
            f"{DEFAULT_PORTAL_LIFETIME.days}d.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="URL at which the vendor reaches the dashboard. Default: the setting web_url.",
            metavar="URL",
            parser=_url,
        ),
    ] = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke the link that there is; sessions end within seconds.")
    ] = False,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a link for the vendor of an endpoint, and print it, once.

    It opens the pages of this endpoint alone: its status, its deliveries with their attempts and request previews, test
    requests, and sending a delivery again. No secret, no header's value, nothing of other endpoints. An endpoint has
    one link: a new one replaces it.

    Example: cdc-bridge endpoint portal till --expires 2d --url https://bridge.example
    """
    settings = settings_from(config, database_url, web_url=url)
    database, by = settings.database_url.get_secret_value(), of_command()
    if revoke:
        revoked = asyncio.run(revoke_portal_link(database, name, by=by))
        print_line(f"The link of {name} is revoked." if revoked else f"{name} had no link.")
        return
    if settings.web_url is None:
        raise WrongUsage(
            "the URL at which the vendor reaches the dashboard is not known",
            "Give it: --url https://bridge.example; or set CDC_BRIDGE_WEB_URL.",
        )
    made = asyncio.run(
        make_portal_link(database, name, right, DEFAULT_PORTAL_LIFETIME if expires is None else expires, by=by)
    )
    link = f"{settings.web_url}/portal#{made.token}"
    if json_:
        print_json({"endpoint": name, "right": right.value, "link": link, "expires_at": made.expires_at})
        return
    if made.replaced:
        print_line(f"The link that {name} had is revoked.")
    until = when(made.expires_at)
    for each in (
        f"Link for the vendor of {name}, which is not shown again and expires at {until}:",
        "",
        f"    {link}",
        "",
    ):
        print_line(each)
