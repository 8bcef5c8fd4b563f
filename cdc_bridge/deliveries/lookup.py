"""Finds a delivery by what a person has at hand: the change's number, a webhook-id or a ce-sequence."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.deliveries.logged_delivery import LoggedDelivery, typed
from cdc_bridge.deliveries.queued import find_queued
from cdc_bridge.deliveries.sessions import Sessions
from cdc_bridge.endpoints.lookup import listed_names, resolve_endpoint
from cdc_bridge.errors import NotFound, WrongUsage
from cdc_bridge.model import EndpointId, Seq
from cdc_bridge.queries import load_queries
from cdc_bridge.transport.message import seq_of

_queries = load_queries(__name__)

_DELIVERY_ID = re.compile(r"(?P<sequence>[0-9]{1,20})(?:-[0-9a-f]{16})?")
_HIGHEST_SEQUENCE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DeliveryId:
    """What identifies a delivery at an endpoint."""

    seq: Seq
    message_id: str | None
    """The webhook-id, if that was given."""

    @classmethod
    def parse(cls, text: str) -> DeliveryId:
        """Parse a change's number, a webhook-id or a ce-sequence.

        Raises:
            ValueError: It is neither.
        """
        match = _DELIVERY_ID.fullmatch(text)
        sequence = 0 if match is None else int(match["sequence"])
        if sequence > _HIGHEST_SEQUENCE or not (seq := seq_of(sequence)):
            raise ValueError("is neither a change's number, as 4711, nor a webhook-id, as 4711-0123456789abcdef")
        return cls(seq, text if "-" in text else None)


@dataclass(frozen=True, slots=True)
class DeliveryDetails(LoggedDelivery):
    """A delivery, and how it relates to newer ones of its reservation."""

    newest_seq: Seq
    """The reservation's newest delivery at this endpoint; may be this one."""
    newer_delivered_seq: Seq | None
    """The newest later delivery that was delivered."""
    read_at: datetime

    @property
    def is_newest(self) -> bool:
        """Whether it is the newest delivery of its reservation."""
        return self.newest_seq == self.seq


async def find_delivery(
    connection: AsyncConnection[TupleRow], delivery_id: DeliveryId, endpoint_name: str | None, *, or_held: bool = False
) -> DeliveryDetails:
    """Return a delivery.

    Args:
        connection: To the database.
        delivery_id: What identifies it.
        endpoint_name: May be ``None`` if only one endpoint has it.
        or_held: Whether it may be one that was attempted and is not in the delivery log yet.

    Raises:
        WrongUsage: Several endpoints have it, and none was named.
        NotFound: The delivery log does not have it, or there is no endpoint of that name.
    """
    endpoint = None if endpoint_name is None else await resolve_endpoint(connection, endpoint_name)
    seq, endpoint_id = delivery_id.seq, None if endpoint is None else endpoint.endpoint_id
    deliveries = await _read_deliveries(connection, "find_deliveries", seq, endpoint_id)
    if or_held:
        deliveries += await _read_deliveries(connection, "find_held_deliveries", seq, endpoint_id)
    if not deliveries:
        of_endpoint = "" if endpoint is None else f" of {endpoint.name}"
        if or_held:
            remedy = "It was pruned, or there is no such change. To list what there is: cdc-bridge deliveries"
        else:
            remedy = f"It was pruned, or is queued in the change log: cdc-bridge delivery show {seq}"
        raise NotFound(f"the delivery log{of_endpoint} has no delivery {seq}", remedy)
    if len(deliveries) > 1:
        names = listed_names([delivery.endpoint for delivery in deliveries])
        raise WrongUsage(f"several endpoints have delivery {seq}: {names}", "Name one: --endpoint NAME")
    return deliveries[0]


async def find_any_delivery(sessions: Sessions, delivery_id: DeliveryId, endpoint_name: str | None) -> DeliveryDetails:
    """Return a delivery, of the delivery log or queued in the change log.

    Args:
        sessions: To the database.
        delivery_id: What identifies it.
        endpoint_name: May be ``None`` if only one endpoint has it.

    Raises:
        WrongUsage: Several endpoints have it, and none was named.
        NotFound: None has it, or there is no endpoint of that name.
    """
    logged = partial(find_delivery, delivery_id=delivery_id, endpoint_name=endpoint_name, or_held=True)
    with suppress(NotFound):
        return await sessions.read(logged)
    endpoint_id = None
    if endpoint_name is not None:
        endpoint_id = (await sessions.read(partial(resolve_endpoint, name=endpoint_name))).endpoint_id
    waiting = await find_queued(sessions, delivery_id.seq, endpoint_id)
    if not waiting:
        return await sessions.read(logged)  # If it was recorded in between, it is there now.
    if len(waiting) > 1:
        raise WrongUsage(f"delivery {delivery_id.seq} is queued for several endpoints", "Name one: --endpoint NAME")
    (delivery,) = waiting
    columns = {field.name: getattr(delivery, field.name) for field in fields(LoggedDelivery)}
    return DeliveryDetails(**columns, newest_seq=delivery.seq, newer_delivered_seq=None, read_at=datetime.now(UTC))


async def _read_deliveries(
    connection: AsyncConnection[TupleRow], statement: str, seq: Seq, endpoint_id: EndpointId | None
) -> list[DeliveryDetails]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries[statement], {"seq": seq, "endpoint_id": endpoint_id})
        return [DeliveryDetails(**typed(row)) for row in await cursor.fetchall()]
