"""Adds, changes, pauses, resumes and removes endpoints.

Each works in the database of a URL, or over a connection that is open, in its transaction if there is one.

Who changed what is noted in the audit log, in the same transaction.

A running daemon is notified by the table's trigger and applies the change within a second. The endpoint that a daemon's
settings declare is changed there only: what stood in the table would be overwritten at the daemon's next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.endpoints.details import EndpointFigures, figures_of, record_of
from cdc_bridge.endpoints.lookup import EndpointRef, just_removed, require_not_of_settings, resolve_endpoint
from cdc_bridge.endpoints.option_columns import with_columns
from cdc_bridge.endpoints.option_input import (
    CheckedOptions,
    Given,
    checked_name,
    checked_options,
    checked_secret,
    require_secrets_for_new_host,
    with_defaults,
)
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.signing_secret import new_secret
from cdc_bridge.endpoints.stored_secrets import encrypted, encrypted_change, require_key, secrets_in
from cdc_bridge.endpoints.subscription_input import check_subscription, consequences
from cdc_bridge.errors import Conflict, Fault, Faults, WrongUsage, shortened
from cdc_bridge.model import without_secrets
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import DatabaseRef, command_session

_queries = load_queries(__name__)

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
    revision: str
    """Of its options as they are now."""


class RevisionDiffers(Conflict):
    """Somebody has changed an endpoint's options since they were read."""

    def __init__(self, name: str) -> None:
        super().__init__(f"somebody has changed endpoint {name} since you read it", "Read it again.")


async def add_endpoint(
    database: DatabaseRef,
    name: str,
    given: Given,
    *,
    allow_http: bool,
    cipher: SecretsCipher,
    from_oldest: bool,
    signed: bool,
    secret: str | None = None,
    found: Sequence[Fault] = (),
    by: Actor,
) -> AddedEndpoint:
    """Add an endpoint.

    Args:
        database: The database.
        name: Its name.
        given: Its options, the URL among them.
        allow_http: Whether ``http://`` to this machine is allowed.
        cipher: Encrypts its secrets.
        from_oldest: Whether it begins with the oldest change in the log, else with what is committed from now on.
        signed: Whether requests are signed.
        secret: Secret that the vendor made, to sign them with; ``None``: one is generated.
        found: What the caller has found wrong with the input, to be named with the rest.
        by: Who adds it.

    Raises:
        FaultyInput: Name, options or secret cannot be used, or do not go with the mapping; names each that is wrong.
        Conflict: The name is taken, or there is no key and secrets are encrypted.
        BridgeError: The database cannot be used.
    """
    faults = Faults(found)
    with faults.noted():
        checked_name(name)
    checked = CheckedOptions()
    with faults.noted():
        checked = checked_options(with_defaults(given), allow_http=allow_http)
    used = made = new_secret() if signed and secret is None else None
    if secret is not None:
        with faults.noted():
            used = checked_secret(secret)
    faults.raise_any()
    plain = {**checked.stored, "secret": used}
    options = encrypted(cipher, name, plain, url=checked.stored["url"])
    async with command_session(database) as connection:
        warnings = await check_subscription(connection, checked.stored)
        statement = with_columns(_queries["add_endpoint"], options)
        await require_key(connection, cipher, for_secrets=bool(secrets_in(plain)))
        async with connection.transaction():
            if await _first(connection, statement, name=name, from_oldest=from_oldest, **options) is None:
                raise Conflict(
                    f"there is an endpoint {name} already",
                    f"Look at it: cdc-bridge endpoint show {name}; change it: cdc-bridge endpoint set {name} ...",
                )
            shown_url = without_secrets(checked.stored["url"])
            await record(connection, by, Action.ENDPOINT_ADDED, name, url=shortened(shown_url))
    return AddedEndpoint(shown_url, made, (*checked.warnings, *warnings))


async def set_endpoint(
    database: DatabaseRef,
    name: str,
    given: Given,
    *,
    allow_http: bool,
    cipher: SecretsCipher,
    keep_headers: bool = False,
    with_new_secret: bool = False,
    secret: str | None = None,
    revision: str | None = None,
    found: Sequence[Fault] = (),
    by: Actor,
) -> ChangedEndpoint:
    """Change those options of an endpoint that are given.

    Args:
        database: The database.
        name: Its name.
        given: Its options that change.
        allow_http: Whether ``http://`` to this machine is allowed.
        cipher: Encrypts its secrets.
        keep_headers: Whether another server gets the same headers, signed with the same secret.
        with_new_secret: Whether a new signing secret is generated for it, without an overlap.
        secret: Secret that the vendor made, to use instead.
        revision: Only change them if they are those of this revision; ``None``: whatever they are.
        found: What the caller has found wrong with the input, to be named with the rest.
        by: Who changes them.

    Raises:
        FaultyInput: Options or the secret cannot be used, or do not go with the mapping; names each that is wrong.
        WrongUsage: None is given, or the URL leads to another server and the secrets for it were not given.
        NotFound: There is no such endpoint.
        Conflict: It is that of the settings, or there is no key and secrets are encrypted.
        RevisionDiffers: Somebody has changed it since that revision.
        BridgeError: The database cannot be used.
    """
    for is_given, flag, rotation in (
        (with_new_secret, "--new-secret", "rotate-secret"),
        (secret is not None, "--secret-file", "rotate-secret --secret-file FILE"),
    ):
        if is_given and "url" not in given:
            raise WrongUsage(f"{flag} needs --url", f"For a new secret alone: cdc-bridge endpoint {rotation} {name}")
    if not given and not found:
        raise WrongUsage("nothing to change was given", "See what can be: cdc-bridge endpoint set --help")
    async with command_session(database) as connection:
        endpoint = await resolve_endpoint(connection, name)
        require_not_of_settings(endpoint, given)
        current = await record_of(connection, endpoint)
        before = current.options
        if revision not in {None, current.revision}:
            raise RevisionDiffers(endpoint.name)
        faults, checked = Faults(found), CheckedOptions()
        with faults.noted():
            checked = checked_options(given, allow_http=allow_http, before=before)
        used = made = new_secret() if with_new_secret else None
        if secret is not None:
            with faults.noted():
                used = checked_secret(secret)
        faults.raise_any()
        if not keep_headers:
            require_secrets_for_new_host(checked.stored, before, new_secret=used is not None)
        warnings = await check_subscription(connection, checked.stored, before)
        stored = dict(checked.stored)
        if used is not None:
            stored |= {"secret": used, "previous_secret": None, "previous_secret_until": None}
        of_endpoint = {"endpoint_id": endpoint.endpoint_id, "revision": revision}
        async with connection.transaction():
            written = await encrypted_change(connection, cipher, endpoint.endpoint_id, stored)
            statement = with_columns(_queries["set_endpoint"], written)
            changed = await _first(connection, statement, **of_endpoint, **written)
            if changed is None:
                await record_of(connection, endpoint)  # Says so if somebody removed it.
                raise RevisionDiffers(endpoint.name)
            await record(connection, by, Action.ENDPOINT_CHANGED, name, options=sorted(stored))
    told = tuple(consequences(name, before, checked.stored))
    return ChangedEndpoint(made, (*checked.warnings, *warnings), told, revision=changed[0])


async def pause_endpoint(database: DatabaseRef, name: str, *, by: Actor) -> bool:
    """Stop deliveries to an endpoint until it is resumed; return whether that changed anything.

    Raises:
        NotFound: There is no such endpoint.
        BridgeError: The database cannot be used.
    """
    async with command_session(database) as connection, connection.transaction():
        endpoint = await resolve_endpoint(connection, name)
        paused = await _first(connection, _queries["pause_endpoint"], endpoint_id=endpoint.endpoint_id) is not None
        if paused:
            await record(connection, by, Action.ENDPOINT_PAUSED, name)
    return paused


async def resume_endpoint(database: DatabaseRef, name: str, *, by: Actor) -> bool:
    """Deliver again to an endpoint that was paused or disabled; return whether it was.

    If it was not, its daemon ends a pause that the breaker or the endpoint's ``Retry-After`` made.

    Raises:
        NotFound: There is no such endpoint.
        BridgeError: The database cannot be used.
    """
    async with command_session(database) as connection, connection.transaction():
        endpoint = await resolve_endpoint(connection, name)
        row = await _first(connection, _queries["resume_endpoint"], endpoint_id=endpoint.endpoint_id)
        if row is None:
            raise just_removed(endpoint)
        resumed = bool(row[0])
        await record(connection, by, Action.ENDPOINT_RESUMED if resumed else Action.PROBE_REQUESTED, name)
    return resumed


async def undelivered_of(database: DatabaseRef, name: str) -> EndpointFigures:
    """Return what is still to be delivered to an endpoint, which is lost once it is removed.

    Raises:
        NotFound: There is no such endpoint.
        Conflict: It is declared by a live daemon.
        BridgeError: The database cannot be used.
    """
    async with command_session(database) as connection:
        endpoint = await resolve_endpoint(connection, name)
        _require_not_declared(endpoint)
        position = (await record_of(connection, endpoint)).position
        return await figures_of(connection, endpoint.endpoint_id, position)


async def remove_endpoint(database: DatabaseRef, name: str, *, by: Actor) -> None:
    """Remove an endpoint; its deliveries stay in the delivery log until they are pruned.

    Raises:
        NotFound: There is no such endpoint.
        Conflict: It is declared by a live daemon.
        BridgeError: The database cannot be used.
    """
    async with command_session(database) as connection, connection.transaction():
        endpoint = await resolve_endpoint(connection, name)
        _require_not_declared(endpoint)
        if await _first(connection, _queries["remove_endpoint"], endpoint_id=endpoint.endpoint_id) is None:
            _require_not_declared(await resolve_endpoint(connection, name))  # A daemon may have leased it meanwhile.
            raise just_removed(endpoint)
        await record(connection, by, Action.ENDPOINT_REMOVED, name)


async def _first(connection: Connection, statement: sql.Composed | str, **parameters: Any) -> TupleRow | None:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchone()


def _require_not_declared(endpoint: EndpointRef) -> None:
    if endpoint.in_settings and endpoint.daemon is not None:
        raise Conflict(
            f"endpoint {endpoint.name} is declared in the settings of the live daemon {endpoint.daemon}",
            f"Remove {OPTIONS['url'].variable} and all other CDC_BRIDGE_ENDPOINT_... from its settings, restart it, "
            f"and remove the endpoint then. To stop deliveries for a while: cdc-bridge endpoint pause {endpoint.name}",
        )
