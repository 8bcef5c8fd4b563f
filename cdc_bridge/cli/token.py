"""``cdc-bridge token``: who may use the dashboard and the HTTP API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from cdc_bridge.access import tokens
from cdc_bridge.access.rights import Right
from cdc_bridge.access.tokens import ListedToken
from cdc_bridge.audit.actor import of_command
from cdc_bridge.cli.options import ConfigOption, DatabaseOption, JsonOption, database_url_from, lifetime
from cdc_bridge.console import print_json, print_line
from cdc_bridge.displays import Columns, show, table
from cdc_bridge.endpoints.status import when

app = typer.Typer(
    name="token",
    help="Add, list and remove tokens of the dashboard and the HTTP API, each with a name and a right.",
    no_args_is_help=True,
)

_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The token's name: whose it is.")]
_COLUMNS: Columns = {
    "name": "left",
    "right": "left",
    "expires": "left",
    "last used": "left",
    "created": "left",
    "by": "left",
}


@app.command()
def add(
    name: _NameArgument,
    right: Annotated[
        Right,
        typer.Option(
            help="view: see states and deliveries; content: see the content of reservations as well; change: change "
            "everything."
        ),
    ],
    expires: Annotated[
        timedelta | None,
        typer.Option(metavar="TIME", parser=lifetime, help="Time after which it ends, such as 90d. Default: never."),
    ] = None,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a token, and print it, once.

    It signs in to the dashboard and is accepted by the HTTP API. A running daemon knows it at once.

    Example: cdc-bridge token add anna --right change --expires 90d
    """
    made = asyncio.run(tokens.add_token(database_url_from(config, database_url), name, right, expires, by=of_command()))
    if json_:
        print_json({"name": name, "right": right.value, "token": made.token, "expires_at": made.expires_at})
        return
    until = "does not expire" if made.expires_at is None else f"expires at {when(made.expires_at)}"
    for each in (f"Token {name}, which {until} and is not shown again:", "", f"    {made.token}", ""):
        print_line(each)


@app.command("list")
def list_(config: ConfigOption = None, database_url: DatabaseOption = None, json_: JsonOption = False) -> None:
    """List the tokens, and the links that endpoint portal made, without what is secret.

    Example: cdc-bridge token list
    """
    listed = asyncio.run(tokens.list_tokens(database_url_from(config, database_url)))
    if json_:
        print_json([_as_json(token) for token in listed])
    elif listed:
        show(table(_COLUMNS, (_cells(token) for token in listed)))
    else:
        print_line("There is no named token. To add one: cdc-bridge token add NAME --right view")


def _as_json(token: ListedToken) -> dict[str, object]:
    return {
        "name": token.name,
        "endpoint": token.endpoint,
        "right": token.right.value,
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


def _cells(token: ListedToken) -> list[str]:
    expires = "never" if token.expires_at is None else f"{token.expires_at.astimezone():%Y-%m-%d %H:%M}"
    return [
        token.name or f"portal of {token.endpoint}",
        token.right.value,
        f"{expires} (expired)" if token.expired else expires,
        "never" if token.last_used_at is None else f"{token.last_used_at.astimezone():%Y-%m-%d %H:00}",
        f"{token.created_at.astimezone():%Y-%m-%d}",
        token.created_by,
    ]


@app.command()
def remove(name: _NameArgument, config: ConfigOption = None, database_url: DatabaseOption = None) -> None:
    """Remove a token. Whoever is signed in with it is signed out within seconds.

    Example: cdc-bridge token remove anna
    """
    asyncio.run(tokens.remove_token(database_url_from(config, database_url), name, by=of_command()))
    print_line(f"Token {name} is removed.")
