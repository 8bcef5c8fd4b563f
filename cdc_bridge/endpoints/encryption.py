"""Encrypts the secrets of all endpoints with the newest key, or decrypts them.

Each endpoint is a transaction of its own, under the lock of its row, with its entry of the audit log: whatever
interrupts this, each endpoint is as it was or as it is to be, and the next run does the rest. Running daemons see each
change as that of an option, find the same secrets, and go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.endpoints.option_columns import with_columns
from cdc_bridge.endpoints.options import UnusableOption
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher, key_id_of
from cdc_bridge.endpoints.stored_secrets import WITH_SECRETS, decrypted, encrypted, locked_secrets, secrets_in
from cdc_bridge.errors import SettingsError
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]


@dataclass(slots=True)
class Conversion:
    """What became of the secrets."""

    key_id: str | None
    """The key that they are encrypted with; ``None``: they are plain text."""
    secrets: int = 0
    """How many were converted."""
    endpoints: int = 0
    """Of how many endpoints."""
    left: dict[str, str] = field(default_factory=dict)
    """Endpoints of which one cannot be decrypted, by name, and why."""


async def convert_secrets(database_url: str, cipher: SecretsCipher, *, decrypt: bool, by: Actor) -> Conversion:
    """Encrypt every secret that is not encrypted with the newest key, or decrypt all that are encrypted.

    Args:
        database_url: The database.
        cipher: Has the keys.
        decrypt: Whether they become plain text.
        by: Who converts them.

    Raises:
        SettingsError: There is no key.
        BridgeError: The database cannot be used. What was converted by then stays so.
    """
    if cipher.newest is None:
        raise SettingsError(
            "the setting secrets_key_file is not set",
            "Set CDC_BRIDGE_SECRETS_KEY_FILE to the file that the daemon has.",
        )
    writing = NO_KEYS if decrypt else cipher
    done = Conversion(writing.newest)
    async with command_session(database_url) as connection:
        cursor = await connection.execute(_queries["endpoints_to_encrypt"], {"key_id": writing.newest})
        for endpoint_id, name in await cursor.fetchall():
            try:
                number = await _convert(connection, EndpointId(endpoint_id), cipher, writing, by)
            except UnusableOption as error:
                done.left[name] = str(error)
            else:
                done.secrets += number
                done.endpoints += number > 0
    return done


async def _convert(
    connection: Connection, endpoint_id: EndpointId, cipher: SecretsCipher, writing: SecretsCipher, by: Actor
) -> int:
    """Convert the secrets of one endpoint; return how many."""
    async with connection.transaction():
        row = await locked_secrets(connection, endpoint_id)
        number = 0 if row is None else sum(key_id_of(secret) != writing.newest for secret in secrets_in(row))
        if row is None or not number:
            return 0
        name, plain = row["name"], decrypted(cipher, row)
        written = encrypted(writing, name, {option.name: plain[option.name] for option in WITH_SECRETS}, url=row["url"])
        statement = with_columns(_queries["set_secrets"], written)
        await connection.execute(statement, {**written, "endpoint_id": endpoint_id})
        action = Action.SECRETS_DECRYPTED if writing.newest is None else Action.SECRETS_ENCRYPTED
        await record(connection, by, action, name, secrets=number, key=writing.newest)
    return number
