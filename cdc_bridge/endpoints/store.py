"""Endpoint rows, and the definitions that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.endpoints.option_columns import OF_ALL, with_columns
from cdc_bridge.endpoints.options import Endpoint, endpoint_from
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.stored_secrets import decrypted
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.subscription import EVERYTHING, Subscription, parse_conditions
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint's row."""

    endpoint_id: EndpointId
    name: str
    in_settings: bool
    paused: bool
    disabled: bool
    resumed_at: str | None
    """When somebody last resumed it."""
    same_cluster: bool
    """Whether the position consists of this cluster's transaction ids."""
    row: Mapping[str, Any] = field(compare=False, repr=False)
    """With its secrets as they are stored."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return a listed endpoint from its row."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__.keys() - {"row"}}, row=row)


async def declare_endpoint(connection: Connection, endpoint: Endpoint, *, from_oldest: bool) -> None:
    """Insert the endpoint of the settings, or update its options. Its headers and secrets stay in the settings.

    Args:
        connection: To the database.
        endpoint: The endpoint.
        from_oldest: Whether a new one begins with the oldest change in the log, else with what is committed now.
    """
    options = endpoint.storable()
    await connection.execute(
        with_columns(_queries["declare_endpoint"], options),
        {**options, "name": endpoint.name, "from_oldest": from_oldest},
    )


async def list_endpoints(connection: Connection, endpoint_id: EndpointId | None = None) -> list[dict[str, Any]]:
    """Return the rows of all endpoints or of one: name, options as they are stored, and what prevents deliveries."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(with_columns(_queries["list_endpoints"], OF_ALL), {"endpoint_id": endpoint_id})
        return await cursor.fetchall()


def endpoint_of_row(row: Mapping[str, Any], cipher: SecretsCipher, *, allow_http: bool) -> Endpoint:
    """Make an endpoint of its row.

    Args:
        row: Its name and its options as they are stored.
        cipher: Decrypts its secrets.
        allow_http: Whether ``http://`` to this machine is allowed.

    Raises:
        UnusableOption: An option cannot be used; never repeats a value that may be secret.
    """
    return endpoint_from(row["name"], decrypted(cipher, row), allow_http=allow_http)


async def subscriptions(connection: Connection) -> set[Subscription]:
    """Return what the endpoints get of the reservations; everything, if there is no endpoint.

    An endpoint whose conditions cannot be read is invalid, and gets nothing.
    """
    cursor = await connection.execute(_queries["subscriptions"])
    found = set()
    for payload, only in await cursor.fetchall():
        with suppress(ValueError):
            found.add(Subscription(payload, parse_conditions(only)))
    return found or {EVERYTHING}


async def announce(connection: Connection) -> None:
    """Notify all daemons that an endpoint or a delivery's schedule has changed."""
    await connection.execute(_queries["announce_endpoints"])
