"""Makes signing secrets, and rotates that of an endpoint."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.endpoints.details import record_of
from cdc_bridge.endpoints.lookup import just_removed, require_not_of_settings, resolve_endpoint
from cdc_bridge.endpoints.option_input import checked_secret
from cdc_bridge.endpoints.option_values import SECRET_PREFIX
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.status import when
from cdc_bridge.endpoints.stored_secrets import decrypted, encrypted, locked_secrets, require_key
from cdc_bridge.errors import Conflict, Fault, Faults, FaultyInput, WrongUsage
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import DatabaseRef, command_session

_queries = load_queries(__name__)

_SECRET_BYTES = 32
MAX_KEEP_HOURS = 24.0 * 365


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


async def rotate_secret(
    database: DatabaseRef,
    name: str,
    *,
    cipher: SecretsCipher,
    keep_old_hours: float,
    cut_short: bool,
    secret: str | None = None,
    found: Sequence[Fault] = (),
    by: Actor,
) -> RotatedSecret:
    """Give an endpoint a new signing secret; for a while requests are signed with the one before as well.

    Args:
        database: The database.
        name: The endpoint's name.
        cipher: Encrypts it.
        keep_old_hours: How long that is.
        cut_short: Whether to drop the older secret of a rotation in progress now.
        secret: Secret that the vendor made; ``None``: one is generated.
        found: What the caller has found wrong with the input, to be named with the rest.
        by: Who rotates it.

    Raises:
        FaultyInput: The hours make no sense, or the secret cannot be used.
        WrongUsage: The secret is the present one.
        NotFound: There is no such endpoint.
        Conflict: It is that of the settings, a rotation is in progress, or there is no key and secrets are encrypted.
        BridgeError: The database cannot be used.
    """
    faults = Faults(found)
    with faults.noted():
        if not 0 <= keep_old_hours <= MAX_KEEP_HOURS:
            words = f"has to be from 0 to {MAX_KEEP_HOURS:g}"
            raise FaultyInput(Fault("keep_old_hours", "--keep-old-hours", words))
    used = made = new_secret() if secret is None else None
    if secret is not None:
        with faults.noted():
            used = checked_secret(secret)
    faults.raise_any()
    async with command_session(database) as connection:
        endpoint = await resolve_endpoint(connection, name)
        require_not_of_settings(endpoint, ["secret", "previous_secret"])
        async with connection.transaction():
            if (row := await locked_secrets(connection, endpoint.endpoint_id)) is None:
                raise just_removed(endpoint)
            if decrypted(cipher, row, keep_others=True)["secret"] == used:
                raise WrongUsage("requests are signed with this secret already", "Nothing was changed.")
            await require_key(connection, cipher, for_secrets=True)
            written = encrypted(cipher, name, {"secret": used}, url=row["url"])
            of_endpoint = {"endpoint_id": endpoint.endpoint_id, "keep_old_hours": keep_old_hours}
            cursor = await connection.execute(
                _queries["rotate_secret"], {**of_endpoint, "cut_short": cut_short, **written}
            )
            rotated = await cursor.fetchone()
            if rotated is None:
                until = when((await record_of(connection, endpoint)).options["rotating_until"])
                raise Conflict(
                    f"a rotation is in progress: until {until} requests are signed with the secret before as well",
                    f"Wait until then; or drop that one now: cdc-bridge endpoint rotate-secret {name} --now",
                )
            await record(connection, by, Action.SECRET_ROTATED, name, old_until=rotated[0])
    return RotatedSecret(made, rotated[0])
