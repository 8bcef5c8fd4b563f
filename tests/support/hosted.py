"""A hosted e-Res under random changes, and the account of what the endpoint of each restaurant got.

A reservation's ``duration`` is its version: each change adds one. Its ``reference`` says which restaurant it belongs to
(:mod:`~tests.support.restaurants`); some reservations are moved from one to another.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.transport.message import history_of
from tests.support.bridge import SECRET, Bridge
from tests.support.databases import Database
from tests.support.deaths import ports_of
from tests.support.figures import Figures
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.restaurants import add_restaurants
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.support.workload import chosen_seed

RESERVATIONS_EACH = 3
"""Of each restaurant at first; the last one is moved."""
_WRITERS = 3
_LONGEST_PAUSE_SECONDS = 0.05
_MOST_AT_ONCE = 15
"""Restaurants whose reservations one transaction changes. More write a million changes while daemons are killed."""
_LOOK_AGAIN_SECONDS = 0.2
_SHOWN = 10
"""Of what is wrong."""
_ROLLED_BACK = "rolled back"
_EXPECTED_FAILURES = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

_SET_UP = """
insert into reservations (id, cust_id, reference, duration)
select case part when %(each)s then 'MOVED-' else 'R-' end || n || '-' || part, 'C', n, 1
from generate_series(0, %(restaurants)s - 1) as n, generate_series(1, %(each)s) as part
"""
_CHANGE = "update reservations set duration = duration + 1, notes = %(notes)s where id = any (%(ids)s)"
_MOVE = """
update reservations set duration = duration + 1, reference = %(to)s, notes = %(notes)s where id = any (%(ids)s)
"""
_CREATE = """
insert into reservations (id, cust_id, reference, duration, notes)
values ('NEW-' || gen_random_uuid(), 'C', %(to)s, 1, %(notes)s)
"""
_LOCK = "select from reservations where id = any (%(ids)s) order by id for update"
_CHANGE_ALL = """
with locked as materialized (select id from reservations where id like %(like)s order by id for update)
update reservations r set duration = duration + 1 from locked where r.id = locked.id
"""

_IS_UNSETTLED = """
select exists (
  select
  from (
    select distinct p.position::text as position from cdc_bridge.endpoint_position p where p.name <> all (%(but)s)
  ) as here
  cross join lateral (
    select
    from cdc_bridge.change c
    where c.xid >= pg_snapshot_xmin(here.position::pg_snapshot)
      and not pg_visible_in_snapshot(c.xid, here.position::pg_snapshot)
    limit 1
  ) as unread
) or exists (
  select
  from cdc_bridge.delivery d
  join cdc_bridge.endpoint e using (endpoint_id)
  where d.next_attempt_at is not null and e.name <> all (%(but)s)
)
"""
_NOW = "select id, reference, duration from reservations"
_CHANGES = """
select c.reservation_id, min(c.seq) from cdc_bridge.change c group by c.xid, c.reservation_id
"""
_DELIVERIES = """
select e.name, d.reservation_id, d.seq, d.state
from cdc_bridge.delivery d
join cdc_bridge.endpoint e using (endpoint_id)
"""


@dataclass(frozen=True, slots=True)
class Got:
    """What an endpoint got."""

    sequence: int
    seq: int
    restaurant: int
    version: int
    notes: str


@dataclass(frozen=True)
class Account:
    """How what the endpoints got compares with the database. All but the last should be empty."""

    of_another_restaurant: Sequence[object]
    rolled_back: Sequence[object]
    back_in_time: Sequence[object]
    not_the_last: Sequence[object]
    missing: Sequence[object]
    times: Counter[int]
    """How many deliveries were made so often."""

    @property
    def duplicates(self) -> int:
        return sum((often - 1) * number for often, number in self.times.items())

    def assert_promises_kept(self) -> None:
        broken = [
            "\n  ".join((f"{name}: {len(value)}", *map(str, value[:_SHOWN])))
            for name, value in vars(self).items()
            if not isinstance(value, Counter) and value
        ]
        if broken:
            pytest.fail("\n".join(broken))


class Hosted:
    """Restaurants in one database, each with an endpoint, ``e0``, ``e1`` and so on."""

    def __init__(self, database: Database, figures: Figures) -> None:
        self.database = database
        self._figures = figures
        self.seed = chosen_seed()
        self.chance = random.Random(self.seed)
        self.restaurants = 0
        self.number_got = 0
        self.got: dict[tuple[str, str], list[Got]] = defaultdict(list)
        """By the endpoint's name and the reservation."""
        self._receivers: Sequence[Receiver] = ()
        self._dead: set[int] = set()
        """Ports of daemons that were killed, as long as not everything is read that they had sent."""

    def got_by(self, names: Collection[str]) -> int:
        """Return how many deliveries some endpoints got."""
        return sum(len(each) for (name, _), each in self.got.items() if name in names)

    @property
    def names(self) -> list[str]:
        """The names of the endpoints."""
        return [f"e{number}" for number in range(self.restaurants)]

    def open(
        self, restaurants: int, receivers: Sequence[Receiver], ca_file: Path, *, timeout_seconds: float = 15
    ) -> None:
        """Add restaurants with reservations, and their endpoints, which begin with these."""
        self.restaurants = restaurants
        self._receivers = receivers
        for receiver in receivers:
            receiver.keep_requests = False
            receiver.on_delivered = self._note
        self.database.execute("insert into customers (id) values ('C')")
        self.database.execute(_SET_UP, {"restaurants": restaurants, "each": RESERVATIONS_EACH})
        add_restaurants(
            self.database,
            restaurants,
            [receiver.url for receiver in receivers],
            ca_file,
            secret=SECRET,
            timeout_seconds=timeout_seconds,
        )

    async def kill(self, bridge: Bridge) -> None:
        """Kill a daemon. What it has sent and nobody has read yet may be read after what another daemon sends."""
        bridge.send(signal.SIGSTOP)
        ports = ports_of(bridge.pid)
        self._dead |= ports
        await bridge.kill()

        def is_read() -> bool:
            return not any(receiver.ports & ports for receiver in self._receivers)

        await until(is_read, "everything is read that the dead daemon had sent")
        self._dead -= ports

    def _note(self, request: ReceivedRequest) -> None:
        if request.port in self._dead:
            return
        body = request.json
        got = Got(request.sequence, request.seq, body["reference"], body["duration"], body["notes"])
        self.got[endpoint_of(request), body["id"]].append(got)
        self.number_got += 1

    def page_size(self) -> str:
        """Return some size of the pages that a daemon reads."""
        return self.chance.choice(("5", "50", "500"))

    @asynccontextmanager
    async def changing(self, database: Database | None = None) -> AsyncIterator[None]:
        """Change, move and create reservations for as long as the block runs, or until the server is gone."""
        ended = asyncio.Event()
        tasks = [
            asyncio.create_task(self._change(database or self.database, ended, random.Random(self.seed + number)))
            for number in range(_WRITERS)
        ]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*tasks)

    async def _change(self, database: Database, ended: asyncio.Event, chance: random.Random) -> None:
        with suppress(psycopg.OperationalError):  # The server is gone.
            async with database.connection(autocommit=False) as connection:
                while not ended.is_set():
                    with suppress(*_EXPECTED_FAILURES):
                        await self._change_some(connection, chance)
                    await asyncio.sleep(chance.uniform(0, _LONGEST_PAUSE_SECONDS))

    async def _change_some(self, connection: AsyncConnection[TupleRow], chance: random.Random) -> None:
        commits = chance.random() < 0.9
        at = chance.sample(range(self.restaurants), chance.choice((1, 1, 1, 1, 5, _MOST_AT_ONCE)))
        kept = [f"R-{number}-{part}" for number in at for part in range(1, RESERVATIONS_EACH)]
        moved = [f"MOVED-{number}-{RESERVATIONS_EACH}" for number in at]
        parameters = {"to": chance.randrange(self.restaurants), "notes": "" if commits else _ROLLED_BACK}
        statement, ids = chance.choice(((_CHANGE, kept), (_CHANGE, moved), (_MOVE, moved), (_CREATE, [])))
        await connection.execute(_LOCK.encode(), {"ids": ids})
        await connection.execute(statement.encode(), parameters | {"ids": ids})
        await (connection.commit() if commits else connection.rollback())

    async def change_each(self, times: int, database: Database | None = None, *, like: str = "R-%") -> None:
        """Change the reservations that stay where they are, or others, so often."""
        async with (database or self.database).connection() as connection:
            for _ in range(times):
                await connection.execute(_CHANGE_ALL.encode(), {"like": like})

    async def arrived(self, more: int) -> None:
        """Wait until so many more deliveries have arrived; give up when none has for long."""
        goal = self.number_got + more
        await self._while_it_goes_on(lambda: self.number_got >= goal, f"{more} more deliveries")

    async def until_settled(self, database: Database | None = None, *, but: Collection[str] = ()) -> None:
        """Wait until every change is settled for every endpoint, or all but some."""
        asked = database or self.database
        parameters = {"but": list(but)}
        await self._while_it_goes_on(lambda: not asked.value(_IS_UNSETTLED, parameters), "everything is settled")

    async def _while_it_goes_on(self, is_done: Callable[[], bool], what: str) -> None:
        loop = asyncio.get_running_loop()
        before, since = self.number_got, loop.time()
        while not is_done():
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            if self.number_got != before:
                before, since = self.number_got, loop.time()
            elif loop.time() - since > PATIENCE_SECONDS:
                pytest.fail(f"{what}: {self.number_got} deliveries arrived, and none for {PATIENCE_SECONDS:g} s")

    def assert_promises_kept(
        self, database: Database | None = None, *, but: Collection[str] = (), begun: Mapping[str, int] | None = None
    ) -> Account:
        """Compare what the endpoints got with the database, once all is settled.

        Args:
            database: Another one than that of the beginning.
            but: Endpoints that are left out.
            begun: The number of the last change before the newest ones were added.
        """
        account = self._account(database or self.database, but, begun or {})
        self._figures(f"{self.number_got} deliveries, {account.duplicates} duplicates")
        account.assert_promises_kept()
        return account

    def _account(self, database: Database, but: Collection[str], begun: Mapping[str, int]) -> Account:
        now = {id_: (f"e{restaurant}", version) for id_, restaurant, version in database.execute(_NOW)}
        states = {(name, seq): state for name, _, seq, state in database.execute(_DELIVERIES)}
        got = {pair: each for pair, each in self.got.items() if pair[0] not in but}
        newest = {pair: max(one.seq for one in each) for pair, each in got.items()}
        seqs = {pair: {one.seq for one in each} for pair, each in got.items()}
        times = Counter((pair, one.sequence) for pair, each in got.items() for one in each)
        missing = []
        for id_, seq in database.execute(_CHANGES):
            name = now[id_][0]
            if id_.startswith("MOVED") or name in but or seq <= begun.get(name, 0) or seq in seqs.get((name, id_), ()):
                continue
            if not (states.get((name, seq)) == "superseded" and newest.get((name, id_), 0) > seq):
                missing.append((name, id_, seq, states.get((name, seq))))
        return Account(
            of_another_restaurant=[
                (*pair, one) for pair, each in got.items() for one in each if pair[0] != f"e{one.restaurant}"
            ],
            rolled_back=[(*pair, one) for pair, each in got.items() for one in each if one.notes == _ROLLED_BACK],
            back_in_time=[
                (*pair, earlier, later)
                for pair, each in got.items()
                for earlier, later in pairwise(each)
                if _is_before(later, earlier, may_move=pair[1].startswith("MOVED"))
            ],
            not_the_last=[
                (name, id_, version, got[name, id_][-1:])
                for id_, (name, version) in now.items()
                if name not in but and [one.version for one in got.get((name, id_), [])[-1:]] != [version]
            ],
            missing=missing,
            times=Counter(times.values()),
        )


def _is_before(later: Got, earlier: Got, *, may_move: bool) -> bool:
    # A daemon that died may have delivered the change by which a reservation became this restaurant's. Its successor
    # reads older changes too, which the dead one had found to be another's. It delivers them as the reservation is now.
    if later.sequence < earlier.sequence and not may_move:
        return True
    # A fail-over may have lost the version that was delivered.
    return history_of(later.sequence) == history_of(earlier.sequence) and later.version < earlier.version


def endpoint_of(request: ReceivedRequest) -> str:
    """Return the name of the endpoint that a request was sent to."""
    return request.path.rpartition("/")[2]
