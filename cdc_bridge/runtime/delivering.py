"""What all endpoints share under one registration of this daemon: reading, routing, loading and recording."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from cdc_bridge.capture.change_log import ChangeLog
from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.routing import Router
from cdc_bridge.payload.shared_loader import SharedReservations
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.payload.suspects import SuspectReservations
from cdc_bridge.pipeline.delivery_log import DeliveryLog
from cdc_bridge.pipeline.delivery_log_writer import DeliveryLogWriter
from cdc_bridge.pipeline.in_memory import InMemory
from cdc_bridge.pipeline.pipeline import Pipeline
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.runtime.change_reader import ChangeReader
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.position_writer import PositionWriter
from cdc_bridge.runtime.retry_times import RetryTimes
from cdc_bridge.tasks import run_together
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.places import LimitedTransport, Places
from cdc_bridge.transport.pools import ConnectionPools


@dataclass(frozen=True, slots=True)
class Environment:
    """What outlives a registration."""

    database: Database
    listener: Listener
    places: Places
    """Those of the requests of all endpoints."""
    pools: ConnectionPools
    """The connections of all endpoints."""
    source: str
    """CloudEvents source of all requests."""
    page_size: int
    """Maximum number of changes read at once."""
    max_body_bytes: int
    """Size of a body that is not sent any more."""
    hard_to_route: Mapping[str, SuspectReservations]
    """For each payload, reservations of which it is hard to say who wants them."""
    hard_to_load: Mapping[str, SuspectReservations]
    """For each payload, reservations that are hard to load."""
    payload_invalid: Callable[[Subscription, PayloadInvalid], None]
    """Called when what an endpoint gets cannot be loaded."""


class SharedDelivering:
    """Reads the change log for all endpoints, and makes their pipelines."""

    def __init__(
        self,
        environment: Environment,
        registration: Registration,
        leased: Mapping[EndpointId, LeasedEndpoint],
    ) -> None:
        """Prepare to deliver; must run inside the event loop.

        Args:
            environment: What outlives the registration.
            registration: The registration.
            leased: All leased endpoints.
        """
        self._environment = environment
        self._registration = registration
        self._database = environment.database.of_server(registration.server)
        self._router = Router(self._database, environment.hard_to_route)
        self._reservations = SharedReservations(
            self._database,
            daemon_id=registration.daemon_id,
            max_body_bytes=environment.max_body_bytes,
            suspects=environment.hard_to_load,
            found_invalid=environment.payload_invalid,
            conditions=self._router.conditions,
        )
        self._in_memory = InMemory()
        shared = SharedPosition()
        self._writer = DeliveryLogWriter(self._database, registration, shared)
        self._reader = ChangeReader(
            ChangeLog(self._database),
            self._router,
            environment.listener,
            shared,
            self._in_memory,
            page_size=environment.page_size,
        )
        self._positions = PositionWriter(self._writer, shared, self._reader, leased.values)
        self._retry_times = RetryTimes(self._database, leased)

    @property
    def unread_since(self) -> float | None:
        """Time of the last read of the log, by the event loop's clock; ``None``: reading is paused."""
        return self._reader.unread_since

    async def run(self) -> None:
        """Read the change log and hand it over, until cancelled.

        Raises:
            ServerReplaced: Another server serves the database.
            LeaseLost: Another daemon has ended the leases of this one.
            StatementFailed: The logs cannot be read or written.
        """
        await run_together(self._reader.run(), self._positions.run(), self._retry_times.run())

    async def add(self, endpoints: Collection[LeasedEndpoint]) -> None:
        """Begin to hand over to endpoints."""
        await self._router.add({leased.endpoint_id: leased.endpoint.subscription for leased in endpoints})
        self._reader.add(endpoints)
        self._positions.add(endpoints)
        self._retry_times.add([leased.endpoint_id for leased in endpoints])

    def leave(self, leased: LeasedEndpoint) -> None:
        """Hand over nothing more to an endpoint."""
        self._reader.leave(leased)
        self._router.remove(leased.endpoint_id)

    def forget(self, leased: LeasedEndpoint) -> None:
        """Forget an endpoint whose lease is released or lost."""
        self._reader.forget(leased)

    def drop_all(self) -> None:
        """Let go of all endpoints, once nothing is handed over any more.

        Tasks that end with an exception keep this in memory until garbage is collected: many endpoints would be there
        twice, as they are read anew meanwhile.
        """
        self._reader.drop_all()

    def look_at_schedule(self) -> None:
        """Read the retry schedules anew: somebody may have changed the delivery log."""
        self._retry_times.ask_for_all()

    def open_transport(self, endpoint: Endpoint, lease: Lease) -> LimitedTransport:
        """Prepare to send requests to an endpoint.

        Raises:
            OSError: A certificate file cannot be read.
        """
        places, pools = self._environment.places, self._environment.pools
        transport = HttpTransport(endpoint, lambda: lease.valid, pools)
        return LimitedTransport(transport, places)

    def open_pipeline(self, leased: LeasedEndpoint, state_changed: Callable[[], None]) -> Pipeline:
        """Make an endpoint's pipeline."""
        environment, endpoint, lease = self._environment, leased.endpoint, leased.lease
        places = environment.places
        if leased.telemetry is None:
            raise RuntimeError("nobody reports what is delivered")
        return Pipeline(
            endpoint,
            lease,
            leased.position,
            caught_up=leased.is_caught_up,
            reservations=self._reservations.of(lease.endpoint_id, endpoint.subscription),
            delivery_log=DeliveryLog(self._database, lease, self._writer, partial(_follows, leased), self._retry_times),
            transport=leased.transport,
            telemetry=leased.telemetry,
            source=environment.source,
            history=self._registration.history,
            page_size=environment.page_size,
            state_changed=state_changed,
            problem_of_process=lambda: places.problem,
            in_memory=self._in_memory,
        )

    async def close(self) -> None:
        """Give up what is not written."""
        await self._writer.close()


def _follows(leased: LeasedEndpoint) -> bool:
    return leased.follows
