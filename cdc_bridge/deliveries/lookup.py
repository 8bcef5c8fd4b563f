"""Finds a delivery in the ledger by what a person has at hand: the change's number or a webhook-id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.capture.change_log import operation_of
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.errors import BridgeError, WrongUsage
from cdc_bridge.model import DeliveryState, EndpointId, Operation, ReservationId, Seq
from cdc_bridge.queries import load_queries

_queries = load_queries(__name__)

_DELIVERY_ID = re.compile(r"(?P<seq>[0-9]{1,19})(?:-[0-9a-f]{16})?")
_HIGHEST_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DeliveryId:
    """What names a delivery at an endpoint."""

    seq: Seq
    message_id: str | None
    """The webhook-id, if it was that which was given."""

    @classmethod
    def parse(cls, text: str) -> DeliveryId:
        """Read a change's number or a webhook-id.

        Raises:
            ValueError: it is neither.
        """
        match = _DELIVERY_ID.fullmatch(text)
        if match is None or not 0 < int(match["seq"]) <= _HIGHEST_SEQ:
            raise ValueError("is neither a change's number, as 4711, nor a webhook-id, as 4711-0123456789abcdef")
        return cls(Seq(int(match["seq"])), text if "-" in text else None)


@dataclass(frozen=True, slots=True)
class FoundDelivery:
    """A delivery as the ledger has it, and what the ledger knows of newer ones of its reservation."""

    endpoint_id: EndpointId
    endpoint: str
    seq: Seq
    reservation_id: ReservationId
    operation: Operation
    changed_at: datetime
    state: DeliveryState
    attempts: int
    failures: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    message_id: str | None
    last_attempt_at: datetime | None
    duration_seconds: float | None
    recorded_at: datetime
    newest_seq: Seq
    """The newest delivery of the reservation; its own number: it is that itself."""
    newer_accepted_seq: Seq | None
    """The newest delivery above it that was accepted, or that an accepted body held."""
    read_at: datetime

    @property
    def is_newest(self) -> bool:
        """Whether the ledger has no newer delivery of its reservation."""
        return self.newest_seq == self.seq


async def find_delivery(
    connection: AsyncConnection[TupleRow], wanted: DeliveryId, endpoint_name: str | None
) -> FoundDelivery:
    """Return the delivery.

    Raises:
        WrongUsage: several endpoints have it, and none was named.
        BridgeError: no endpoint has it, or the one that was named has not or is not known.
        psycopg.Error: the database could not be read.
    """
    endpoint = None if endpoint_name is None else await resolve_endpoint(connection, endpoint_name)
    found = await _read_deliveries(connection, wanted.seq, None if endpoint is None else endpoint.endpoint_id)
    if not found:
        at = "" if endpoint is None else f" of {endpoint.name}"
        raise BridgeError(
            f"the ledger{at} has no delivery {wanted.seq}",
            "Either nothing was recorded of it yet, or it is older than what is kept.",
        )
    if len(found) > 1:
        names = ", ".join(delivery.endpoint for delivery in found)
        raise WrongUsage(f"several endpoints have delivery {wanted.seq}: {names}", "Name one: --endpoint NAME")
    return found[0]


async def _read_deliveries(
    connection: AsyncConnection[TupleRow], seq: Seq, endpoint_id: EndpointId | None
) -> list[FoundDelivery]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["find_deliveries"], {"seq": seq, "endpoint_id": endpoint_id})
        return [
            FoundDelivery(**row | {"operation": operation_of(row["operation"]), "state": DeliveryState(row["state"])})
            for row in await cursor.fetchall()
        ]
