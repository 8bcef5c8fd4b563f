"""Reads the change log once for all endpoints of this daemon, and hands the changes over to those that want them.

The cost of a change depends on the endpoints that want it: a page is read once, a router says who wants what, and
whoever wants nothing is not touched. An endpoint *follows* the reader if it has all that the reader has handed over.

One that was just leased, or has no room for what the reader hands over (*behind*), *catches up*: the log is read for it
from its own position, together with others that do the same, to the end, and it follows from there. Whoever has no room
stops to catch up until it has some; nobody waits for it. What an endpoint has already is known by arithmetic on
snapshots (:mod:`~cdc_bridge.capture.position`).

Whoever reads a change again asks again who wants it. So the successor of a daemon that died may hand over an older
change of a reservation that became an endpoint's by a newer one, which the dead one had delivered and not recorded. Its
body is current, and its ``ce-sequence`` says that it is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from cdc_bridge.capture.change_log import LoggedChange, Page
from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.position import Position, lowest
from cdc_bridge.model import EndpointId, ReservationId
from cdc_bridge.pipeline.in_memory import InMemory
from cdc_bridge.pipeline.queue import DeliveredMeanwhile
from cdc_bridge.pipeline.recorded_position import PageUnderWay
from cdc_bridge.pipeline.shared_position import SharedPosition
from cdc_bridge.runtime.catch_up_group import catch_up_group, further
from cdc_bridge.runtime.leased_endpoint import EndpointPipeline, LeasedEndpoint
from cdc_bridge.tasks import end, run_together

_READ_AGAIN_AFTER_SECONDS = 3.0
"""When a page is read again for endpoints of which it could not be said whether they want it."""
_WAIT_FOR_PROGRESS_SECONDS = 0.5
_MOST_GROUPS = 3
"""How many groups of endpoints may catch up at a time."""
Endpoints = Mapping[EndpointId, LeasedEndpoint]


class Changes(Protocol):
    """The change log."""

    async def read_page(self, position: Position, limit: int) -> Page:
        """Return the changes after a position, at most ``limit`` rows of the log."""

    async def known(self, changes: Mapping[EndpointId, Sequence[LoggedChange]]) -> dict[EndpointId, list[LoggedChange]]:
        """Return changes with what the delivery log of each endpoint knows of them."""


class Routes(Protocol):
    """Which endpoints want which reservations."""

    @property
    def endpoints(self) -> Mapping[ReservationId, Collection[EndpointId]]:
        """The endpoints that want each reservation."""

    @property
    def undecided(self) -> Collection[EndpointId]:
        """Endpoints of which that cannot be said now; what is found of the others is final."""


class Routing(Protocol):
    """Says which endpoints want which reservations."""

    async def route(
        self, reservation_ids: Collection[ReservationId], among: Collection[EndpointId] | None = None
    ) -> Routes:
        """Return which endpoints want reservations: of all, or of some endpoints."""


class ChangeReader:
    """Reads the change log for all endpoints."""

    def __init__(
        self,
        changes: Changes,
        routing: Routing,
        listener: Listener,
        shared: SharedPosition,
        in_memory: InMemory,
        *,
        page_size: int,
    ) -> None:
        """Prepare to read; must run inside the event loop.

        Args:
            changes: The change log.
            routing: Says who wants what.
            listener: Wakes the reader.
            shared: The position of those that follow.
            in_memory: Counts the deliveries of all endpoints.
            page_size: Maximum number of changes read at once.
        """
        self._changes = changes
        self._routing = routing
        self._listener = listener
        self._shared = shared
        self._in_memory = in_memory
        self._page_size = page_size
        self._position: Position | None = None
        self._following: dict[EndpointId, LeasedEndpoint] = {}
        self._ahead: dict[EndpointId, Position] = {}
        """What some that follow have beside what was handed over to all."""
        self._holding: set[LeasedEndpoint] = set()
        """Those whose position is the daemon's and that do not follow any more."""
        self._between_pages = asyncio.Lock()
        self._followed = asyncio.Event()
        self._to_catch_up: dict[EndpointId, LeasedEndpoint] = {}
        self._catch_up_asked = asyncio.Event()
        self._waiting_for_room: dict[EndpointId, asyncio.Task[None]] = {}
        self._now = asyncio.get_running_loop().time
        self._read_at: dict[object, float] = {}
        """Time of the last read of whoever reads, by the event loop's clock."""

    @property
    def following(self) -> Collection[LeasedEndpoint]:
        """The endpoints that follow."""
        return self._following.values()

    @property
    def unread_since(self) -> float | None:
        """Time of the last read of the log, by the event loop's clock; ``None``: nothing is to be read.

        If several read, of the one that has not done so for the longest time.
        """
        return min((at for reads, at in self._read_at.items() if reads is not self or self._following), default=None)

    def add(self, endpoints: Iterable[LeasedEndpoint]) -> None:
        """Have endpoints catch up from their positions, and then follow."""
        self._to_catch_up |= {leased.endpoint_id: leased for leased in endpoints if not leased.stopping}
        self._catch_up_asked.set()

    def leave(self, leased: LeasedEndpoint) -> None:
        """Hand over nothing more to an endpoint. If its position is the daemon's, that waits for :meth:`forget`."""
        if self._following.pop(leased.endpoint_id, None) is not None and self._position is not None:
            leased.is_following = False
            leased.position = _joined(self._position, self._ahead.pop(leased.endpoint_id, None))
        self._to_catch_up.pop(leased.endpoint_id, None)
        if (waiting := self._waiting_for_room.pop(leased.endpoint_id, None)) is not None:
            waiting.cancel()
        if leased.follows and leased.held is None and self._position is not None:
            self._hold(leased, self._shared.hold(self._position))

    def forget(self, leased: LeasedEndpoint) -> None:
        """Let the daemon's position go on without an endpoint: its own is written, or its lease is lost."""
        leased.follows = False
        if leased.pipeline is not None:
            leased.pipeline.stop_following()
        if leased.held is not None:
            leased.held.recorded()
            leased.held = None
        self._holding.discard(leased)

    def drop_all(self) -> None:
        """Let go of all endpoints, once reading has ended. The daemon's position stays where it is."""
        self._following.clear()
        self._ahead.clear()
        self._holding.clear()
        self._to_catch_up.clear()
        self._waiting_for_room.clear()

    async def run(self) -> None:
        """Read and hand over, until cancelled.

        Raises:
            ServerReplaced: Another server serves the database.
            StatementFailed: The change log cannot be read.
        """
        await run_together(self._read(), self._catch_up())

    async def _read(self) -> None:
        """Read for those that follow."""
        reader = self._listener.reader()
        try:
            while True:
                if not self._following:
                    with reader.blocked():
                        self._followed.clear()
                        await self._followed.wait()
                page = await self._read_for_followers()
                self._read_at[self] = self._now()
                if page.changes:
                    reader.found()
                if page.at_end:
                    await reader.until_woken()
        finally:
            self._listener.dismiss(reader)

    async def _read_for_followers(self) -> Page:
        async with self._between_pages:
            position, ahead = self._position, set(self._ahead)
            if position is None:
                raise RuntimeError("nobody follows")
            page, wanted, undecided = await self._wanted(position, self._following, self._ahead)
            with ExitStack() as stack:
                wanted, meanwhile = await self._with_known(wanted, self._following, stack)
                # From here on nothing is awaited.
                shared = self._shared.hand_over(page.position, held=bool(wanted or undecided))
                later = [self._following[each] for each in undecided if each in self._following]
                for leased in later:
                    self._fall_behind(leased, _joined(position, self._ahead.get(leased.endpoint_id)), shared)
                self._add_later(later)
                for endpoint_id, changes in wanted.items():
                    leased, has = self._following[endpoint_id], self._ahead.get(endpoint_id)
                    before = _joined(position, has)
                    if not _give(leased, _part(page, changes, has), meanwhile.get(endpoint_id), before, shared):
                        self._fall_behind(leased, before, shared)
                        self._wait_for_room(leased)
                if wanted or undecided:
                    shared.recorded()
            self._position = page.position
            if page.at_end:  # It has all that was committed when it was read, and so whatever they had before.
                for endpoint_id in ahead:
                    self._ahead.pop(endpoint_id, None)
            return page

    def _fall_behind(self, leased: LeasedEndpoint, position: Position, shared: PageUnderWay) -> None:
        del self._following[leased.endpoint_id]
        leased.is_following = False
        self._ahead.pop(leased.endpoint_id, None)
        leased.position = position
        if leased.follows and leased.held is None:
            shared.outstanding += 1
            self._hold(leased, shared)

    def _add_later(self, endpoints: Sequence[LeasedEndpoint]) -> None:
        """Have endpoints catch up some time later."""
        if endpoints:
            asyncio.get_running_loop().call_later(_READ_AGAIN_AFTER_SECONDS, self.add, endpoints)

    def _hold(self, leased: LeasedEndpoint, page: PageUnderWay) -> None:
        leased.held = page
        self._holding.add(leased)

    def _wait_for_room(self, leased: LeasedEndpoint) -> None:
        if leased.stopping:
            return
        self._waiting_for_room[leased.endpoint_id] = asyncio.create_task(self._until_room(leased))

    async def _until_room(self, leased: LeasedEndpoint) -> None:
        if leased.pipeline is not None:
            await leased.pipeline.until_room()
        del self._waiting_for_room[leased.endpoint_id]
        self.add([leased])

    async def _catch_up(self) -> None:
        """Have those catch up that are to, in groups."""
        groups: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._catch_up_asked.clear()
                for ended in [group for group in groups if group.done()]:
                    groups.remove(ended)
                    ended.result()
                while len(groups) < _MOST_GROUPS and (
                    members := self._next_group(last=len(groups) == _MOST_GROUPS - 1)
                ):
                    group = asyncio.create_task(self._catch_up_together(members))
                    group.add_done_callback(lambda _: self._catch_up_asked.set())
                    groups.add(group)
                await self._catch_up_asked.wait()
        finally:
            await end([*groups, *self._waiting_for_room.values()])

    def _next_group(self, *, last: bool) -> dict[EndpointId, LeasedEndpoint]:
        """Take those that catch up together, if any may."""
        group = catch_up_group(self._to_catch_up.values(), self._position, last=last)
        return {leased.endpoint_id: self._to_catch_up.pop(leased.endpoint_id) for leased in group}

    async def _catch_up_together(self, group: dict[EndpointId, LeasedEndpoint]) -> None:
        """Read from the lowest position to the end of the log."""
        reads = object()
        self._read_at[reads] = self._now()
        try:
            async for _ in self._pages_of_group(group):
                self._read_at[reads] = self._now()
        finally:
            del self._read_at[reads]

    async def _pages_of_group(self, group: dict[EndpointId, LeasedEndpoint]) -> AsyncIterator[None]:
        """Hand pages over to a group until it follows or is empty; yield as long as something moves."""
        position = next(iter(group.values())).position
        has: dict[EndpointId, Position] = {}
        if any(leased.position != position for leased in group.values()):
            has = {endpoint_id: leased.position for endpoint_id, leased in group.items()}
            position = lowest(has.values())
        while group:
            members = len(group)
            if not any(leased.has_room for leased in group.values()):  # The page would be read in vain.
                for endpoint_id in list(group):
                    self._leave_for_want_of_room(group, endpoint_id, _joined(position, has.get(endpoint_id)))
                return
            page = await self._read_for_group(position, group, has)
            yield
            if page.at_end and group:
                # Those that follow are handed over nothing meanwhile, so this has all that they have. What is committed
                # later wakes the reader that reads for them.
                async with self._between_pages:
                    page = await self._read_for_group(page.position, group, has)
                    if page.at_end:
                        self._follow(group, page.position)
                        return
                yield
            position = page.position
            if has and group and len(group) < members:
                # Whoever was furthest behind may be among those that have dropped out.
                position = further(lowest(has[endpoint_id] for endpoint_id in group), position)
            # As long as deliveries are made, the next page has time. If none is, some endpoint is stuck, and drops out.
            while self._in_memory.is_full and await self._in_memory.until_fewer(_WAIT_FOR_PROGRESS_SECONDS):
                yield

    async def _read_for_group(
        self, position: Position, group: dict[EndpointId, LeasedEndpoint], has: Mapping[EndpointId, Position]
    ) -> Page:
        """Read a page for a group, and take out of it who stops, has no room, or may or may not want it."""
        for endpoint_id in [endpoint_id for endpoint_id, leased in group.items() if leased.stopping]:
            del group[endpoint_id]
        page, wanted, undecided = await self._wanted(position, group, has)
        later = [group.pop(endpoint_id) for endpoint_id in undecided if endpoint_id in group]
        for leased in later:
            leased.position = _joined(position, has.get(leased.endpoint_id))
        self._add_later(later)
        with ExitStack() as stack:
            wanted, meanwhile = await self._with_known(wanted, group, stack)
            for endpoint_id, changes in wanted.items():
                leased, already = group[endpoint_id], has.get(endpoint_id)
                before = _joined(position, already)
                if leased.stopping:
                    continue
                if not _give(leased, _part(page, changes, already), meanwhile.get(endpoint_id), before, None):
                    self._leave_for_want_of_room(group, endpoint_id, before)
        return page

    def _leave_for_want_of_room(
        self, group: dict[EndpointId, LeasedEndpoint], endpoint_id: EndpointId, position: Position
    ) -> None:
        leased = group.pop(endpoint_id)
        if leased.stopping:  # The last page may not have been handed over to it: its position stays where it was.
            return
        leased.position = position
        self._wait_for_room(leased)

    def _follow(self, group: Endpoints, position: Position) -> None:
        """Have endpoints follow that have all that is committed up to now."""
        if not self._following:
            self._read_at[self] = self._now()
        if self._position is None or not (self._following or self._holding):
            self._position = position
            self._shared.start(position)
            self._ahead.clear()
        for endpoint_id, leased in group.items():
            if leased.stopping:
                continue
            leased.position = position
            leased.is_following = leased.is_caught_up = True
            if leased.pipeline is not None:
                leased.pipeline.caught_up()
            self._following[endpoint_id] = leased
            if position != self._position:
                self._ahead[endpoint_id] = position
        self._followed.set()

    async def _wanted(
        self, position: Position, endpoints: Endpoints, has: Mapping[EndpointId, Position]
    ) -> tuple[Page, dict[EndpointId, list[LoggedChange]], Collection[EndpointId]]:
        """Read a page; return it with what is new in it to each endpoint, and of whom that cannot be said now."""
        await self._in_memory.until_loaded()
        page = await self._changes.read_page(position, self._page_size)
        wanted: dict[EndpointId, list[LoggedChange]] = {}
        if not page.changes:
            return page, wanted, ()
        reservation_ids = {logged.change.reservation_id for logged in page.changes}
        among = None if endpoints is self._following else endpoints.keys()
        routes = await self._routing.route(reservation_ids, among)
        for logged in page.changes:
            for endpoint_id in routes.endpoints[logged.change.reservation_id]:
                if endpoint_id not in endpoints or endpoint_id in routes.undecided:
                    continue
                already = has.get(endpoint_id)
                if already is None or not already.has(logged.xid, logged.change.seq):
                    wanted.setdefault(endpoint_id, []).append(logged)
        return page, wanted, routes.undecided

    async def _with_known(
        self, wanted: dict[EndpointId, list[LoggedChange]], endpoints: Endpoints, stack: ExitStack
    ) -> tuple[dict[EndpointId, list[LoggedChange]], dict[EndpointId, DeliveredMeanwhile]]:
        """Ask the delivery logs of endpoints for changes that they may know; return those that they have not recorded.

        Args:
            wanted: What each endpoint is to get.
            endpoints: The endpoints.
            stack: Until it ends, what is delivered is noted.
        """
        meanwhile: dict[EndpointId, DeliveredMeanwhile] = {}
        asked_of: dict[EndpointId, EndpointPipeline | None] = {}
        wanted = dict(wanted)
        while True:
            wanted = {endpoint_id: changes for endpoint_id, changes in wanted.items() if endpoint_id in endpoints}
            doubtful = {
                endpoint_id: changes
                for endpoint_id, changes in wanted.items()
                if changes[0].change.seq <= endpoints[endpoint_id].highest_known
                # One that was made meanwhile may have delivered something.
                and asked_of.get(endpoint_id, ...) is not endpoints[endpoint_id].pipeline
            }
            if not doubtful:
                return wanted, meanwhile
            for endpoint_id in doubtful:
                pipeline = asked_of[endpoint_id] = endpoints[endpoint_id].pipeline
                if pipeline is not None:
                    meanwhile[endpoint_id] = stack.enter_context(pipeline.reading())
            for endpoint_id, changes in (await self._changes.known(doubtful)).items():
                if all(logged.recorded for logged in changes):
                    del wanted[endpoint_id]
                else:
                    wanted[endpoint_id] = changes


def _joined(position: Position, has: Position | None) -> Position:
    return position if has is None else has.with_all_of(position)


def _part(page: Page, changes: Sequence[LoggedChange], has: Position | None) -> Page:
    return Page(tuple(changes), _joined(page.position, has), page.at_end)


def _give(
    leased: LeasedEndpoint,
    page: Page,
    meanwhile: DeliveredMeanwhile | None,
    before: Position,
    shared: PageUnderWay | None,
) -> bool:
    """Hand a page over to an endpoint; return whether it has room for it."""
    if not leased.has_room:
        return False
    leased.activate().hand_over(page, meanwhile or DeliveredMeanwhile(), before, shared if leased.follows else None)
    # A change with a lower number may be in a later page.
    leased.known_seq = max(leased.known_seq, page.changes[-1].change.seq)
    return True
