"""Shows the call that a delivery would be if it were made now, without what is secret in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.deliveries.lookup import FoundDelivery
from cdc_bridge.endpoints.details import record_of
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.endpoints.options import NAME_IN_SETTINGS
from cdc_bridge.model import Change
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.settings import Settings
from cdc_bridge.transport.message import compose

MASK = "(not shown)"
_SIGNATURE = "webhook-signature"


@dataclass(frozen=True, slots=True)
class RequestNow:
    """A call as it would be made now."""

    url: str
    """Without its query."""
    headers: Mapping[str, str]
    """In place of what is secret stands a mask."""
    body: bytes
    note: str = ""
    """What else there is to it."""

    def as_curl(self) -> str:
        """Return it as a command for a shell, with variables in place of what is secret, and the body in a file."""
        parts = [f"curl --request POST {shlex.quote(self.url)}"]
        for name, value in self.headers.items():
            if value == MASK:
                parts.append(f'--header "{name}: ${_variable(name)}"')
            else:
                parts.append(f"--header {shlex.quote(f'{name}: {value}')}")
        return " \\\n  ".join([*parts, "--data-binary @reservation.json"])


@dataclass(frozen=True, slots=True)
class NoRequest:
    """No call could be made now."""

    reason: str


def _variable(header: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in header.upper())


async def request_now(
    connection: AsyncConnection[TupleRow], delivery: FoundDelivery, settings: Settings, now: datetime
) -> RequestNow | NoRequest:
    """Return the call.

    Args:
        connection: to the database.
        delivery: which; the newest one of its reservation, as no other is called any more.
        settings: of this daemon, which may declare the endpoint.
        now: the time of the call.

    Raises:
        BridgeError: the endpoint was removed.
        psycopg.Error: the database could not be read.
    """
    endpoint = await resolve_endpoint(connection, delivery.endpoint)
    record = await record_of(connection, endpoint)
    loaded = await ReservationLoader().load(connection, [delivery.reservation_id])
    if why := loaded.unreadable.get(delivery.reservation_id):
        return NoRequest(f"The view cannot show this reservation: {why}")
    reservation = loaded.reservations.get(delivery.reservation_id)
    if reservation is None:
        return NoRequest("The reservation is not there any more, so nothing would be called.")
    declared = settings.endpoint() if endpoint.name == NAME_IN_SETTINGS else None
    names = record.header_names if declared is None else [name for name, _ in declared.headers]
    signed = record.signed if declared is None else declared.secret is not None
    source = settings.source or f"/cdc-bridge/{connection.info.dbname}"
    change = Change(delivery.seq, delivery.reservation_id, delivery.operation, delivery.changed_at)
    headers = compose(change, reservation.subject, source, reservation.body).headers(now, secrets=())
    headers |= {_SIGNATURE: MASK} if signed else {}
    elsewhere = endpoint.in_settings and declared is None
    note = "Headers and secret are those of the settings of the daemon that declares it, and not known here."
    return RequestNow(
        record.options["url"], headers | dict.fromkeys(names, MASK), reservation.body, note if elsewhere else ""
    )
