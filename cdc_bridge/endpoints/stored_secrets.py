"""Secrets of endpoints between the table and whoever uses them: whatever reads or writes one goes through here.

What is secret in an option's stored value says its declaration (``secret_part``): a signing secret, the value of a
header, the query of a URL, user and password of a proxy. The rest stays readable: to show it takes no key.

An encrypted secret belongs to its endpoint by name, to its option, and to what stands around it: the header's name, the
rest of the URL, the proxy's address. A header belongs to its endpoint's server as well. So whoever can write to the
table and has no key cannot have a header or a password sent to another server by what is written there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.endpoints.option import Option
from cdc_bridge.endpoints.option_columns import with_columns
from cdc_bridge.endpoints.option_input import is_same_server
from cdc_bridge.endpoints.option_values import origin
from cdc_bridge.endpoints.options import OPTIONS, UnusableOption
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher, Undecryptable
from cdc_bridge.errors import Conflict
from cdc_bridge.model import EndpointId
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

WITH_SECRETS = [option for option in OPTIONS.values() if option.secret_part is not None]
"""Options whose stored value is secret, or a part of it."""

_OF_ITS_SERVER = "headers"
_PURPOSES = {"previous_secret": "secret"}
"""What another column of the same purpose is encrypted for: a rotation moves the secret there as it is."""

Connection = AsyncConnection[TupleRow]
Stored = Mapping[str, Any]
"""Options in stored form, by name; or a row that has them among its columns."""


def encrypted(cipher: SecretsCipher, name: str, stored: Stored, *, url: str) -> dict[str, Any]:
    """Return options with their secrets encrypted.

    Args:
        cipher: Encrypts them.
        name: The endpoint's name.
        stored: The options, or some of them.
        url: The endpoint's URL.
    """
    return _converted(stored, lambda _, secret, *around: cipher.encrypt(secret, name, *around), url)


def decrypted(cipher: SecretsCipher, row: Stored, *, keep_others: bool = False) -> dict[str, Any]:
    """Return an endpoint's row with its secrets decrypted.

    Args:
        cipher: Decrypts them.
        row: The row: ``name`` and ``url`` are in it.
        keep_others: Whether a secret that cannot be decrypted stays as it is.

    Raises:
        UnusableOption: One cannot be decrypted; repeats nothing of it.
    """

    def convert(option: Option, secret: str, *around: str) -> str:
        try:
            return cipher.decrypt(secret, row["name"], *around)
        except Undecryptable as error:
            if keep_others:
                return secret
            raise UnusableOption(option, str(error)) from None

    return _converted(row, convert, row["url"])


def secrets_in(stored: Stored) -> list[str]:
    """Return the secrets in options, encrypted or not."""
    found: list[str] = []

    def note(_: Option, secret: str, *__: str) -> str:
        found.append(secret)
        return secret

    _converted(stored, note, "")
    return found


async def require_key(connection: Connection, cipher: SecretsCipher, *, for_secrets: bool) -> None:
    """Make sure that no secret is written in plain text where others are encrypted.

    Args:
        connection: To the database.
        cipher: Encrypts what is written.
        for_secrets: Whether there are secrets in that.

    Raises:
        Conflict: It would be.
    """
    if cipher.newest is not None or not for_secrets:
        return
    cursor = await connection.execute(_queries["has_encrypted_secrets"])
    if await cursor.fetchone() == (True,):
        raise Conflict(
            "the secrets in this database are encrypted, and the setting secrets_key_file is not set here",
            "Set CDC_BRIDGE_SECRETS_KEY_FILE to the file that the daemon has.",
        )


async def locked_secrets(connection: Connection, endpoint_id: EndpointId) -> dict[str, Any] | None:
    """Return name, URL and secrets of an endpoint as they are stored, and lock its row; ``None``: it was removed."""
    columns = [option.name for option in WITH_SECRETS]
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(with_columns(_queries["endpoint_secrets"], columns), {"endpoint_id": endpoint_id})
        return await cursor.fetchone()


async def encrypted_change(
    connection: Connection, cipher: SecretsCipher, endpoint_id: EndpointId, stored: Stored
) -> dict[str, Any]:
    """Return options that change as they are written: encrypted, and with the headers if these go to another server.

    Args:
        connection: In the transaction that writes them.
        cipher: Encrypts them.
        endpoint_id: The endpoint's, whose row is locked.
        stored: The options that change.

    Raises:
        Conflict: There is no key, and others are encrypted; or the headers are to go to another server, and cannot be
            decrypted.
    """
    await require_key(connection, cipher, for_secrets=bool(secrets_in(stored)))
    row = await locked_secrets(connection, endpoint_id)
    if row is None:
        return dict(stored)
    url = stored.get("url", row["url"])
    if _OF_ITS_SERVER not in stored and not is_same_server(url, row["url"]):
        bound = {"name": row["name"], "url": row["url"].partition("?")[0], _OF_ITS_SERVER: row[_OF_ITS_SERVER]}
        try:
            stored = {**stored, _OF_ITS_SERVER: decrypted(cipher, bound)[_OF_ITS_SERVER]}
        except UnusableOption as error:
            raise Conflict(str(error), "Give the headers anew, or set secrets_key_file as the daemon has it.") from None
    return encrypted(cipher, row["name"], stored, url=url)


def _converted(stored: Stored, convert: Callable[..., str], url: str) -> dict[str, Any]:
    """Return options with each secret in them converted; psql may have written any text, null and arrays."""
    result = dict(stored)
    for option in WITH_SECRETS:
        match stored.get(option.name):
            case str(text):
                result[option.name] = _with_secret(option, text, convert, url)
            case list(lines):
                result[option.name] = [
                    _with_secret(option, line, convert, url) if isinstance(line, str) else line for line in lines
                ]
    return result


def _with_secret(option: Option, text: str, convert: Callable[..., str], url: str) -> str:
    """Return a text with the secret in it converted, for what it belongs to beside the endpoint."""
    match = None if option.secret_part is None else option.secret_part.fullmatch(text)
    if match is None:
        return text
    before, after = text[: match.start(1)], text[match.end(1) :]
    server = _server_of(url) if option.name == _OF_ITS_SERVER else ""
    purpose = _PURPOSES.get(option.name, option.name)
    return before + convert(option, match[1], purpose, before, after, server) + after


def _server_of(url: str) -> str:
    try:
        scheme, host, port = origin(url)
    except ValueError:
        return url.partition("?")[0]  # What psql wrote there leads nowhere.
    return f"{scheme}://{host}:{port}"
