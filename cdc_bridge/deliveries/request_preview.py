"""The request that a delivery would send now, without its secrets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.lookup import DeliveryDetails
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.endpoints.details import EndpointRecord, record_of
from cdc_bridge.endpoints.lookup import EndpointRef, resolve_endpoint
from cdc_bridge.endpoints.options import NAME_IN_SETTINGS
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import Change, History
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.queries import load_queries
from cdc_bridge.settings import Settings
from cdc_bridge.transport.message import compose

_queries = load_queries(__name__)

MASK = "(not shown)"
_SIGNATURE = "webhook-signature"


@dataclass(frozen=True, slots=True)
class RequestPreview:
    """A request as it would be sent now."""

    url: str
    """Without its query."""
    headers: Mapping[str, str]
    """Secrets are masked."""
    body: bytes
    note: str = ""

    def as_curl(self) -> str:
        """Return it as a shell command, with variables for secrets and the body in a file."""
        parts = [f"curl --request POST {shlex.quote(self.url)}"]
        for name, value in self.headers.items():
            if value == MASK:
                parts.append(f'--header "{name}: ${_variable(name)}"')
            else:
                parts.append(f"--header {shlex.quote(f'{name}: {value}')}")
        return " \\\n  ".join([*parts, "--data-binary @reservation.json"])


@dataclass(frozen=True, slots=True)
class NoPreview:
    """Nothing could be sent now."""

    reason: str
    is_internal: bool = False
    """Whether the reason may have names of e-Res's tables in it."""


async def _endpoint_of(
    delivery: DeliveryDetails, connection: AsyncConnection[TupleRow]
) -> tuple[EndpointRef, EndpointRecord, str, History]:
    endpoint = await resolve_endpoint(connection, delivery.endpoint)
    record = await record_of(connection, endpoint)
    cursor = await connection.execute(_queries["newest_history"])
    ((history,),) = await cursor.fetchall()
    return endpoint, record, connection.info.dbname, History(history)


def _variable(header: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in header.upper())


async def preview_request(
    sessions: Sessions, delivery: DeliveryDetails, settings: Settings, now: datetime
) -> RequestPreview | NoPreview:
    """Return the request that a delivery would send now.

    Args:
        sessions: Read the endpoint and load the reservation.
        delivery: The newest one of its reservation, as no other is sent any more.
        settings: This daemon's, which may declare the endpoint.
        now: The time of the request.

    Raises:
        BridgeError: The endpoint was removed.
    """
    endpoint, record, database, history = await sessions.read(partial(_endpoint_of, delivery))
    loader = ReservationLoader(endpoint.subscription, max_body_bytes=settings.max_body_bytes)
    try:
        loaded = await sessions.load(partial(loader.load, reservation_ids=[delivery.reservation_id]))
    except PayloadInvalid as error:
        return NoPreview(f"Nothing can be sent now: {error.problem}.", is_internal=True)
    if reason := loaded.unreadable.get(delivery.reservation_id):
        return NoPreview(f"This reservation cannot be loaded: {reason}.", is_internal=True)
    if loaded.filtered:
        return NoPreview(
            "The reservation is not in the endpoint's payload, or does not meet its conditions: nothing would be sent."
        )
    reservation = loaded.reservations.get(delivery.reservation_id)
    if reservation is None:
        return NoPreview("The reservation was deleted, so nothing would be sent.")
    declared = settings.endpoint() if endpoint.name == NAME_IN_SETTINGS else None
    names = record.options["header_names"] if declared is None else [name for name, _ in declared.headers]
    signed = record.options["signed"] if declared is None else declared.secret is not None
    source = settings.source or f"/cdc-bridge/{database}"
    change = Change(delivery.seq, delivery.reservation_id, delivery.operation, delivery.changed_at)
    headers = compose(change, reservation.subject, source, history, reservation.body).headers(now, secrets=())
    headers |= {_SIGNATURE: MASK} if signed else {}
    elsewhere = endpoint.in_settings and declared is None
    note = "The endpoint is declared in the settings of another daemon; its headers and secret are not known here."
    return RequestPreview(
        record.options["url"], headers | dict.fromkeys(names, MASK), reservation.body, note if elsewhere else ""
    )
