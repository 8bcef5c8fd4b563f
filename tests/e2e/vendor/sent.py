"""Requests as they are really sent, and the retry schedule in the contract's words."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdc_bridge.pipeline.retry_schedule import SCHEDULE_SECONDS
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import ReceivedRequest, Receiver

_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


@dataclass
class SentRequests:
    """Has the daemon and the commands send requests, and returns what was received."""

    database: Database
    bridges: Bridges
    endpoint: EndpointCommands
    receiver: Receiver
    settings: dict[str, str] = field(repr=False)

    async def of(self, name: str) -> ReceivedRequest:
        """Return a request: ``reservation.created``, ``reservation.updated`` or ``test``."""
        if name == "test":
            self.endpoint.settings = self.settings
            await self.endpoint.run("test", "default")
            return self.receiver.requests[-1]
        await self.bridges.start()
        self.database.execute("insert into customers (id) values ('C')")
        self.database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
        (created,) = await self.receiver.wait_for_delivered(1)
        if name == "reservation.created":
            return created
        self.database.execute("update reservations set adults = 3")
        return (await self.receiver.wait_for_delivered(2))[1]


def schedule_in_words() -> str:
    """Return the pauses between attempts as the contract's texts have them."""
    *first, last = [_in_words(seconds) for seconds in SCHEDULE_SECONDS]
    return f"{', '.join(first)} and {last}"


def _in_words(seconds: int) -> str:
    unit, name = next((unit, name) for unit, name in _UNITS if seconds % unit == 0)
    return f"{seconds // unit} {name}"
