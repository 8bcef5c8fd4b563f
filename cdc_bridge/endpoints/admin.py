"""Adds, changes, pauses, resumes and removes endpoints, and changes their secrets.

A daemon that runs hears of it by the table's trigger and takes it up within a second. The endpoint that a daemon's
settings declare is changed there only: what stood in the table would be overwritten at the daemon's next start.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.details import (
    EndpointFigures,
    figures_of,
    find_endpoint,
    options_of,
    removed_meanwhile,
)
from cdc_bridge.endpoints.options import (
    EndpointOptions,
    checked_name,
    checked_options,
    with_defaults,
)
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.status import when
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import without_query
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session
from cdc_bridge.settings import PREFIX

_queries = load_queries(__name__)

_SECRET_BYTES = 32
LONGEST_KEEP_HOURS = 24.0 * 365

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class AddedEndpoint:
    """An endpoint that was made."""

    shown_url: str
    secret: str | None
    """To be shown once; ``None``: its calls are not signed."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """A secret that was made."""

    secret: str
    """To be shown once."""
    old_until: datetime | None
    """Until when calls are signed with the one before as well; ``None``: they are not."""


def new_secret() -> str:
    """Return a signing secret."""
    return "whsec_" + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


async def add_endpoint(
    database_url: str, name: str, options: EndpointOptions, *, allow_http: bool, from_oldest: bool, signed: bool
) -> AddedEndpoint:
    """Make an endpoint.

    Args:
        database_url: where.
        name: its name.
        options: how it is called; its URL is among them.
        allow_http: admit ``http://`` to this machine.
        from_oldest: it begins with the oldest change kept, else with what is committed from now on.
        signed: whether to make a secret.

    Raises:
        WrongUsage: name or options cannot be used.
        BridgeError: the name is taken, or the database cannot be used.
    """
    checked_name(name)
    checked = checked_options(with_defaults(options), allow_http=allow_http)
    secret = new_secret() if signed else None
    parameters = {"name": name, "secret": secret, "from_oldest": from_oldest, **checked.columns}
    async with command_session(database_url) as connection:
        if await _first(connection, "add_endpoint", parameters) is None:
            raise BridgeError(
                f"there is an endpoint {name} already",
                f"Look at it: cdc-bridge endpoint show {name}; change it: cdc-bridge endpoint set {name} ...",
            )
    return AddedEndpoint(without_query(checked.columns["url"]), secret, checked.warnings)


async def set_endpoint(database_url: str, name: str, options: EndpointOptions, *, allow_http: bool) -> tuple[str, ...]:
    """Change those options of an endpoint that are given; return warnings.

    Raises:
        WrongUsage: an option cannot be used, or none is given.
        BridgeError: there is no such endpoint, it is that of the settings, or the database cannot be used.
    """
    if not options.given():
        raise WrongUsage("nothing to change was given", "See what can be: cdc-bridge endpoint set --help")
    async with command_session(database_url) as connection:
        facts = await find_endpoint(connection, name)
        _refuse_that_of_settings(facts, options.given())
        before = asdict(await options_of(connection, facts))
        checked = checked_options(options, allow_http=allow_http, before=before)
        if await _first(connection, "set_endpoint", {**checked.columns, "endpoint_id": facts.endpoint_id}) is None:
            raise removed_meanwhile(name)
    return checked.warnings


async def pause_endpoint(database_url: str, name: str) -> bool:
    """Call an endpoint no more until it is resumed; say whether that changes anything.

    Raises:
        BridgeError: there is no such endpoint, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        facts = await find_endpoint(connection, name)
        return await _first(connection, "pause_endpoint", {"endpoint_id": facts.endpoint_id}) is not None


async def resume_endpoint(database_url: str, name: str) -> bool:
    """Call an endpoint again that was paused or had disabled itself; say whether that changes anything.

    Raises:
        BridgeError: there is no such endpoint, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        facts = await find_endpoint(connection, name)
        return await _first(connection, "resume_endpoint", {"endpoint_id": facts.endpoint_id}) is not None


async def what_removing_loses(database_url: str, name: str) -> EndpointFigures:
    """Return what there is still to do for an endpoint, which nobody does once it is removed.

    Raises:
        BridgeError: there is no such endpoint, a daemon holds it that declares it, or the database cannot be asked.
    """
    async with command_session(database_url) as connection:
        facts = await find_endpoint(connection, name)
        _refuse_if_declared(facts)
        options = await options_of(connection, facts)
        return await figures_of(connection, facts.endpoint_id, options.position)


async def remove_endpoint(database_url: str, name: str) -> None:
    """Remove an endpoint; what the ledger has of it stays there for its time.

    Raises:
        BridgeError: there is no such endpoint, a daemon holds it that declares it, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        facts = await find_endpoint(connection, name)
        _refuse_if_declared(facts)
        if await _first(connection, "remove_endpoint", {"endpoint_id": facts.endpoint_id}) is None:
            _refuse_if_declared(await find_endpoint(connection, name))
            raise removed_meanwhile(name)


async def rotate_secret(database_url: str, name: str, *, keep_old_hours: float, cut_short: bool) -> RotatedSecret:
    """Give an endpoint a new signing secret; for a while calls are signed with the one before as well.

    Args:
        database_url: where.
        name: its name.
        keep_old_hours: for how long.
        cut_short: if a rotation is under way, drop its older secret now.

    Raises:
        WrongUsage: the hours make no sense.
        BridgeError: there is no such endpoint, it is that of the settings, a rotation is under way, or the database
            cannot be used.
    """
    if not 0 <= keep_old_hours <= LONGEST_KEEP_HOURS:
        raise WrongUsage(f"--keep-old-hours has to be from 0 to {LONGEST_KEEP_HOURS:g}")
    async with command_session(database_url) as connection:
        facts = await find_endpoint(connection, name)
        _refuse_that_of_settings(facts, ["secret"])
        secret = new_secret()
        parameters = {
            "endpoint_id": facts.endpoint_id,
            "secret": secret,
            "keep_old_hours": keep_old_hours,
            "cut_short": cut_short,
        }
        rotated = await _first(connection, "rotate_secret", parameters)
        if rotated is None:
            until = (await options_of(connection, facts)).rotating_until
            raise BridgeError(
                f"a rotation is under way: until {when(until)} calls are signed with the secret before as well",
                f"Wait until then; or drop that one now: cdc-bridge endpoint rotate-secret {name} --now",
            )
    return RotatedSecret(secret, rotated[0])


async def _first(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> TupleRow | None:
    cursor = await connection.execute(_queries[statement], parameters)
    return await cursor.fetchone()


def _refuse_that_of_settings(facts: EndpointOverview, changed: Sequence[str]) -> None:
    if facts.in_settings:
        names = [f"{PREFIX}ENDPOINT_{name.upper().replace('HEADERS', 'HEADER')}" for name in changed]
        raise BridgeError(
            f"endpoint {facts.name} is declared in a daemon's settings, and is changed there only",
            f"Set {', '.join(names)} where that daemon runs, and start it again.",
        )


def _refuse_if_declared(facts: EndpointOverview) -> None:
    if facts.in_settings and facts.daemon is not None:
        raise BridgeError(
            f"endpoint {facts.name} is declared in the settings of the daemon {facts.daemon}, which calls it",
            f"Take {PREFIX}ENDPOINT_URL and all other {PREFIX}ENDPOINT_... out of its settings, start it again, and "
            f"remove the endpoint then. To stop the calls for a while: cdc-bridge endpoint pause {facts.name}",
        )
