"""An endpoint that this daemon leases, and its pipeline as the daemon's other parts see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.options import Endpoint


class EndpointPipeline(Protocol):
    """One endpoint's pipeline, as the daemon's other parts see it."""

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
    def unread_since(self) -> float | None:
        """Time of the last read of the log, by the event loop's clock; ``None``: reading is paused."""

    def look_at_schedule(self) -> None:
        """Look for due deliveries now."""

    def probe_now(self) -> None:
        """End the pause before the next probe, if the endpoint is failing."""

    async def run(self, stopping: asyncio.Event, finish_within_seconds: float) -> None:
        """Deliver until stopped; then finish the requests in flight and record them."""


@dataclass(slots=True, eq=False)
class LeasedEndpoint:
    """An endpoint that this daemon leases."""

    endpoint: Endpoint
    lease: Lease
    pipeline: EndpointPipeline
    certificates: Sequence[bytes]
    """Contents of its certificate files when its pipeline was started."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class LeasedEndpoints(Protocol):
    """Lists the endpoints that this daemon leases."""

    @property
    def leased(self) -> Sequence[LeasedEndpoint]:
        """The endpoints leased now."""
