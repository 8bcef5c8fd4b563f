"""Adds, changes, pauses, resumes and removes endpoints, and rotates their secrets.

A running daemon is notified by the table's trigger and applies the change within a second. The endpoint that a daemon's
settings declare is changed there only: what stood in the table would be overwritten at the daemon's next start.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.details import EndpointFigures, figures_of, record_of
from cdc_bridge.endpoints.lookup import EndpointRef, just_removed, resolve_endpoint
from cdc_bridge.endpoints.option_columns import with_columns
from cdc_bridge.endpoints.option_input import (
    Given,
    checked_name,
    checked_options,
    checked_secret,
    require_secrets_for_new_host,
    with_defaults,
)
from cdc_bridge.endpoints.option_values import SECRET_PREFIX
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.status import when
from cdc_bridge.endpoints.subscription_input import check_subscription, consequences
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import without_secrets
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session

_queries = load_queries(__name__)

_SECRET_BYTES = 32
MAX_KEEP_HOURS = 24.0 * 365

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class AddedEndpoint:
    """A new endpoint."""

    shown_url: str
    secret: str | None
    """Made here, to be shown once; ``None``: requests are not signed, or with a secret that was given."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangedEndpoint:
    """An endpoint whose options changed."""

    secret: str | None
    """A new signing secret made here, to be shown once; ``None``: none was made."""
    warnings: tuple[str, ...]
    consequences: tuple[str, ...]
    """What the change means for what is queued and what was delivered."""


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """A new secret."""

    secret: str | None
    """Made here, to be shown once; ``None``: it was given."""
    old_until: datetime | None
    """Until when requests are signed with the one before as well; ``None``: they are not."""


def new_secret() -> str:
    """Return a signing secret."""
    return SECRET_PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


async def add_endpoint(
    database_url: str,
    name: str,
    given: Given,
    *,
    allow_http: bool,
    from_oldest: bool,
    signed: bool,
    secret: str | None = None,
) -> AddedEndpoint:
    """Add an endpoint.

    Args:
        database_url: The database.
        name: Its name.
        given: Its options, the URL among them.
        allow_http: Whether ``http://`` to this machine is allowed.
        from_oldest: Whether it begins with the oldest change in the log, else with what is committed from now on.
        signed: Whether requests are signed.
        secret: Secret that the vendor made, to sign them with; ``None``: one is generated.

    Raises:
        WrongUsage: Name, options or secret cannot be used.
        BridgeError: The name is taken, or the database cannot be used.
    """
    checked_name(name)
    checked = checked_options(with_defaults(given), allow_http=allow_http)
    made = new_secret() if signed and secret is None else None
    options = {**checked.stored, "secret": made if secret is None else checked_secret(secret)}
    async with command_session(database_url) as connection:
        warnings = await check_subscription(connection, checked.stored)
        statement = with_columns(_queries["add_endpoint"], options)
        if await _first(connection, statement, name=name, from_oldest=from_oldest, **options) is None:
            raise BridgeError(
                f"there is an endpoint {name} already",
                f"Look at it: cdc-bridge endpoint show {name}; change it: cdc-bridge endpoint set {name} ...",
            )
    return AddedEndpoint(without_secrets(checked.stored["url"]), made, (*checked.warnings, *warnings))


async def set_endpoint(
    database_url: str,
    name: str,
    given: Given,
    *,
    allow_http: bool,
    keep_headers: bool = False,
    with_new_secret: bool = False,
    secret: str | None = None,
) -> ChangedEndpoint:
    """Change those options of an endpoint that are given.

    Args:
        database_url: The database.
        name: Its name.
        given: Its options that change.
        allow_http: Whether ``http://`` to this machine is allowed.
        keep_headers: Whether another server gets the same headers, signed with the same secret.
        with_new_secret: Whether a new signing secret is generated for it, without an overlap.
        secret: Secret that the vendor made, to use instead.

    Raises:
        WrongUsage: An option or the secret cannot be used, none is given, or the URL leads to another server and the
            secrets for it were not given.
        BridgeError: There is no such endpoint, it is that of the settings, or the database cannot be used.
    """
    for is_given, flag, rotation in (
        (with_new_secret, "--new-secret", "rotate-secret"),
        (secret is not None, "--secret-file", "rotate-secret --secret-file FILE"),
    ):
        if is_given and "url" not in given:
            raise WrongUsage(f"{flag} needs --url", f"For a new secret alone: cdc-bridge endpoint {rotation} {name}")
    if not given:
        raise WrongUsage("nothing to change was given", "See what can be: cdc-bridge endpoint set --help")
    async with command_session(database_url) as connection:
        endpoint = await resolve_endpoint(connection, name)
        _require_not_of_settings(endpoint, given)
        before = (await record_of(connection, endpoint)).options
        checked = checked_options(given, allow_http=allow_http, before=before)
        if not keep_headers:
            new = with_new_secret or secret is not None
            require_secrets_for_new_host(checked.stored, before, new_secret=new)
        warnings = await check_subscription(connection, checked.stored, before)
        made = new_secret() if with_new_secret else None
        stored = dict(checked.stored)
        if (used := made if secret is None else checked_secret(secret)) is not None:
            stored |= {"secret": used, "previous_secret": None, "previous_secret_until": None}
        statement = with_columns(_queries["set_endpoint"], stored)
        if await _first(connection, statement, endpoint_id=endpoint.endpoint_id, **stored) is None:
            raise just_removed(endpoint)
    return ChangedEndpoint(made, (*checked.warnings, *warnings), tuple(consequences(name, before, checked.stored)))


async def pause_endpoint(database_url: str, name: str) -> bool:
    """Stop deliveries to an endpoint until it is resumed; return whether that changed anything.

    Raises:
        BridgeError: There is no such endpoint, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        endpoint = await resolve_endpoint(connection, name)
        return await _first(connection, _queries["pause_endpoint"], endpoint_id=endpoint.endpoint_id) is not None


async def resume_endpoint(database_url: str, name: str) -> bool:
    """Deliver again to an endpoint that was paused or disabled; return whether it was.

    If it was not, its daemon ends a pause that the breaker or the endpoint's ``Retry-After`` made.

    Raises:
        BridgeError: There is no such endpoint, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        endpoint = await resolve_endpoint(connection, name)
        row = await _first(connection, _queries["resume_endpoint"], endpoint_id=endpoint.endpoint_id)
    if row is None:
        raise just_removed(endpoint)
    return bool(row[0])


async def undelivered_of(database_url: str, name: str) -> EndpointFigures:
    """Return what is still to be delivered to an endpoint, which is lost once it is removed.

    Raises:
        BridgeError: There is no such endpoint, it is declared by a live daemon, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        endpoint = await resolve_endpoint(connection, name)
        _require_not_declared(endpoint)
        record = await record_of(connection, endpoint)
        return await figures_of(connection, endpoint.endpoint_id, record.position)


async def remove_endpoint(database_url: str, name: str) -> None:
    """Remove an endpoint; its deliveries stay in the delivery log until they are pruned.

    Raises:
        BridgeError: There is no such endpoint, it is declared by a live daemon, or the database cannot be used.
    """
    async with command_session(database_url) as connection:
        endpoint = await resolve_endpoint(connection, name)
        _require_not_declared(endpoint)
        if await _first(connection, _queries["remove_endpoint"], endpoint_id=endpoint.endpoint_id) is None:
            _require_not_declared(await resolve_endpoint(connection, name))  # A daemon may have leased it meanwhile.
            raise just_removed(endpoint)


async def rotate_secret(
    database_url: str, name: str, *, keep_old_hours: float, cut_short: bool, secret: str | None = None
) -> RotatedSecret:
    """Give an endpoint a new signing secret; for a while requests are signed with the one before as well.

    Args:
        database_url: The database.
        name: The endpoint's name.
        keep_old_hours: How long that is.
        cut_short: Whether to drop the older secret of a rotation in progress now.
        secret: Secret that the vendor made; ``None``: one is generated.

    Raises:
        WrongUsage: The hours make no sense, or the secret cannot be used or is the present one.
        BridgeError: There is no such endpoint, it is that of the settings, a rotation is in progress, or the database
            cannot be used.
    """
    if not 0 <= keep_old_hours <= MAX_KEEP_HOURS:
        raise WrongUsage(f"--keep-old-hours has to be from 0 to {MAX_KEEP_HOURS:g}")
    made = new_secret() if secret is None else None
    used = made if secret is None else checked_secret(secret)
    async with command_session(database_url) as connection:
        endpoint = await resolve_endpoint(connection, name)
        _require_not_of_settings(endpoint, ["secret", "previous_secret"])
        if (
            await _first(connection, _queries["is_signed_with"], endpoint_id=endpoint.endpoint_id, secret=used)
            is not None
        ):
            raise WrongUsage("requests are signed with this secret already", "Nothing was changed.")
        rotated = await _first(
            connection,
            _queries["rotate_secret"],
            endpoint_id=endpoint.endpoint_id,
            secret=used,
            keep_old_hours=keep_old_hours,
            cut_short=cut_short,
        )
        if rotated is None:
            until = (await record_of(connection, endpoint)).options["rotating_until"]
            raise BridgeError(
                f"a rotation is in progress: until {when(until)} requests are signed with the secret before as well",
                f"Wait until then; or drop that one now: cdc-bridge endpoint rotate-secret {name} --now",
            )
    return RotatedSecret(made, rotated[0])


async def _first(connection: Connection, statement: sql.Composed | str, **parameters: Any) -> TupleRow | None:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchone()


def _require_not_of_settings(endpoint: EndpointRef, changed: Iterable[str]) -> None:
    if endpoint.in_settings:
        variables = ", ".join(OPTIONS[name].variable for name in changed)
        raise BridgeError(
            f"endpoint {endpoint.name} is declared in a daemon's settings, and is changed there only",
            f"Set {variables} where that daemon runs, and restart it.",
        )


def _require_not_declared(endpoint: EndpointRef) -> None:
    if endpoint.in_settings and endpoint.daemon is not None:
        raise BridgeError(
            f"endpoint {endpoint.name} is declared in the settings of the live daemon {endpoint.daemon}",
            f"Remove {OPTIONS['url'].variable} and all other CDC_BRIDGE_ENDPOINT_... from its settings, restart it, "
            f"and remove the endpoint then. To stop deliveries for a while: cdc-bridge endpoint pause {endpoint.name}",
        )
