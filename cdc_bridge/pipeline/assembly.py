"""The pipeline with its real parts: PostgreSQL and HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cdc_bridge.capture.change_log import ChangeLog
from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.position import Position
from cdc_bridge.database import Database
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.payload.loader import EndpointReservations
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.pipeline import Pipeline
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.transport.client import HttpTransport


@asynccontextmanager
async def open_pipeline(
    database: Database,
    listener: Listener,
    endpoint: Endpoint,
    lease: Lease,
    position: Position,
    *,
    last_hour: LastHour | None,
    source: str,
    page_size: int,
    state_changed: Callable[[], None],
) -> AsyncIterator[Pipeline]:
    """Open an endpoint's pipeline; close its connections and stop waking it at the end.

    Args:
        database: Holds change log, payload view and delivery log.
        listener: Wakes the pipeline.
        endpoint: The destination.
        lease: The right to send to it.
        position: What is recorded already.
        last_hour: Attempts under earlier leases; ``None``: none are known.
        source: CloudEvents source of all requests.
        page_size: Maximum number of changes read at once.
        state_changed: Called when the endpoint starts or stops failing, or a probe fails.

    Raises:
        OSError: A certificate file cannot be read.
    """
    transport = HttpTransport(endpoint, lambda: lease.valid)
    reader = listener.reader()
    try:
        yield Pipeline(
            endpoint,
            lease,
            position,
            reader=reader,
            changes=ChangeLog(database, lease.endpoint_id),
            reservations=EndpointReservations(database, lease.endpoint_id),
            delivery_log=DeliveryLog(database, lease.endpoint_id, lease.fencing_token),
            transport=transport,
            telemetry=Telemetry(endpoint.name, last_hour),
            source=source,
            page_size=page_size,
            state_changed=state_changed,
        )
    finally:
        listener.dismiss(reader)
        await transport.close()
