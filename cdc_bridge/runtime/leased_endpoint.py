"""An endpoint that this daemon leases. While it is idle, this is all that there is of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from cdc_bridge.capture.change_log import Page
from cdc_bridge.capture.position import Position
from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.last_hour import LastHour
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.model import EndpointId, Seq
from cdc_bridge.pipeline.dispatcher import Transport
from cdc_bridge.pipeline.queue import DeliveredMeanwhile
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.pipeline.telemetry import Telemetry


class EndpointPipeline(Protocol):
    """One endpoint's pipeline, as the daemon's other parts see it."""

    closed: bool
    """Whether there was nothing to deliver any more, so that it ends and another one takes what comes."""

    @property
    def state(self) -> EndpointState:
        """The endpoint's state."""

    @property
    def withdrawn(self) -> bool:
        """Whether the endpoint asked for no more deliveries (410)."""

    @property
    def stalled_since(self) -> float | None:
        """Start of the time without progress, by the event loop's clock; ``None``: there is no work."""

    @property
    def has_room(self) -> bool:
        """Whether a page of changes may be handed over."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight."""

    @property
    def position(self) -> Position:
        """The position up to which everything is recorded that was handed over."""

    @property
    def highest_retry(self) -> Seq:
        """The highest number of a delivery that was handed over to be retried."""

    async def until_room(self) -> None:
        """Wait until a page of changes may be handed over."""

    def reading(self) -> AbstractContextManager[DeliveredMeanwhile]:
        """Note what is delivered while the delivery log is asked for changes."""

    def hand_over(
        self, page: Page, meanwhile: DeliveredMeanwhile, before: Position, shared: PageUnderWay | None
    ) -> None:
        """Take the changes of a page that are for this endpoint."""

    def caught_up(self) -> None:
        """Note that the change log was read to its end once under this lease."""

    def has_part_of(self, page: PageUnderWay) -> bool:
        """Return whether some of a page is in flight."""

    def stop_following(self) -> None:
        """Have the daemon's position no longer wait for what is in flight."""

    def look_at_schedule(self) -> None:
        """Look for due deliveries now."""

    def probe_now(self) -> None:
        """End the pause before the next probe, if the endpoint is failing."""

    async def run(self, stopping: asyncio.Future[None], finish_within_seconds: float) -> None:
        """Deliver until there is nothing left, or stopped; then finish the requests in flight and record them."""


@dataclass(slots=True, eq=False)
class LeasedEndpoint:
    """An endpoint that this daemon leases."""

    endpoint: Endpoint
    lease: Lease
    certificates: bytes | None
    """Fingerprint of its certificates when it was leased."""
    transport: Transport
    position: Position
    """What is handed over, as long as the daemon's reader does not read for it."""
    known_seq: Seq
    """Changes up to this number may be in its delivery log, or overtaken by one that is there."""
    last_hour: LastHour | None
    """Attempts counted under earlier leases; ``None``: none."""
    open_pipeline: Callable[[LeasedEndpoint], EndpointPipeline] = field(repr=False)
    pipeline: EndpointPipeline | None = None
    """``None``: it is idle."""
    telemetry: Telemetry | None = None
    """``None``: there was nothing to deliver under this lease."""
    is_following: bool = False
    """Whether the daemon's reader reads for it."""
    is_caught_up: bool = False
    """Whether the change log was read to its end under this lease."""
    follows: bool = False
    """Whether its position is the daemon's: see :class:`~cdc_bridge.pipeline.shared_position.SharedPosition`."""
    held: PageUnderWay | None = None
    """Keeps the daemon's position from going on, as the endpoint has that position and takes no more changes."""
    reported: EndpointState | None = None
    """What was reported of it last."""
    stopping: bool = False
    """Whether it takes no more changes, as its lease is released."""
    problem: str | None = None
    """Why its lease is released, if it is not as somebody asked."""

    @property
    def endpoint_id(self) -> EndpointId:
        """The endpoint's id."""
        return self.lease.endpoint_id

    @property
    def has_room(self) -> bool:
        """Whether a page of changes may be handed over."""
        return not self.stopping and (self.pipeline is None or self.pipeline.closed or self.pipeline.has_room)

    @property
    def is_empty(self) -> bool:
        """Whether everything is recorded that was handed over."""
        return self.pipeline is None or self.pipeline.is_empty

    @property
    def highest_known(self) -> Seq:
        """Changes up to this number are looked for in its delivery log."""
        return self.known_seq if self.pipeline is None else max(self.known_seq, self.pipeline.highest_retry)

    @property
    def recorded_position(self) -> Position:
        """The position up to which everything is recorded, if the daemon's reader does not read for it."""
        return self.position if self.pipeline is None or self.pipeline.is_empty else self.pipeline.position

    @property
    def state(self) -> EndpointState:
        """Its state, as this daemon knows it."""
        if self.pipeline is not None:
            return self.pipeline.state
        if self.telemetry is not None:
            return self.telemetry.state(asyncio.get_running_loop().time())
        return EndpointState(last_hour=self.last_hour)

    def activate(self) -> EndpointPipeline:
        """Return its pipeline, made now if there is none."""
        if self.pipeline is None or self.pipeline.closed:
            self.pipeline = self.open_pipeline(self)
        return self.pipeline

    def ended(self, pipeline: EndpointPipeline) -> None:
        """Note that a pipeline has ended; one that could not finish is kept, as the daemon's position waits for it."""
        self.known_seq = max(self.known_seq, pipeline.highest_retry)
        if self.pipeline is pipeline and pipeline.is_empty:
            self.pipeline = None


class LeasedEndpoints(Protocol):
    """Lists the endpoints that this daemon leases."""

    @property
    def leased(self) -> Sequence[LeasedEndpoint]:
        """The endpoints leased now."""

    @property
    def number_leased(self) -> int:
        """How many there are."""

    @property
    def active(self) -> Collection[LeasedEndpoint]:
        """Those of them that have a pipeline, or had one lately."""


class ActiveEndpoints(Protocol):
    """Lists the endpoints that there is something to do for."""

    @property
    def active(self) -> Collection[LeasedEndpoint]:
        """The endpoints that have a pipeline, or had one lately."""

    @property
    def unread_since(self) -> float | None:
        """Time of the last read of the change log, by the event loop's clock; ``None``: nobody reads it."""
