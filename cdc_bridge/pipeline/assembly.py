"""The pipeline with its real parts: PostgreSQL and HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from cdc_bridge.capture.change_log import ChangeLog
from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease_store import NewLease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.reservations import EndpointReservations, SuspectReservations
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.pipeline import Pipeline
from cdc_bridge.pipeline.telemetry import Telemetry
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.places import LimitedTransport, Places


@asynccontextmanager
async def open_pipeline(
    database: Database,
    listener: Listener,
    endpoint: Endpoint,
    acquired: NewLease,
    state_changed: Callable[[], None],
    *,
    source: str,
    page_size: int,
    max_body_bytes: int,
    suspects: Mapping[EndpointId, SuspectReservations],
    places: Places,
    payload_invalid: Callable[[Subscription, PayloadInvalid], None],
) -> AsyncIterator[Pipeline]:
    """Open an endpoint's pipeline; close its connections and stop waking it at the end.

    Args:
        database: Holds change log, reservations and delivery log.
        listener: Wakes the pipeline.
        endpoint: The destination.
        acquired: Its lease, and what is recorded already.
        state_changed: Called when the endpoint starts or stops failing, or a probe fails.
        source: CloudEvents source of all requests.
        page_size: Maximum number of changes read at once.
        max_body_bytes: Size of a body that is not sent any more.
        suspects: For each endpoint, the reservations that may end sessions.
        places: Those of the requests of all endpoints.
        payload_invalid: Called when what the endpoint gets cannot be loaded.

    Raises:
        OSError: A certificate file cannot be read.
    """
    lease = acquired.lease
    served = database.of_server(lease.server)
    transport = HttpTransport(endpoint, lambda: lease.valid, places.may_keep_connection)
    reader = listener.reader()
    try:
        yield Pipeline(
            endpoint,
            lease,
            acquired.position,
            reader=reader,
            changes=ChangeLog(served, lease.endpoint_id),
            reservations=EndpointReservations(
                served,
                lease.endpoint_id,
                endpoint.subscription,
                max_body_bytes=max_body_bytes,
                suspects=suspects[lease.endpoint_id],
                found_invalid=partial(payload_invalid, endpoint.subscription),
            ),
            delivery_log=DeliveryLog(served, lease),
            transport=LimitedTransport(transport, places),
            telemetry=Telemetry(endpoint.name, acquired.last_hour),
            source=source,
            history=acquired.history,
            page_size=page_size,
            state_changed=state_changed,
            problem_of_process=lambda: places.problem,
        )
    finally:
        listener.dismiss(reader)
        await transport.close()
