"""Endpoint rows, and the definitions that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.model import Endpoint, EndpointId
from cdc_bridge.queries import load_queries
from cdc_bridge.setting_values import (
    check_client_certificate,
    checked_ca_file,
    checked_headers,
    checked_url,
    decoded_secret,
)

_queries = load_queries(__name__)

Connection = AsyncConnection[TupleRow]

_DESCRIPTION = (
    "name", "url", "headers", "secret", "previous_secret", "previous_secret_until",
    "ca_file", "client_certificate_file", "client_key_file",
    "max_in_flight", "latest_only", "timeout_seconds", "connect_timeout_seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint's row, and whether this daemon may lease it."""

    endpoint_id: EndpointId
    name: str
    in_settings: bool
    paused: bool
    disabled: bool
    same_cluster: bool
    """Whether the position consists of this cluster's transaction ids."""
    free: bool
    """Whether no live daemon has a valid lease."""
    fencing_token: int
    lease_ends_in_seconds: float | None
    row: Mapping[str, Any] = field(compare=False, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return a listed endpoint from its row."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__.keys() - {"row"}}, row=row)

    @property
    def description(self) -> tuple[Any, ...]:
        """The columns that hold its definition."""
        return tuple(self.row[name] for name in _DESCRIPTION)


def definition_of(row: dict[str, Any], *, allow_http: bool) -> Endpoint:
    """Return how an endpoint is called, from its row; checked anew, as psql checks nothing.

    Raises:
        ValueError: a value cannot be used; says which, and never repeats one that may be secret.
    """
    checking = "url"
    try:
        url = checked_url(row["url"], allow_http=allow_http)
        checking = "headers"
        if not all(isinstance(line, str) for line in row["headers"]):
            raise ValueError("has to be a list of texts, none of them null")  # noqa: TRY301
        headers = checked_headers(row["headers"])
        checking = "secret"
        secret = None if row["secret"] is None else decoded_secret(row["secret"])
        checking = "previous_secret"
        previous = None if row["previous_secret"] is None else decoded_secret(row["previous_secret"])
        checking = "ca_file"
        ca_file = None if row["ca_file"] is None else checked_ca_file(Path(row["ca_file"]))
        checking = "client_certificate_file"
        certificate, key = (_path(row[f"client_{what}_file"]) for what in ("certificate", "key"))
        if certificate is not None:
            check_client_certificate(certificate, key)
    except ValueError as error:
        raise ValueError(f"{checking} {error}") from None
    return Endpoint(
        name=row["name"],
        url=url,
        headers=headers,
        secret=secret,
        previous_secret=previous,
        previous_secret_until=row["previous_secret_until"],
        ca_file=ca_file,
        client_certificate_file=certificate,
        client_key_file=key,
        max_in_flight=row["max_in_flight"],
        latest_only=row["latest_only"],
        timeout_seconds=row["timeout_seconds"],
        connect_timeout_seconds=row["connect_timeout_seconds"],
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


async def declare_endpoint(connection: Connection, endpoint: Endpoint, *, from_oldest: bool) -> None:
    """Add the endpoint that the settings declare, or update its row. Its headers and secrets stay out of the database.

    Args:
        connection: To the database.
        endpoint: The declared endpoint.
        from_oldest: Whether a new endpoint starts with the oldest change kept; else with what is committed from now on.
    """
    await connection.execute(
        _queries["declare_endpoint"],
        {
            "name": endpoint.name,
            "url": endpoint.shown_url,
            "ca_file": _text(endpoint.ca_file),
            "client_certificate_file": _text(endpoint.client_certificate_file),
            "client_key_file": _text(endpoint.client_key_file),
            "max_in_flight": endpoint.max_in_flight,
            "latest_only": endpoint.latest_only,
            "timeout_seconds": endpoint.timeout_seconds,
            "connect_timeout_seconds": endpoint.connect_timeout_seconds,
            "from_oldest": from_oldest,
        },
    )


async def list_endpoints(connection: Connection) -> list[dict[str, Any]]:
    """Return all endpoint rows, each with ``disabled`` and ``same_cluster`` added."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["list_endpoints"])
        return await cursor.fetchall()


async def announce(connection: Connection) -> None:
    """Notify all daemons that an endpoint or a delivery's schedule has changed."""
    await connection.execute(_queries["announce_endpoints"])
