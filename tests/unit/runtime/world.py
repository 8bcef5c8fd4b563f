"""A bridge without PostgreSQL: all that delivers to endpoints, over a model of the tables, in virtual time.

The parts are the daemon's own: :class:`~cdc_bridge.runtime.delivering.SharedDelivering`, the supervisor, the pipelines.
The model knows their statements by name, and does what the SQL does. Each operation is done at once, but takes some
time before and after, in which others go on; now and then it is repeated, as if the connection had been lost after
COMMIT.

After each operation it is checked that nothing is lost if the daemon is killed now: whatever the written position of an
endpoint has, and the endpoint wants, is in its delivery log.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

import orjson
from psycopg.errors import LockNotAvailable

from cdc_bridge.capture.listener import Listener
from cdc_bridge.capture.position import Place, Position, Snapshot
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.endpoints.lease_store import NewLease, Release
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import LeaseLost, ServerReplaced, StatementFailed
from cdc_bridge.model import EndpointId, History, ReservationId, Seq, Xid
from cdc_bridge.payload.conditions import KnownConditions
from cdc_bridge.payload.loaded import Loaded, Reservation
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import all_queries
from cdc_bridge.runtime.delivering import Environment, SharedDelivering
from cdc_bridge.runtime.endpoint_log import EndpointLog
from cdc_bridge.runtime.leased_endpoint import LeasedEndpoint
from cdc_bridge.runtime.supervisor import Supervisor
from cdc_bridge.sessions import ServerIncarnation
from cdc_bridge.tasks import end
from cdc_bridge.transport.message import Message, seq_of
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome
from cdc_bridge.transport.places import Places
from cdc_bridge.transport.pools import ConnectionPools
from tests.unit.capture.model import ModelDatabase
from tests.unit.pipeline.scripted import NOW
from tests.unit.runtime.scripted import SERVER

PAGE_SIZE = 4
TABLE = 20000
FINISH_WITHIN_SECONDS = 7.0

_NAMES = {statement: name for name, statement in all_queries().items()}
_PENDING = {"queued", "retrying"}
_OVERTAKING = {"delivered", "superseded"}

_REPLICATED = (
    "log", "reservation_of", "changed_at", "newest", "merged", "_changes",
    "endpoints", "daemons", "deliveries", "_daemon_id",
)  # fmt: skip
"""What is in the database."""

T = TypeVar("T")
Key = tuple[EndpointId, Seq]


@dataclass(frozen=True)
class Delivery:
    """A row of the delivery log."""

    reservation_id: ReservationId
    state: str
    due_at: float | None
    attempts: int
    failures: int


@dataclass(frozen=True)
class EndpointRow:
    """A row of the endpoints."""

    position: Position
    following: bool = False
    fencing_token: int = 0
    daemon_id: int | None = None
    paused: bool = False
    disabled: bool = False


@dataclass
class Till:
    """What an endpoint wants, how it responds at present, and what it received."""

    name: str
    wants: frozenset[str]
    options: Mapping[str, Any]
    mood: str = "well"
    versions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The newest version of each reservation that it received, behind the number of the server that had it."""
    received: int = 0


def position_of(text: str | None, place_xid: str | None, place_seq: int | None) -> Position | None:
    if text is None:
        return None
    place = None if place_xid is None or place_seq is None else Place(Xid(int(place_xid)), Seq(place_seq))
    return Position(Snapshot.parse(text), place)


class Rows:
    """What a statement returns."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = list(rows)
        self.rowcount = len(rows)

    async def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class World:
    """The tables, those who write, and the endpoints. Its daemon is started and killed by the test."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.log = ModelDatabase(next_xid=10)
        self.reservation_of: dict[int, str] = {}
        self.changed_at: dict[int, datetime] = {}
        self.locked: dict[str, int] = {}
        """Reservations that a transaction has changed which is not committed yet."""
        self.newest: dict[str, int] = {}
        """The number of the newest committed change of each reservation: its version."""
        self.merged: dict[int, int] = {}
        """For each change, the first of its transaction and reservation: they are one change."""
        self.tills: dict[EndpointId, Till] = {}
        self.endpoints: dict[EndpointId, EndpointRow] = {}
        self.daemons: dict[int, Position | None] = {}
        self.deliveries: dict[Key, Delivery] = {}
        self.highest_delivered: dict[tuple[EndpointId, str], int] = {}
        self.rejected: set[Key] = set()
        """Deliveries that the delivery log rejects."""
        self.server = SERVER
        self.most_seconds = 0.02
        """How long a statement takes at most, before it is executed and after."""
        self.trouble = 0.02
        """How often the connection is lost."""
        self.most_in_memory = self.chance.choice([12, 60, 30_000])
        """Deliveries from which on each endpoint may only have its share."""
        self.release_fails = 0.0
        """How often a release is rejected."""
        self.locks = 0.0
        """How often somebody has locked a row that is to be written."""
        self.attempts: list[tuple[Key, dict[str, Any]]] = []
        """Those that are kept."""
        self.rejects_attempts = self.locks_attempts = False
        self.locked_deliveries: set[EndpointId] = set()
        """Endpoints of which somebody has locked deliveries."""
        self.undecided = 0.0
        """How often it cannot be said who wants a page."""
        self.listener = Listener(Database("host=unused"), use_notify=False, poll_interval_seconds=20.0)
        self._daemon_id = 0
        self._changes: list[tuple[int, int, str]] = []
        """Transaction, number and reservation of each committed change that stands for itself, in order."""
        self._checked: dict[EndpointId, tuple[Position, int]] = {}
        self.servers = 0
        """How many took over."""

    def replicate(self) -> None:
        """Have a standby catch up."""
        self._standby = copy.deepcopy({name: getattr(self, name) for name in _REPLICATED})

    def fail_over(self) -> None:
        """Have the standby take over, which may be behind: what was committed since is lost."""
        for name, value in copy.deepcopy(self._standby).items():
            setattr(self, name, value)
        self.log.running.clear()
        self.locked.clear()
        self._checked.clear()
        self.servers += 1
        self.server = replace(SERVER, timeline=f"{self.servers + 1:08d}")

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def add(self, name: str, wants: Collection[str], **options: Any) -> None:
        endpoint_id = EndpointId(len(self.tills) + 1)
        self.tills[endpoint_id] = Till(name, frozenset(wants), options)
        self.endpoints[endpoint_id] = EndpointRow(Position(self.log.snapshot()))
        self.replicate()

    # Those who write

    def begin(self) -> None:
        self.log.begin()

    def write(self) -> None:
        """Have a statement of an open transaction change some reservations."""
        if not self.log.running:
            return
        xid = self.chance.choice(sorted(self.log.running))
        statement_at = NOW + timedelta(milliseconds=self.log.next_seq)
        for reservation in self.chance.sample("abcdefgh", self.chance.choice([1, 1, 2, 3, 7])):
            if self.locked.get(reservation, xid) == xid:
                self.locked[reservation] = xid
                self.reservation_of[self.log.next_seq] = reservation
                self.changed_at[self.log.next_seq] = statement_at
                self.log.write(sorted(self.log.running).index(xid), 1)

    def end_transaction(self) -> None:
        if not self.log.running:
            return
        xid = self.chance.choice(sorted(self.log.running))
        commits = self.chance.random() < 0.9
        seqs = self.log.running[xid]
        self.log.end(sorted(self.log.running).index(xid), commit=commits)
        self.locked = {reservation: by for reservation, by in self.locked.items() if by != xid}
        if not commits or not seqs:
            return
        first: dict[str, int] = {}
        for seq in seqs:
            reservation = self.reservation_of[seq]
            self.merged[seq] = first.setdefault(reservation, seq)
        self._changes += [(xid, seq, reservation) for reservation, seq in first.items()]
        for reservation, seq in first.items():
            self.newest[reservation] = max(seq, self.newest.get(reservation, 0))
        self.listener._wake_readers()

    # What is proved

    def written_position(self, endpoint_id: EndpointId) -> Position:
        row = self.endpoints[endpoint_id]
        if not row.following:
            return row.position
        assert row.daemon_id is not None
        position = self.daemons[row.daemon_id]
        assert position is not None, f"endpoint {endpoint_id} follows a daemon without a position"
        return position

    def check(self) -> None:
        """Check that, if the daemon is killed now, the next one knows of each change that has not arrived."""
        for endpoint_id, till in self.tills.items():
            position = self.written_position(endpoint_id)
            if self._checked.get(endpoint_id) == (position, len(self._changes)):
                continue
            for xid, seq, reservation in self._changes:
                if reservation in till.wants and position.has(Xid(xid), Seq(seq)):
                    assert (endpoint_id, seq) in self.deliveries, f"{till.name}: change {seq} of {reservation} is lost"
            self._checked[endpoint_id] = (position, len(self._changes))

    def unsettled(self) -> list[str]:
        """Return what has not arrived that should, in words."""
        found = []
        for endpoint_id, till in self.tills.items():
            for reservation in till.wants & self.newest.keys():
                delivery = self.deliveries.get((endpoint_id, Seq(self.newest[reservation])))
                state = None if delivery is None else delivery.state
                version = till.versions.get(reservation, (0, 0))[1]
                if state != "dead" and (state != "delivered" or version < self.newest[reservation]):
                    found.append(f"{till.name}: {reservation} is {state}, {till.versions.get(reservation)}")
        return found

    # What people do

    def set_paused(self, endpoint_id: EndpointId, *, paused: bool) -> None:
        row = self.endpoints[endpoint_id]
        self.endpoints[endpoint_id] = replace(row, paused=paused, disabled=row.disabled and paused)

    def make_due(self) -> None:
        """Have all retries made now."""
        for key, row in self.deliveries.items():
            if row.due_at is not None:
                self.deliveries[key] = replace(row, due_at=min(row.due_at, self.now))

    # Leases

    def register(self) -> Registration:
        self._daemon_id += 1
        self.daemons[self._daemon_id] = None
        registration = Registration(self._daemon_id, self.server, History(1), table=TABLE)
        registration.renew(Registration.now(), 1e9)
        return registration

    def end_daemon(self, daemon_id: int) -> None:
        if daemon_id not in self.daemons:
            return
        for endpoint_id, row in self.endpoints.items():
            if row.daemon_id == daemon_id:
                position = self.written_position(endpoint_id)
                self.endpoints[endpoint_id] = replace(row, position=position, following=False, daemon_id=None)
        del self.daemons[daemon_id]
        self.check()

    def acquire(self, registration: Registration, endpoint_id: EndpointId) -> NewLease:
        row = self.endpoints[endpoint_id]
        assert row.daemon_id is None
        token = row.fencing_token + 1
        self.endpoints[endpoint_id] = replace(
            row, fencing_token=token, daemon_id=registration.daemon_id, following=False
        )
        highest = max((seq for id_, seq in self.deliveries if id_ == endpoint_id), default=Seq(0))
        return NewLease(Lease(endpoint_id, token, registration), row.position, highest, None)

    def finds_locked(self) -> bool:
        """Return whether somebody has locked a row just now."""
        return self.chance.random() < self.locks

    def release(self, lease: Lease, *, disable: bool) -> bool:
        """Release an endpoint; return whether its row is not locked."""
        row = self.endpoints[lease.endpoint_id]
        if self.finds_locked():
            return False
        if lease.registration.daemon_id in self.daemons and self.is_ours(
            lease.endpoint_id, lease.fencing_token, lease.registration.daemon_id
        ):
            position = self.written_position(lease.endpoint_id)
            self.endpoints[lease.endpoint_id] = replace(
                row, position=position, following=False, daemon_id=None, disabled=row.disabled or disable
            )
            self.check()
        return True

    def is_ours(self, endpoint_id: EndpointId, fencing_token: int, daemon_id: int) -> bool:
        row = self.endpoints[endpoint_id]
        return (row.fencing_token, row.daemon_id) == (fencing_token, daemon_id)


class Information:
    """What is known of a session."""

    def parameter_status(self, name: str) -> str:
        assert name == "server_encoding"
        return "UTF8"


class Connection:
    """Does what the SQL does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._locked: dict[EndpointId, bool] = {}
        self.info = Information()

    def _finds_locked(self, endpoint_id: EndpointId) -> bool:
        """Return whether somebody else has locked an endpoint's row: what a transaction has locked stays its own."""
        if endpoint_id not in self._locked:
            self._locked[endpoint_id] = self._world.finds_locked()
        return self._locked[endpoint_id]

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        world = self._world
        before = dict(world.endpoints), dict(world.daemons), dict(world.deliveries)
        attempts = len(world.attempts)
        try:
            yield
        except BaseException:
            world.endpoints, world.daemons, world.deliveries = before
            del world.attempts[attempts:]
            raise

    async def execute(self, statement: str, parameters: Mapping[str, Any] = {}) -> Rows:
        return Rows(getattr(self, f"_{_NAMES[statement]}")(**parameters))

    # The change log

    def _read_page(
        self,
        in_progress: Sequence[str],
        place_xid: str | None,
        place_seq: int | None,
        from_xid: str,
        limit: int,
        max_bytes: int,
    ) -> list[tuple[Any, ...]]:
        assert max_bytes > limit
        late, in_part = {int(xid) for xid in in_progress}, None if place_xid is None else int(place_xid)
        rows = []
        for xid, seq in self._world.log.visible():
            if xid == in_part and place_seq is not None and seq > place_seq:
                rows.append((1, xid, seq))
            if xid in late or xid >= int(from_xid):
                rows.append((2, xid, seq))
        snapshot = str(self._world.log.snapshot())
        found = [
            (snapshot, xid, seq, self._world.reservation_of[seq], "U", self._world.changed_at[seq], 1)
            for _, xid, seq in sorted(rows)[:limit]
        ]
        return found or [(snapshot, None, None, None, None, None, None)]

    def _changed_earlier_in_transaction(
        self, xid: str, seq: int, reservation_ids: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        committed = self._world.log.committed[int(xid)]
        earlier = {self._world.reservation_of[one] for one in committed if one <= seq}
        return [(reservation,) for reservation in earlier & set(reservation_ids)]

    def _known_deliveries(
        self, endpoint_ids: Sequence[EndpointId], seqs: Sequence[Seq], reservation_ids: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        wanted = zip(endpoint_ids, seqs, reservation_ids, strict=True)
        return [
            ((endpoint_id, seq) in self._world.deliveries, self._overtaken(endpoint_id, seq, reservation))
            for endpoint_id, seq, reservation in wanted
        ]

    def _overtaken(self, endpoint_id: EndpointId, seq: int, reservation: str) -> bool:
        return any(
            id_ == endpoint_id and one.reservation_id == reservation and newer > seq and one.state in _OVERTAKING
            for (id_, newer), one in self._world.deliveries.items()
        )

    # The delivery log

    def _hold_registration(
        self,
        daemon_id: int,
        daemon_table: int,
        endpoint_ids: Sequence[EndpointId],
        fencing_tokens: Sequence[int],
        lock_timeout: str,
    ) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        if daemon_id not in self._world.daemons:
            return []
        ours = zip(endpoint_ids, fencing_tokens, strict=True)
        return [([id_ for id_, token in ours if not self._world.is_ours(id_, token, daemon_id)], lock_timeout)]

    def _move_daemon(
        self, daemon_id: int, daemon_table: int, position: str, place_xid: str | None, place_seq: int | None
    ) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        if daemon_id in self._world.daemons:
            self._world.daemons[daemon_id] = position_of(position, place_xid, place_seq)
        return []

    def _keep_attempts(self, daemon_id: int, daemon_table: int, attempts: str) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        world = self._world
        if world.rejects_attempts:
            raise StatementFailed("a statement failed: a trigger")
        if world.locks_attempts:
            raise LockNotAvailable
        for row in orjson.loads(attempts):
            key = EndpointId(row["endpoint_id"]), Seq(row["seq"])
            if daemon_id in world.daemons and world.is_ours(key[0], row["fencing_token"], daemon_id):
                world.attempts.append((key, row))
        return []

    def _record_deliveries(self, daemon_id: int, daemon_table: int, settlements: str) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        world, seen = self._world, set()
        for row in orjson.loads(settlements):
            if row["endpoint_id"] in world.locked_deliveries or world.finds_locked():
                raise LockNotAvailable
            key = EndpointId(row["endpoint_id"]), Seq(row["seq"])
            if key in world.rejected or key in seen:
                raise StatementFailed("a statement failed: too long")
            seen.add(key)
            if daemon_id in world.daemons and world.is_ours(key[0], row["fencing_token"], daemon_id):
                due_at = None if row["pause"] is None else world.now + row["pause"]
                reservation = ReservationId(row["reservation_id"])
                world.deliveries[key] = Delivery(reservation, row["state"], due_at, row["attempts"], row["failures"])
        return []

    def _settle_older(
        self,
        daemon_id: int,
        daemon_table: int,
        endpoint_ids: Sequence[EndpointId],
        fencing_tokens: Sequence[int],
        seqs: Sequence[Seq],
        reservation_ids: Sequence[str],
        states: Sequence[str],
        skip_reasons: Sequence[str | None],
    ) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        world = self._world
        newest = zip(endpoint_ids, fencing_tokens, seqs, reservation_ids, states, skip_reasons, strict=True)
        for endpoint_id, token, seq, reservation, state, skip_reason in newest:
            if (
                state == "superseded"
                or skip_reason in {"event", "unchanged"}
                or not world.is_ours(endpoint_id, token, daemon_id)
            ):
                continue
            for key, row in list(world.deliveries.items()):
                if (
                    key[0] == endpoint_id
                    and key[1] < seq
                    and row.reservation_id == reservation
                    and row.state in _PENDING
                ):
                    settled = "superseded" if state == "delivered" else state
                    world.deliveries[key] = replace(row, state=settled, due_at=None)
        return []

    def _move_endpoints(
        self,
        daemon_id: int,
        daemon_table: int,
        endpoint_ids: Sequence[EndpointId],
        fencing_tokens: Sequence[int],
        positions: Sequence[str | None],
        place_xids: Sequence[str | None],
        place_seqs: Sequence[int | None],
        **_: object,
    ) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        world = self._world
        ours = zip(endpoint_ids, fencing_tokens, positions, place_xids, place_seqs, strict=True)
        written = []
        for endpoint_id, token, snapshot, place_xid, place_seq in ours:
            if self._finds_locked(endpoint_id) or not world.is_ours(endpoint_id, token, daemon_id):
                continue
            if (position := position_of(snapshot, place_xid, place_seq)) is not None:
                row = world.endpoints[endpoint_id]
                world.endpoints[endpoint_id] = replace(row, position=position, following=False)
            written.append((endpoint_id,))
        return written

    def _follow(
        self, daemon_id: int, daemon_table: int, endpoint_ids: Sequence[EndpointId], fencing_tokens: Sequence[int]
    ) -> list[tuple[Any, ...]]:
        assert daemon_table == TABLE
        world = self._world
        written = []
        for endpoint_id, token in zip(endpoint_ids, fencing_tokens, strict=True):
            if world.is_ours(endpoint_id, token, daemon_id) and not self._finds_locked(endpoint_id):
                world.endpoints[endpoint_id] = replace(world.endpoints[endpoint_id], following=True)
                written.append((endpoint_id,))
        return written

    # Retries

    def _due(self, endpoint_id: EndpointId, occupied: Collection[str] = ()) -> list[tuple[float, Seq, Delivery]]:
        return sorted(
            (row.due_at, seq, row)
            for (id_, seq), row in self._world.deliveries.items()
            if id_ == endpoint_id and row.due_at is not None and row.reservation_id not in occupied
        )

    def _next_due(self, endpoint_ids: Sequence[EndpointId]) -> list[tuple[Any, ...]]:
        found = ((endpoint_id, self._due(endpoint_id)) for endpoint_id in endpoint_ids)
        return [(endpoint_id, due[0][0] - self._world.now) for endpoint_id, due in found if due]

    def _seconds_until_next_due(self, endpoint_id: EndpointId, occupied: Sequence[str]) -> list[tuple[Any, ...]]:
        return [(at - self._world.now,) for at, _, _ in self._due(endpoint_id, occupied)[:1]]

    def _due_retries(
        self, endpoint_id: EndpointId, occupied: Sequence[str], limit: int, max_bytes: int
    ) -> list[tuple[Any, ...]]:
        assert max_bytes > limit
        due = [(seq, row) for at, seq, row in self._due(endpoint_id, occupied) if at <= self._world.now]
        return [
            (
                seq,
                row.reservation_id,
                "U",
                self._world.changed_at[seq],
                row.attempts,
                row.failures,
                self._overtaken(endpoint_id, seq, row.reservation_id),
            )
            for seq, row in due[:limit]
        ]

    def _with_newer_unread(self, endpoint_id: EndpointId, max_bytes: int) -> list[tuple[Any, ...]]:
        assert max_bytes > 0
        position = self._world.written_position(endpoint_id)
        unread: dict[str, int] = {}
        for xid, seq in self._world.log.visible():
            if not position.has(xid, seq):
                reservation = self._world.reservation_of[seq]
                unread[reservation] = max(seq, unread.get(reservation, 0))
        due = {row.reservation_id for _, seq, row in self._due(endpoint_id) if unread.get(row.reservation_id, 0) > seq}
        return [(reservation, 1) for reservation in due]


class Process:
    """A daemon's process, which may be killed."""

    def __init__(self) -> None:
        self.killed = False


class WorldDatabase:
    """One daemon's connections to the server that serves the database when they are opened."""

    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.process = process
        self._server = world.server

    def of_server(self, server: ServerIncarnation) -> WorldDatabase:
        found = WorldDatabase(self.world, self.process)
        found._server = server
        return found

    async def patiently(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        world = self.world
        while True:
            await self.pause()
            trouble = world.chance.random() / world.trouble if world.trouble else 1.0
            if trouble < 0.5:
                continue  # The connection was lost before.
            self.require_server()
            result = await operation(Connection(world))
            world.check()
            await self.pause()
            if trouble >= 1.0:
                return result

    async def pause(self) -> None:
        await asyncio.sleep(self.world.chance.random() * self.world.most_seconds)
        if self.process.killed:
            await asyncio.get_running_loop().create_future()

    def require_server(self) -> None:
        """Fail if another server serves the database."""
        if self.world.server != self._server:
            raise ServerReplaced


@dataclass(frozen=True)
class WorldRoutes:
    endpoints: Mapping[ReservationId, Collection[EndpointId]]
    undecided: Collection[EndpointId]


class WorldRouter:
    """Knows what the endpoints want that were added."""

    def __init__(self, database: WorldDatabase, _: object) -> None:
        self._database = database
        self.conditions = KnownConditions()
        self._known: set[EndpointId] = set()

    async def add(self, subscriptions: Mapping[EndpointId, Subscription]) -> None:
        await self._database.pause()
        self._database.require_server()
        self._known |= subscriptions.keys()

    def remove(self, endpoint_id: EndpointId) -> None:
        self._known.discard(endpoint_id)

    async def route(
        self, reservation_ids: Collection[ReservationId], among: Collection[EndpointId] | None = None
    ) -> WorldRoutes:
        world, asked = self._database.world, set(self._known if among is None else self._known & set(among))
        await self._database.pause()
        self._database.require_server()
        undecided = {endpoint_id for endpoint_id in asked if world.chance.random() < world.undecided}
        wanting = {
            reservation: [id_ for id_ in asked - undecided if reservation in world.tills[id_].wants]
            for reservation in reservation_ids
        }
        return WorldRoutes(wanting, undecided)


class WorldReservations:
    """Loads the versions of reservations."""

    def __init__(self, database: WorldDatabase, *, daemon_id: int, **_: object) -> None:
        self._database = database
        self._daemon_id = daemon_id
        self._endpoint_id = EndpointId(0)

    def of(self, endpoint_id: EndpointId, _: Subscription) -> WorldReservations:
        found = WorldReservations(self._database, daemon_id=self._daemon_id)
        found._endpoint_id = endpoint_id
        return found

    async def load(self, reservation_ids: Sequence[ReservationId], _: int) -> Loaded:
        world = self._database.world
        await self._database.pause()
        self._database.require_server()
        if self._daemon_id not in world.daemons:
            raise LeaseLost("ended")
        found = {id_: Reservation(id_, id_, f"{world.servers} {world.newest[id_]}".encode()) for id_ in reservation_ids}
        await self._database.pause()
        return Loaded(found)


class WorldTransport:
    """Sends requests to an endpoint, which responds as it is in the mood for."""

    def __init__(self, world: World, process: Process, endpoint_id: EndpointId) -> None:
        self._world = world
        self._process = process
        self._endpoint_id = endpoint_id
        self._till = world.tills[endpoint_id]

    async def send(self, message: Message) -> Attempt | None:
        chance, till = self._world.chance, self._till
        assert message.subject is not None
        assert message.sequence is not None
        server, version = (int(number) for number in message.body.split())
        if server == self._world.servers:
            delivered = [
                seq
                for (id_, seq), row in self._world.deliveries.items()
                if id_ == self._endpoint_id and row.reservation_id == message.subject and row.state == "delivered"
            ]
            newest = max(delivered, default=0)
            assert seq_of(message.sequence) >= newest, f"{message.sequence} is sent after {newest}"
        slow = till.mood == "slow"
        before = chance.random() * (9.0 if slow else 0.02)
        await asyncio.sleep(before)
        if self._process.killed:
            await asyncio.get_running_loop().create_future()
        outcome = self._outcome()
        if isinstance(outcome, Delivered):
            before_this = till.versions.get(message.subject, (0, 0))
            assert (server, version) >= before_this, f"{message.subject} went back to {version}"
            till.versions[message.subject] = server, version
            till.received += 1
        after = chance.random() * 0.01
        await asyncio.sleep(after)
        return Attempt(message.id, NOW, before + after, outcome)

    def _outcome(self) -> Outcome:
        chance, till = self._world.chance, self._till
        match till.mood:
            case "down":
                return Failed(503, "HTTP 503", Fault.ENDPOINT)
            case "rejecting" if chance.random() < 0.4:
                return Failed(422, "HTTP 422", Fault.DELIVERY)
            case "unreliable" if chance.random() < 0.3:
                return Failed(503, "HTTP 503", Fault.ENDPOINT)
            case "gone":
                return Failed(410, "HTTP 410", Fault.WITHDRAWN)
            case _:
                return Delivered(200)


class WorldStore:
    """Releases leases."""

    def __init__(self, database: WorldDatabase) -> None:
        self._database = database

    async def release(self, registration: Registration, releases: Sequence[Release]) -> frozenset[EndpointId]:
        async def release(_: object) -> frozenset[EndpointId]:
            assert all(each.lease.registration is registration for each in releases)
            world = self._database.world
            left = [each.lease for each in releases if not world.release(each.lease, disable=each.disable)]
            return frozenset(lease.endpoint_id for lease in left)

        chance = self._database.world.chance
        await asyncio.sleep(chance.choice([0.0, 0.0, chance.random() * 4.0, chance.random() * 10.0]))
        if chance.random() < self._database.world.release_fails:
            raise StatementFailed("a statement failed: a value cannot be used where it stands")
        with suppress(ServerReplaced):
            return await self._database.of_server(registration.server).patiently(release)
        return frozenset()


class WorldDelivering(SharedDelivering):
    """The real one, with transports of this world."""

    world: World
    process: Process

    def open_transport(self, _: Endpoint, lease: Lease) -> WorldTransport:  # type: ignore[override]
        return WorldTransport(self.world, self.process, lease.endpoint_id)


class Bridge:
    """A daemon: what delivers, and what leases, from its start until it is killed or stopped."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process()
        self.database = WorldDatabase(world, self.process)
        self.delivering: WorldDelivering | None = None
        places = Places(10_000)
        self._environment = Environment(
            self.database,  # type: ignore[arg-type]
            world.listener,
            places,
            ConnectionPools(),
            source="/tests",
            page_size=PAGE_SIZE,
            max_body_bytes=1000,
            hard_to_route={},
            hard_to_load={},
            payload_invalid=lambda *_: None,
        )
        self.supervisor = Supervisor(
            self._deliver, WorldStore(self.database), EndpointLog(), finish_within_seconds=FINISH_WITHIN_SECONDS
        )
        self.registration: Registration | None = None
        self._work = [asyncio.create_task(work) for work in (self._lease(), world.listener.run())]

    def _deliver(self, registration: Registration, leased: Mapping[EndpointId, LeasedEndpoint]) -> SharedDelivering:
        self.delivering = WorldDelivering(self._environment, registration, leased)
        self.delivering.world, self.delivering.process = self.world, self.process
        self.delivering._in_memory._most = self.world.most_in_memory
        return self.delivering

    async def _lease(self) -> None:
        """Do what the coordinator does."""
        world, supervisor = self.world, self.supervisor
        while True:
            await asyncio.sleep(world.chance.random() * 0.6)
            if self.registration is None or not self._is_registered:
                if self.registration is not None:
                    replaced = self.registration.server != world.server
                    await supervisor.lose(finish=replaced)
                for daemon_id in list(world.daemons):
                    world.end_daemon(daemon_id)  # Nobody else is live.
                self.registration = world.register()
                supervisor.begin(self.registration)
            for leased in supervisor.leased:
                row = world.endpoints[leased.endpoint_id]
                if (row.paused or row.disabled) and not leased.stopping:
                    supervisor.stop(leased.endpoint_id)
            free = [
                endpoint_id
                for endpoint_id, row in world.endpoints.items()
                if row.daemon_id is None
                and not (row.paused or row.disabled)
                and endpoint_id not in supervisor.pauses
                and not supervisor.leases(endpoint_id)
            ]
            if free:
                acquired = [(self._definition_of(id_), world.acquire(self.registration, id_)) for id_ in free]
                await self.database.pause()
                if self._is_registered:
                    await supervisor.start(acquired)
            if supervisor.failed.done():
                supervisor.failed.result()

    @property
    def _is_registered(self) -> bool:
        registration, world = self.registration, self.world
        return (
            registration is not None and registration.server == world.server and registration.daemon_id in world.daemons
        )

    def _definition_of(self, endpoint_id: EndpointId) -> Endpoint:
        till = self.world.tills[endpoint_id]
        return Endpoint(name=till.name, url="https://till.example", **till.options)

    def result(self) -> None:
        """Raise what ended it, if it has ended."""
        for work in self._work:
            if work.done():
                work.result()

    async def kill(self) -> None:
        self.process.killed = True
        await end(self._work)
        await self.supervisor.close()
        self._end_registration()

    async def stop(self) -> None:
        """Stop as after SIGTERM."""
        await end(self._work)
        self.supervisor.stop_all()
        await self.supervisor.ended()
        self._end_registration()
        await self.supervisor.close()

    def _end_registration(self) -> None:
        if self.registration is not None:
            self.world.end_daemon(self.registration.daemon_id)
