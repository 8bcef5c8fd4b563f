"""Adds, lists and removes named tokens and the links to the portal, and notes who did in the audit log."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.access.known_tokens import hash_of
from cdc_bridge.access.rights import Right
from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import Conflict, NotFound, WrongUsage
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import DatabaseRef, command_session

_queries = load_queries(__name__)

DEFAULT_PORTAL_LIFETIME = timedelta(days=7)
MAX_PORTAL_LIFETIME = timedelta(days=90)
MAX_LIFETIME = timedelta(days=3650)
MOST_TOKENS = 1000
"""Named tokens; every daemon with a dashboard has all of them in memory."""

_OF_SETTINGS = {"web_token", "web_api_token"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PREFIX = "cdcb_"
"""So that whoever looks for secrets in a repository or a log finds one."""
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made."""

    token: str
    """To be shown once."""
    expires_at: datetime | None
    """``None``: it does not expire."""


@dataclass(frozen=True, slots=True)
class NewLink:
    """The token of a link that was just made."""

    token: str
    """To be shown once, in the link."""
    expires_at: datetime
    replaced: bool
    """Whether a link that there was has ended."""


@dataclass(frozen=True, slots=True)
class ListedToken:
    """What may be shown of a token."""

    name: str | None
    """``None``: it is the link of an endpoint."""
    endpoint: str | None
    """The one endpoint that it is for; ``None``: all."""
    right: Right
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    expired: bool
    last_used_at: datetime | None
    """To the hour."""


async def add_token(
    database: DatabaseRef, name: str, right: Right, lifetime: timedelta | None, *, by: Actor
) -> NewToken:
    """Make a token for dashboard and HTTP API.

    Args:
        database: The database.
        name: Whose it is.
        right: What it permits.
        lifetime: When it expires; ``None``: never.
        by: Who makes it.

    Raises:
        WrongUsage: Name or lifetime cannot be used.
        Conflict: The name is taken, or there are too many tokens.
        BridgeError: The database cannot be used.
    """
    if not _NAME.fullmatch(name) or name in _OF_SETTINGS:
        raise WrongUsage(
            f"a token cannot be named {name}",
            "A name is made of 1 to 63 lower-case letters, digits, - and _. web_token and web_api_token stand in the "
            "settings.",
        )
    _check(lifetime, MAX_LIFETIME)
    token = _new_token()
    async with command_session(database) as connection, connection.transaction():
        ((number,),) = await _rows(connection, _queries["number_of_named_tokens"])
        if number >= MOST_TOKENS:
            raise Conflict(f"there are {number:,} tokens already", "Remove some: cdc-bridge token remove NAME")
        added = await _rows(
            connection,
            _queries["add_token"],
            {"name": name, "right": right.value, "hash": hash_of(token), "lifetime": lifetime, "by": by.who},
        )
        if not added:
            raise Conflict(
                f"there is a token {name} already",
                f"Remove it first: cdc-bridge token remove {name}; or choose a name.",
            )
        ((expires_at,),) = added
        await record(connection, by, Action.TOKEN_ADDED, token=name, right=right, expires_at=expires_at)
    return NewToken(token, expires_at)


async def list_tokens(database: DatabaseRef) -> list[ListedToken]:
    """Return the named tokens by name, and then the links to the portal by endpoint.

    Raises:
        BridgeError: The database cannot be read.
    """
    async with command_session(database) as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["list_tokens"])
        return [ListedToken(**(row | {"right": Right(row["right"])})) for row in await cursor.fetchall()]


async def remove_token(database: DatabaseRef, name: str, *, by: Actor) -> None:
    """Remove a named token; its sessions end within seconds.

    Raises:
        NotFound: There is none of that name.
        BridgeError: The database cannot be used.
    """
    async with command_session(database) as connection, connection.transaction():
        if not await _rows(connection, _queries["remove_token"], {"name": "".join(filter(str.isprintable, name))}):
            raise NotFound(f"there is no token {name}", "To list them: cdc-bridge token list")
        await record(connection, by, Action.TOKEN_REMOVED, token=name)


async def make_portal_link(
    database: DatabaseRef, endpoint_name: str, right: Right, lifetime: timedelta, *, by: Actor
) -> NewLink:
    """Make the token of an endpoint's link to the portal; the link that there was ends.

    Raises:
        WrongUsage: The lifetime cannot be used.
        NotFound: There is no such endpoint.
        Conflict: Somebody else is making one at this moment.
        BridgeError: The database cannot be used.
    """
    _check(lifetime, MAX_PORTAL_LIFETIME)
    token = _new_token()
    async with command_session(database) as connection:
        try:
            async with connection.transaction():
                endpoint = await resolve_endpoint(connection, endpoint_name)
                replaced = await _rows(
                    connection, _queries["remove_portal_token"], {"endpoint_id": endpoint.endpoint_id}
                )
                ((expires_at,),) = await _rows(
                    connection,
                    _queries["add_portal_token"],
                    {
                        "endpoint_id": endpoint.endpoint_id,
                        "right": right.value,
                        "hash": hash_of(token),
                        "lifetime": lifetime,
                        "by": by.who,
                    },
                )
                await record(connection, by, Action.PORTAL_LINK_MADE, endpoint.name, right=right, expires_at=expires_at)
        except errors.UniqueViolation:
            raise Conflict(
                f"somebody else has just made a link for {endpoint_name}", "Run the command again to replace it."
            ) from None
    return NewLink(token, expires_at, replaced=bool(replaced))


async def revoke_portal_link(database: DatabaseRef, endpoint_name: str, *, by: Actor) -> bool:
    """Revoke an endpoint's link to the portal; return whether there was one. Its sessions end within seconds.

    Raises:
        NotFound: There is no such endpoint.
        BridgeError: The database cannot be used.
    """
    async with command_session(database) as connection, connection.transaction():
        endpoint = await resolve_endpoint(connection, endpoint_name)
        removed = await _rows(connection, _queries["remove_portal_token"], {"endpoint_id": endpoint.endpoint_id})
        if removed:
            await record(connection, by, Action.PORTAL_LINK_REVOKED, endpoint.name)
    return bool(removed)


def _new_token() -> str:
    return f"{_PREFIX}{secrets.token_urlsafe(_TOKEN_BYTES)}"


def _check(lifetime: timedelta | None, most: timedelta) -> None:
    if lifetime is not None and not timedelta(0) < lifetime <= most:
        raise WrongUsage(f"--expires has to be at most {most.days} days, and not 0")


async def _rows(
    connection: AsyncConnection[TupleRow], statement: LiteralString, parameters: Mapping[str, Any] | None = None
) -> list[TupleRow]:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()
