"""Endpoints with random payloads, conditions and events under random changes: each gets what SQL says, and no more.

A trigger of the test keeps every version of every reservation that is committed. Which versions an endpoint is to get,
PostgreSQL says of these rows; what a body of one looks like, the test says. Every request has to be such a version, in
order; and the last request has to be the last version, whatever was killed, rolled back, deleted or moved in and out of
a filter meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cdc_bridge.payload.subscription import Condition
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Manner, Response
from tests.support.waiting import until
from tests.support.workload import chosen_seed

SECONDS = chosen(6.0, 30.0)
ENDPOINTS = 5
WRITERS = 3
IDS = [f"R{number:02}" for number in range(24)]
ROOMS = ("Restaurant", "Bar", "Terrace", "Bar, upstairs", '12" table', "")
STATUSES = ("Confirmed", "Requested", "100% sure")
GUESTS = {
    "C1": {"surname": "Murt", "email": "guest-one@example.org"},
    "C2": {"surname": "O'Hara", "email": "guest-two@example.org"},
}
ROLLED_BACK = "was rolled back"

OF_RESERVATION = ("room_name", "status", "tables", "adults", "children", "notes", "cancelled")
OF_CUSTOMER = ("customer.surname", "customer.email")
WHERE = {
    "room_name": ("r.room_name <> 'Bar'", "r.room_name in ('Restaurant', 'Terrace')"),
    "adults": ("r.adults >= 3", "r.adults % 2 = 0"),
    "status": ("r.status = 'Confirmed'",),
    "cancelled": ("r.cancelled = 'F'",),
}
VALUES: dict[str, Sequence[str]] = {
    "room_name": ROOMS,
    "adults": ("1", "2", "3", "4", "5"),
    "status": STATUSES,
    "cancelled": ("T", "F"),
}

KEEP_VERSIONS = """
create table public.version (
  number bigint generated always as identity primary key, xid xid8 not null default pg_current_xact_id(),
  id text not null, operation text not null, content jsonb
);
create function public.keep_version() returns trigger language plpgsql as $$
begin
  insert into public.version (id, operation, content)
  values (coalesce(new.id, old.id), tg_op, case tg_op when 'DELETE' then null else to_jsonb(new) end);
  return null;
end $$;
create trigger keep_version after insert or update or delete on public.reservations
  for each row execute function public.keep_version();
"""
UNSETTLED = "select coalesce(sum(unread + pending), 0) from cdc_bridge.endpoint_status"
MAKE_DUE = """
update cdc_bridge.delivery set next_attempt_at = now() where next_attempt_at is not null;
notify cdc_bridge_endpoint
"""
ONLY_SKIPPED = """
select endpoint_id, reservation_id, json_agg(d order by seq)
from cdc_bridge.delivery d
group by endpoint_id, reservation_id
having bool_and(
  state = 'skipped'
  and attempts = 0
  and not exists (select from cdc_bridge.attempt a where a.endpoint_id = d.endpoint_id and a.seq = d.seq)
)
"""
"""What was never to be sent costs no row. An attempt that failed does, also if the reservation is then left out."""


@dataclass(frozen=True)
class Payload:
    """A payload definition: its columns, as name and where the value comes from, and what it leaves out."""

    name: str
    query: str
    columns: dict[str, str]
    where: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What an endpoint is to get."""

    name: str
    payload: Payload
    only: tuple[Condition, ...]
    events: str
    skip_unchanged: bool
    latest_only: bool

    def body_of(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a version."""
        body: dict[str, Any] = {}
        for name, source in self.payload.columns.items():
            if name.startswith("@"):
                continue
            outer, dot, inner = name.partition(".")
            if dot:
                body.setdefault(outer, {})[inner] = GUESTS[content["cust_id"]][inner]
            else:
                body[name] = content[source]
        return body

    @property
    def predicate(self) -> sql.Composed:
        """The condition on ``r``, a row of the reservations table, in which a version is to be sent."""
        conditions = [
            sql.SQL("coalesce({}::text, '') = any ({})").format(
                sql.Identifier("r", self.payload.columns[condition.column]), sql.Literal(list(condition.values))
            )
            for condition in self.only
        ]
        return sql.SQL(" and ").join([sql.SQL("true"), *map(sql.SQL, self.payload.where), *conditions])


@dataclass
class Version:
    """What a transaction left of a reservation."""

    operation: str
    """What it did to it: created or updated."""
    content: dict[str, Any] | None
    """``None``: it is deleted."""
    wanted: bool = False


@dataclass
class Findings:
    """What is wrong. All should be empty."""

    not_to_be_seen: list[object] = field(default_factory=list)
    missing: list[object] = field(default_factory=list)
    stale: list[object] = field(default_factory=list)
    repeated: list[object] = field(default_factory=list)


def draw_payload(chance: random.Random, name: str, base: Payload | None) -> Payload:
    """Draw a payload over the base payload or over another one."""
    sources = dict(base.columns) if base else {column: column for column in (*OF_RESERVATION, *OF_CUSTOMER)}
    available = [column for column in sources if column != "id"]
    drawn = chance.sample(available, chance.randint(1, min(5, len(available))))
    columns = {"id": "id"} | {column: sources[column] for column in drawn}
    selected = [f'r."{column}"' for column in columns]
    if not base and chance.random() < 0.5:
        hidden = chance.choice(list(VALUES))
        columns[f"@{hidden}"] = hidden
        selected.append(f'r.{hidden} as "@{hidden}"')
    filterable = [column for column in WHERE if column in sources]
    where: tuple[str, ...] = ()
    if filterable and chance.random() < 0.6:
        where = (chance.choice(WHERE[chance.choice(filterable)]),)
    source = base.name if base else "reservation"
    query = f"select {', '.join(selected)} from {{{source}}} r where {' and '.join(where) or 'true'}"
    return Payload(name, query, columns, (*(base.where if base else ()), *where))


def draw_endpoint(chance: random.Random, name: str, payload: Payload) -> Wanted:
    conditions = []
    filterable = [column for column in payload.columns if payload.columns[column] in VALUES]
    for column in chance.sample(filterable, min(len(filterable), chance.choice([0, 1, 1, 2]))):
        values = VALUES[payload.columns[column]]
        conditions.append(Condition(column, tuple(chance.sample(values, chance.randint(1, len(values) - 1)))))
    return Wanted(
        name,
        payload,
        tuple(conditions),
        chance.choice(["both", "both", "both", "created", "updated"]),
        chance.random() < 0.6,
        chance.random() < 0.3,
    )


def draw_endpoints(chance: random.Random) -> list[Wanted]:
    payloads: list[Payload] = []
    for number in range(ENDPOINTS):
        base = chance.choice([None, None, *payloads[-1:]])
        payloads.append(draw_payload(chance, f"p{number}", base))
    return [draw_endpoint(chance, f"e{number}", payload) for number, payload in enumerate(payloads)]


async def add(endpoints: Sequence[Wanted], database: Database, receiver: Receiver, ca_file: Path) -> None:
    """Define the payloads, and add the endpoints by the command."""
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url}
    for endpoint in endpoints:
        database.execute("select cdc_bridge.define_payload(%s, %s)", (endpoint.payload.name, endpoint.payload.query))
        only = [argument for condition in endpoint.only for argument in ("--only", str(condition))]
        flags = [
            *(["--skip-unchanged"] if endpoint.skip_unchanged else []),
            *(["--latest-only"] if endpoint.latest_only else []),
        ]
        code, output, errors = await run_command(
            "endpoint", "add", endpoint.name, f"{receiver.url}/{endpoint.name}", "--start", "oldest", "--unsigned",
            "--ca-file", str(ca_file), "--payload", endpoint.payload.name, "--events", endpoint.events, *only, *flags,
            **settings,
        )  # fmt: skip
        assert code == 0, output + errors


class Writer:
    """Changes reservations at random, one transaction after another."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self._database = database
        self._chance = chance

    async def run(self, seconds: float) -> None:
        end = monotonic() + seconds
        async with self._database.connection(autocommit=False) as connection:
            while monotonic() < end:
                # Writers meet: one of two gives way.
                with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                    await self._transaction(connection)
                await connection.rollback()
                await asyncio.sleep(self._chance.uniform(0, 0.03))

    async def _transaction(self, connection: psycopg.AsyncConnection[Any]) -> None:
        chance = self._chance
        for id_ in sorted(chance.sample(IDS, chance.choice([1, 1, 1, 2, 4]))):
            await self._change(connection, id_)
        if chance.random() < 0.2:
            with suppress(psycopg.errors.DivisionByZero):
                async with connection.transaction():  # a savepoint
                    await self._roll_back_later(connection)
                    await connection.execute("select 1 / 0")
        if chance.random() < 0.15:
            await self._roll_back_later(connection)
            await connection.rollback()
        else:
            await connection.commit()

    async def _roll_back_later(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(
            "update public.reservations set notes = %s, room_name = %s where id = %s",
            (ROLLED_BACK, self._chance.choice(ROOMS), self._chance.choice(IDS)),
        )

    async def _change(self, connection: psycopg.AsyncConnection[Any], id_: str) -> None:
        chance = self._chance
        cursor = await connection.execute("select from public.reservations where id = %s for update", (id_,))
        if not await cursor.fetchall():
            await connection.execute(
                "insert into public.reservations (id, cust_id, reference, room_name, adults) "
                "values (%s, %s, 1, %s, %s)",
                (id_, chance.choice(list(GUESTS)), chance.choice(ROOMS), chance.randint(1, 5)),
            )
            return
        if chance.random() < 0.08:
            await connection.execute("delete from public.reservations where id = %s", (id_,))
            return
        column, value = chance.choice(
            [
                ("room_name", chance.choice(ROOMS)),
                ("status", chance.choice(STATUSES)),
                ("adults", chance.randint(1, 5)),
                ("children", chance.randint(0, 2)),
                ("cancelled", chance.choice("TF")),
                ("tables", str(chance.randint(1, 3))),
                ("notes", f"note {chance.randint(1, 1000)}"),
                ("extras", f"in no payload {chance.random()}"),
                ("extras", f"in no payload {chance.random()}"),
            ]
        )
        await connection.execute(
            sql.SQL("update public.reservations set {} = %s where id = %s").format(sql.Identifier(column)), (value, id_)
        )


def versions_for(database: Database, endpoint: Wanted) -> dict[str, list[Version]]:
    """Return what each transaction left of each reservation, and whether PostgreSQL says that it is to be sent."""
    statement = sql.SQL(
        "select v.id, v.xid::text::bigint, v.operation, v.content, v.content is not null and ({}) "
        "from public.version v cross join lateral jsonb_populate_record(null::public.reservations, v.content) r "
        "order by v.number"
    ).format(endpoint.predicate)
    by_transaction: dict[str, dict[int, Version]] = defaultdict(dict)
    with psycopg.connect(database.url, autocommit=True) as connection:
        for id_, xid, operation, content, wanted in connection.execute(statement):
            found = by_transaction[id_].setdefault(xid, Version("updated", None))
            found.operation = "created" if operation == "INSERT" else found.operation
            found.content, found.wanted = content, bool(wanted)
    return {id_: list(versions.values()) for id_, versions in by_transaction.items()}


def look_at(
    endpoint: Wanted, versions: dict[str, list[Version]], requests: Sequence[ReceivedRequest], *, calm: bool
) -> Findings:
    """Compare what an endpoint got with what it was to get."""
    found = Findings()
    by_reservation: dict[str, list[ReceivedRequest]] = defaultdict(list)
    for request in requests:
        by_reservation[request.reservation_id].append(request)
    for id_ in by_reservation.keys() | versions.keys():
        got, all_ = by_reservation[id_], versions.get(id_, [])
        place = 0
        for request in got:
            fitting = (
                number
                for number, version in enumerate(all_[place:], place)
                if version.wanted and version.content and endpoint.body_of(version.content) == request.json
            )
            following = next(fitting, None)
            event = request.headers["ce-type"].removeprefix("reservation.")
            if following is None or endpoint.events not in {"both", event}:
                found.not_to_be_seen.append((id_, request.json, event))
            else:
                place = following
                if list(request.json) != list(endpoint.body_of(all_[place].content or {})):
                    found.not_to_be_seen.append((id_, "keys in another order", list(request.json)))
        found.missing += [(id_, all_[-1].content) for _ in [0] if all_ and not got and is_due(endpoint, all_)]
        last = all_[-1] if all_ else None
        if got and last and last.wanted and last.content and endpoint.events in {"both", last.operation}:
            found.stale += [(id_, got[-1].json) for _ in [0] if got[-1].json != endpoint.body_of(last.content)]
        if calm and endpoint.skip_unchanged and all(version.wanted for version in all_):
            found.repeated += [(id_, later.json) for earlier, later in pairwise(got) if earlier.body == later.body]
    return found


def is_due(endpoint: Wanted, versions: Sequence[Version]) -> bool:
    """Return whether an endpoint has to have got something of a reservation, whenever its versions were loaded."""
    last = versions[-1]
    if endpoint.events == "created":
        born = max((number for number, version in enumerate(versions) if version.operation == "created"), default=None)
        return born is not None and all(version.wanted for version in versions[born:])
    return last.wanted and endpoint.events in {"both", last.operation}


def rough(chance: random.Random) -> Response:
    """A response after which the daemon may not know that the request has arrived."""
    return chance.choice([Response(500), Response(503), Response(manner=Manner.RESET)])


@pytest.mark.departs_from_contract("payloads with a part of the columns")
@pytest.mark.timeout(chosen(300, 900))
@pytest.mark.parametrize("seed_offset", range(chosen(1, 4)))
@pytest.mark.parametrize("calm", [pytest.param(True, marks=pytest.mark.slow), False], ids=["calm", "rough"])
async def test_each_endpoint_gets_what_sql_says_and_no_more(
    *,
    calm: bool,
    seed_offset: int,
    database: Database,
    receiver: Receiver,
    bridges: Bridges,
    certificates: Certificates,
    figures: Figures,
) -> None:
    seed = chosen_seed() + seed_offset
    chance = random.Random(seed)
    for id_, guest in GUESTS.items():
        database.execute(
            "insert into customers (id, surname, email) values (%s, %s, %s)", (id_, guest["surname"], guest["email"])
        )
    database.execute(KEEP_VERSIONS)
    endpoints = draw_endpoints(chance)
    for endpoint in endpoints:
        print(endpoint)
    await add(endpoints, database, receiver, certificates.ca_file)
    names = [endpoint.name for endpoint in endpoints]
    settings = {"CDC_BRIDGE_LOG_LEVEL": "debug", "CDC_BRIDGE_BATCH_SIZE": chance.choice(["2", "7", "100"])}
    if not calm:
        receiver.script = lambda _: rough(chance) if chance.random() < 0.04 else Response()

    bridge = await bridges.start(**settings)
    await bridge.until_assigned(*names)
    writers = [Writer(database, random.Random(seed + 1 + number)) for number in range(WRITERS)]
    writing = asyncio.gather(*(writer.run(SECONDS) for writer in writers))
    kills = 0
    while not calm and not writing.done():
        await asyncio.wait([writing], timeout=chance.uniform(0.2, 2))
        await bridge.kill()
        kills += 1
        bridge = await bridges.start(**settings | {"CDC_BRIDGE_BATCH_SIZE": chance.choice(["1", "5", "50"])})
    await writing
    receiver.script = lambda _: Response()
    database.execute(MAKE_DUE)  # What failed several times would wait for minutes.
    await until_settled(database)
    code, output, errors = await run_command("reconcile", "--since", "2000-01-01", "--json", **bridges.settings)
    assert await bridge.terminate() == 0

    by_endpoint: dict[str, list[ReceivedRequest]] = defaultdict(list)
    for request in receiver.requests:
        by_endpoint[request.path.rpartition("/")[2]].append(request)
    broken: dict[str, list[object]] = {}
    for endpoint in endpoints:
        found = look_at(endpoint, versions_for(database, endpoint), by_endpoint[endpoint.name], calm=calm)
        broken |= {f"{endpoint.name}: {kind}": wrong[:3] for kind, wrong in vars(found).items() if wrong}
    assert not broken, broken
    assert code in {0, 1}, errors
    for compared in json.loads(output)["endpoints"]:
        if compared["endpoint"] in {endpoint.name for endpoint in endpoints if endpoint.events == "both"}:
            assert (compared["missing"], compared["stale"]) == (0, 0), compared
    assert database.execute(ONLY_SKIPPED) == []
    assert_nothing_of_guests(
        endpoints, by_endpoint, database, "".join(line for bridge in bridges.made for line in bridge.output)
    )
    skipped = database.execute(
        "select sum(skipped_filtered), sum(skipped_event), sum(skipped_unchanged), sum(skipped_deleted) "
        "from cdc_bridge.endpoint"
    )[0]
    figures(
        f"{len(receiver.requests)} requests, {kills} kills; skipped: {skipped[0]} filtered, {skipped[1]} by event, "
        f"{skipped[2]} unchanged, {skipped[3]} deleted"
    )


def _is_fewer(database: Database, than: int) -> bool:
    return bool(database.value(UNSETTLED) < than)


async def until_settled(database: Database) -> None:
    """Wait until nothing is left to be sent; give up when there are no fewer for long."""
    while left := database.value(UNSETTLED):
        await until(partial(_is_fewer, database, left), f"fewer than {left} are to be settled")


def assert_nothing_of_guests(
    endpoints: Sequence[Wanted], by_endpoint: dict[str, list[ReceivedRequest]], database: Database, log: str
) -> None:
    """Make sure that what is outside of a payload is nowhere."""
    mails = [guest["email"] for guest in GUESTS.values()]
    for endpoint in endpoints:
        bodies = b"".join(request.body for request in by_endpoint[endpoint.name]).decode()
        assert ROLLED_BACK not in bodies
        assert "in no payload" not in bodies
        if "customer.email" not in endpoint.payload.columns:
            assert not [mail for mail in mails if mail in bodies]
    for table in ("change", "delivery", "endpoint", "payload_definition", "endpoint_status"):
        rows = str(database.execute(f"select t::text from cdc_bridge.{table} t"))
        assert not [mail for mail in mails if mail in rows or mail in log]
