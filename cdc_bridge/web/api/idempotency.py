"""Carries out a request with an ``Idempotency-Key`` once, however often it is sent and to whichever daemon.

While a request is handled, its session holds an advisory lock on the key: another one with the same key is
rejected as long. The response is kept in the table ``cdc_bridge.idempotency_key``, in the transaction of what it
reports. So a daemon that dies in between has done nothing, and the request can be sent again.

What takes longer than a transaction may, a test request and a replay, holds the lock in a session of its own. If the
daemon dies meanwhile, it is done again when the request is repeated: neither harms by that.

Kept are only results. An error has changed nothing, and a repeated request is tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.endpoints.secrets_cipher import NO_KEYS, SecretsCipher
from cdc_bridge.endpoints.stored_secrets import decrypted
from cdc_bridge.errors import Fault, FaultyInput
from cdc_bridge.queries import load_queries
from cdc_bridge.web.api.problems import KEY_IN_USE, KEY_REUSED, SECRET_REPLACED, ApiProblem
from cdc_bridge.web.api.results import Result
from cdc_bridge.web.requests import holder_of, site_of

HEADER = "idempotency-key"
MOST_CHARACTERS = 255

_SECRETS = ("secret", "previous_secret")

_queries = load_queries("cdc_bridge.web.api")  # The room is cdc_bridge.web.

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key, and the request that it stands for."""

    token: str
    """Name of the token: each has keys of its own."""
    key: str
    request: bytes
    """Hash of the request."""


async def idempotency_key(request: web.Request) -> IdempotencyKey | None:
    """Return the key of a request; ``None``: it has none.

    Raises:
        FaultyInput: It cannot be one.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not (0 < len(key) <= MOST_CHARACTERS and key.isascii() and key.isprintable()):
        words = f"has to be of 1 to {MOST_CHARACTERS} printable characters of ASCII"
        raise FaultyInput(Fault("Idempotency-Key", "Idempotency-Key", words))
    parts = (request.method, request.raw_path, request.headers.get("if-match", ""))
    fingerprint = sha256("\n".join(parts).encode() + b"\n" + await request.read()).digest()
    return IdempotencyKey(holder_of(request).name, key, fingerprint)


async def change_once(request: web.Request, change: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Change something in one transaction, unless the same request has done so; return the result.

    Args:
        request: The request.
        change: Makes the change.

    Raises:
        ApiProblem: A request with its key is under way, or was another one.
        DatabaseUnavailable: The database does not respond in time.
    """
    key = await idempotency_key(request)
    cipher = site_of(request).settings.now.secrets_cipher()

    async def change_and_keep(connection: Connection) -> Result:
        async with connection.transaction():
            return await _once(connection, key, "lock_key_until_commit", lambda: change(connection), cipher)

    return await site_of(request).database.change(change_and_keep)


async def work_once(
    connection: Connection, key: IdempotencyKey | None, work: Callable[[], Awaitable[Result]]
) -> Result:
    """Do what takes longer than a transaction may, unless the same request has done so; return the result.

    Args:
        connection: A session of its own, without a transaction, to be closed afterwards.
        key: The request's key, if it has one.
        work: Does it.

    Raises:
        ApiProblem: A request with this key is under way, or was another one.
    """
    return await _once(connection, key, "lock_key", work)


async def _once(
    connection: Connection,
    key: IdempotencyKey | None,
    lock: str,
    act: Callable[[], Awaitable[Result]],
    cipher: SecretsCipher = NO_KEYS,
) -> Result:
    if key is None:
        return await act()
    of_key = {"token": key.token, "key": key.key}
    cursor = await connection.execute(_queries[lock], of_key)
    ((is_locked,),) = await cursor.fetchall()
    if not is_locked:
        raise ApiProblem(
            KEY_IN_USE, "A request with this idempotency key is under way.", "Send it again in a few seconds."
        )
    if (kept := await _kept(connection, key, of_key, cipher)) is not None:
        return kept
    result = await act()
    await _keep(connection, key, of_key, result)
    return result


async def _kept(
    connection: Connection, key: IdempotencyKey, of_key: Mapping[str, str], cipher: SecretsCipher
) -> Result | None:
    cursor = await connection.execute(_queries["kept_response"], of_key)
    row = await cursor.fetchone()
    if row is None:
        await connection.execute(_queries["forget_expired_response"], of_key)
        return None
    request, status, body, endpoint, secret_hash, url, *secrets = row
    if bytes(request) != key.request:
        raise ApiProblem(
            KEY_REUSED,
            "This idempotency key was used for another request within the last 24 hours.",
            "Use a new key for each request, and the same one only to repeat it unchanged.",
        )
    result = Result(orjson.loads(body), HTTPStatus(status), repeated=True)
    if endpoint is None:
        return result
    stored = {"name": endpoint, "url": url or "", **dict(zip(_SECRETS, secrets, strict=True))}
    current = decrypted(cipher, stored, keep_others=True)
    secret = next((current[name] for name in _SECRETS if _hash_of(current[name]) == bytes(secret_hash)), None)
    if secret is None:
        raise ApiProblem(
            SECRET_REPLACED,
            f"The request was carried out, but the secret that it made for {endpoint} was replaced or removed since.",
            "For a new secret: POST .../rotate-secret with another idempotency key.",
        )
    return replace(result, body={**result.body, "secret": secret})


async def _keep(connection: Connection, key: IdempotencyKey, of_key: Mapping[str, str], result: Result) -> None:
    body: dict[str, Any] = dict(result.body)
    secret = None
    if result.secret_of is not None:
        secret = _hash_of(body["secret"])
        body["secret"] = None
    kept = {
        "request": key.request,
        "status": int(result.status),
        "body": orjson.dumps(body, option=orjson.OPT_UTC_Z).decode(),
        "endpoint": result.secret_of,
        "secret_hash": secret,
    }
    await connection.execute(_queries["keep_response"], {**of_key, **kept})


def _hash_of(secret: str | None) -> bytes | None:
    return None if secret is None else sha256(secret.encode()).digest()
