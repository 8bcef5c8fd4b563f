"""Writes the daemon's position where nothing else does: while nothing is recorded, and around endpoints that take long.

Each delivery that is recorded moves the daemon's position along. What is left for this task: changes that nobody wants,
endpoints that begin to follow the daemon's position, and those that stop to, as one of their deliveries keeps it from
going on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from cdc_bridge.errors import RowsLocked
from cdc_bridge.model import EndpointId
from cdc_bridge.pipeline.delivery_log_writer import Moves
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint

_LOOK_EVERY_SECONDS = 1.0
"""A page that is not recorded within one to two of these is not waited for."""
_MOST_AT_ONCE = 2500
"""Endpoints that begin to follow in one transaction, which all recording waits for."""


class PositionLog(Protocol):
    """Where positions are written."""

    async def move(self, moves: Callable[[], Moves]) -> Collection[EndpointId]:
        """Write the daemon's position, and who follows it.

        Returns:
            The endpoints of which it is written: not those whose rows somebody has locked.

        Raises:
            RowsLocked: Nothing was written.
        """


class Followers(Protocol):
    """The endpoints whose position may be the daemon's."""

    def forget(self, leased: LeasedEndpoint) -> None:
        """Let the daemon's position go on without an endpoint."""


class PositionWriter:
    """Moves the daemon's position."""

    def __init__(
        self,
        log: PositionLog,
        shared: SharedPosition,
        followers: Followers,
        leased: Callable[[], Collection[LeasedEndpoint]],
    ) -> None:
        """Prepare to move.

        Args:
            log: Where positions are written.
            shared: The position.
            followers: Who follows.
            leased: Returns all leased endpoints with a pipeline, or that hold the position.
        """
        self._log = log
        self._shared = shared
        self._followers = followers
        self._leased = leased
        self._first: PageUnderWay | None = None
        self._waiting: set[LeasedEndpoint] = set()
        self._left: list[LeasedEndpoint] = []
        self._begun: list[LeasedEndpoint] = []

    def add(self, leased: Collection[LeasedEndpoint]) -> None:
        """Have endpoints follow the daemon's position as soon as they can."""
        self._waiting.update(leased)

    async def run(self) -> None:
        """Look at intervals, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Move what can be moved."""
        if self._shared.next() is None and not self._late() and not self._beginning() and not self._begun:
            self._first = self._shared.first_unrecorded
            return
        with suppress(RowsLocked):
            written = await self._log.move(self._moves)
            for leased in self._left:
                if leased.endpoint_id in written:
                    self._followers.forget(leased)
                    self._waiting.add(leased)
            self._waiting.difference_update(self._begun)
            # Those that somebody has locked follow all the same: this is written next time.
            self._begun = [leased for leased in self._begun if leased.endpoint_id not in written]
        self._left = []
        self._first = self._shared.first_unrecorded

    def _moves(self) -> Moves:
        self._left = self._late()
        # Not all may have been written before. The position has waited since for what was handed over to those.
        before = [leased for leased in self._begun if leased.follows and leased not in self._left]
        self._begun = before + self._beginning()
        for leased in self._begun:
            leased.follows = True  # From here on the position waits for what is handed over to it.
        return Moves(
            follow=[leased.lease for leased in self._begun],
            leave=[(leased.lease, leased.recorded_position) for leased in self._left],
        )

    def _late(self) -> list[LeasedEndpoint]:
        """Return the endpoints that have kept the position from going on since the last look."""
        first = self._shared.first_unrecorded
        if first is None or first is not self._first:
            return []
        return [
            leased
            for leased in self._leased()
            if leased.follows
            and (leased.held is first or (leased.pipeline is not None and leased.pipeline.has_part_of(first)))
        ]

    def _beginning(self) -> list[LeasedEndpoint]:
        """Return endpoints that can follow the position: all is recorded that was handed over to them."""
        self._waiting = {leased for leased in self._waiting if not leased.stopping}
        can = [leased for leased in self._waiting if leased.is_following and leased.is_empty and not leased.follows]
        return can[:_MOST_AT_ONCE]
