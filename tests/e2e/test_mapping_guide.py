"""The mapping guide's worked cases and promises, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import sql_folder
from cdc_bridge.vendor.contract import example
from tests.e2e.test_payload import with_exact_numbers
from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.plans import explained
from tests.support.receiver import Receiver
from tests.support.waiting import until

SHIPPED = (sql_folder() / "mapping.sql").read_text(encoding="utf-8")
GUIDE = guide_text(Guide.MAPPING)
FURTHER = GUIDE.partition("\n## Further payloads\n")[2].partition("\n## ")[0]
COLUMNS = {
    "Keys are integers": {"reference": "id"},
    "Tables and columns have other names": {"id": "booking_number", "adults": "covers"},
}
"""Where the announcement's keys go in a case whose columns have other names."""
WHOLE_NAME = "Graham Murt"
LARGE = "select relname::text from pg_class where relkind = 'r' and reltuples > 1000"
LOGGED = "select reservation_id, operation::text from cdc_bridge.change order by seq"


@dataclass(frozen=True)
class Case:
    """A worked case."""

    title: str
    e_res: str
    """How e-Res's tables differ from the example's, in SQL."""
    mapping: str
    """The mapping with the case's lines."""

    def __str__(self) -> str:
        return self.title


def cases() -> list[Case]:
    worked = GUIDE.partition("## Worked cases")[2].partition("\n## ")[0]
    found = []
    for section in worked.split("\n### ")[1:]:
        blocks = blocks_of(section)
        found.append(Case(section.splitlines()[0], blocks["sql"], changed(blocks.get("diff", ""))))
    return found


def blocks_of(section: str) -> dict[str, str]:
    """Return the blocks of a section, by their language."""
    return dict(re.findall(r"^```(sql|diff|sh)\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL))


def changed(diff: str) -> str:
    """Return the shipped mapping with a diff's lines out and in; each line that goes out has to be in it."""
    mapping = SHIPPED
    for out, in_ in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", diff, flags=re.MULTILINE):
        lines = "".join(line[1:] + "\n" for line in out.splitlines())
        assert mapping.count(lines) == 1, f"not in mapping.sql: {lines}"
        mapping = mapping.replace(lines, "".join(line[1:] + "\n" for line in in_.splitlines()))
    return mapping


def example_in(database: Database, table: str, columns: dict[str, str]) -> None:
    """Book the announcement's example, as far as the tables of the case have columns for it."""
    booking = example()
    with psycopg.connect(database.url, autocommit=True) as connection:
        insert(connection, "public.customers", booking["customer"] | {"name": WHOLE_NAME})
        if database.value("select to_regclass('public.calls') is not null"):
            insert(connection, "public.calls", booking["call"])
        row = {columns.get(key, key): value for key, value in booking.items() if key not in {"customer", "call"}}
        insert(connection, table, row | {"call_id": booking["call"]["call_id"]})


def insert(connection: psycopg.Connection, table: str, values: dict[str, Any]) -> None:
    """Insert what a table has columns for; "T" and "F", and times in UTC, in the columns' own types."""
    types: dict[str, str] = dict(
        connection.execute(
            "select attname::text, atttypid::regtype::text from pg_attribute "
            "where attrelid = %s::regclass and attnum > 0 and not attisdropped",
            (table,),
        ).fetchall()
    )
    row = {name: value for name, value in values.items() if name in types}
    for name, type_ in types.items():
        if name in row and type_ == "timestamp without time zone":
            (row[name],) = connection.execute(
                "select (%s::timestamptz at time zone 'Europe/London')::text", (row[name],)
            ).fetchone() or (None,)
        elif name in row and type_ == "boolean":
            row[name] = row[name] == "T"
        elif name in row and type_ == "integer" and row[name] in {"T", "F"}:
            row[name] = 1 if row[name] == "T" else 0
    names = ", ".join(row)
    connection.execute(
        f"insert into {table} ({names}) select {names} from jsonb_populate_record(null::{table}, %s)".encode(),
        (Jsonb(row),),
    )


async def install_mapping(database: Database, mapping: str, file: Path) -> None:
    await asyncio.to_thread(file.write_text, mapping)
    await operation.install(database.url, file, report=lambda _: None)


def expected(case: Case) -> dict[str, Any]:
    """Return the announcement's JSON as the case has it."""
    booking = example()
    if case.title == "The whole name of a guest is in one column":
        return booking | {"customer": booking["customer"] | {"firstname": "", "surname": WHOLE_NAME}}
    if case.title == "Keys are integers":
        return {key: booking["reference"] if key == "id" else value for key, value in booking.items()}
    if case.title == "No telephone calls are kept":
        return booking | {"call": None}
    return booking


@pytest.fixture
def mapping_file(tmp_path: Path) -> Path:
    return tmp_path / "my-mapping.sql"


def fill(table: str, key: str, database: Database, like: str) -> None:
    """Have some thousand rows like those of a table, so that a plan without an index would be a bad one."""
    columns = [
        name
        for (name,) in database.execute(
            "select attname::text from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
            (table,),
        )
    ]
    key_type = database.value("select atttypid::regtype::text from pg_attribute where attrelid = %s::regclass "
                              "and attname = %s", (table, key))  # fmt: skip
    others = {"integer": "1000 + n", "bigint": "1000 + n"}.get(key_type, f"upper(md5('{table}' || n))::{key_type}")
    chosen = ", ".join(others if name == key else name for name in columns)
    database.execute(
        f"insert into {table} ({', '.join(columns)}) select {chosen} from {like}, generate_series(1, 3000) n"
    )
    database.execute("analyze")


@pytest.mark.parametrize("case", cases(), ids=str)
async def test_worked_case_leads_to_the_announcements_json(
    case: Case, example_database: Database, mapping_file: Path
) -> None:
    example_database.execute(case.e_res)
    await install_mapping(example_database, case.mapping, mapping_file)
    attached = re.findall(r"cdc_bridge\.attach\('(.*?)', '(.*?)'\)", case.mapping)
    table, _ = attached[-1]
    example_in(example_database, table, COLUMNS.get(case.title, {}))
    ((captured, operation_),) = example_database.execute(LOGGED)
    assert operation_ == "I"
    example_database.execute(f"update {table} set notes = notes")
    assert example_database.execute(LOGGED)[1:] == [(captured, "U")]
    for name, its_key in reversed(attached):
        fill(name, its_key, example_database, like=f"(select * from {table} limit 1) as one")

    async with example_database.loading_connection(as_superuser=True) as connection:
        loader = ReservationLoader()
        await loader.load(connection, [ReservationId(captured)])
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_nested_statements = on")
        plans.clear()
        loaded = await loader.load(connection, [ReservationId(captured)])
    body = loaded.reservations[ReservationId(captured)].body
    assert with_exact_numbers(body) == with_exact_numbers(json.dumps(expected(case)))
    large = {name for (name,) in example_database.execute(LARGE)}
    (plan,) = [plan for plan in plans if "wanted" in plan and "unnest" in plan]
    assert large & set(re.findall(r"\w+", plan))
    assert not large & set(re.findall(r"Seq Scan on (\w+)", plan))


async def test_what_is_checked_is_reported_as_the_guide_says(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = GUIDE.partition("\n## What is checked\n")[2].partition("\n## ")[0]
    (report,) = re.findall(r"^```text\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    await asyncio.to_thread((tmp_path / "my-mapping.sql").write_text, changed(blocks_of(section)["diff"]))
    monkeypatch.chdir(tmp_path)
    command = ("mapping", "check", "my-mapping.sql")
    code, _, errors = await run_command(*command, CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, errors) == (1, report)


async def test_guide_has_the_cases_that_it_ought_to_have() -> None:
    assert [case.title for case in cases()] == [
        "Keys are of the type uuid",
        "Keys are integers",
        "Flags are booleans",
        "Flags are yes and no, or 1 and 0",
        "Times are local, without a time zone",
        "Tables and columns have other names",
        "The whole name of a guest is in one column",
        "Rooms and meals have tables of their own",
        "No telephone calls are kept",
        "The reservations table is partitioned",
        "Reservations stand in two schemas",
    ]


async def test_whole_name_is_drafted_and_split_as_the_guide_says(example_database: Database) -> None:
    (case,) = (case for case in cases() if case.title == "The whole name of a guest is in one column")
    example_database.execute(case.e_res)
    code, drafted, _ = await run_command("mapping", "draft", CDC_BRIDGE_DATABASE_URL=example_database.url)
    assert code == 0
    assert '  null::text as "customer.firstname",  -- TODO' in drafted
    assert '  c.name as "customer.surname",\n' in drafted
    ((written, *parts),) = re.findall(r"of `(.*?)` the surname is `(.*?)`, and the first\s+name `(.*?)`", GUIDE)
    names = f"select {', '.join(parts)} from (select %s) as c (name)"
    assert example_database.execute(names, (written,)) == [("Murt", "Graham")]


@pytest.mark.parametrize(
    ("local", "instant"),
    [("2026-01-15 19:30", "2026-01-15T19:30:00.000Z"), ("2026-07-15 19:30", "2026-07-15T18:30:00.000Z")],
)
async def test_local_time_is_right_in_both_halves_of_the_year(
    local: str, instant: str, example_database: Database, mapping_file: Path
) -> None:
    (case,) = (case for case in cases() if case.title == "Times are local, without a time zone")
    example_database.execute(case.e_res)
    await install_mapping(example_database, case.mapping, mapping_file)
    example_database.execute("insert into customers (id) values ('C')")
    example_database.execute(
        "insert into reservations (id, cust_id, reference, datetime) values ('R', 'C', 1, %s)", (local,)
    )
    async with example_database.loading_connection() as connection:
        loaded = await ReservationLoader().load(connection, [ReservationId("R")])
    assert json.loads(loaded.reservations[ReservationId("R")].body)["datetime"] == instant


async def test_time_without_a_zone_is_refused_by_check(database: Database, bridges: Bridges) -> None:
    database.execute("alter table reservations alter column datetime type timestamp")
    code, output, _ = await run_command("check", **bridges.settings | {"COLUMNS": "200"})
    assert code == 1
    assert "datetime (timestamptz, now timestamp)" in output
    with pytest.raises(errors.FeatureNotSupported, match=r"write x at time zone 'Europe/London' as \"datetime\""):
        database.execute(SHIPPED.replace("  r.notes,", "  upper(r.notes) as notes,"))


@pytest.mark.parametrize(
    "statement",
    ["alter table reservations drop column notes", "alter table reservations rename column notes to remarks"],
)
async def test_upgrade_that_breaks_the_mapping_goes_through_and_nothing_is_lost(
    statement: str, database: Database, bridges: Bridges, receiver: Receiver, mapping_file: Path
) -> None:
    assert "column r.notes does not exist" in GUIDE
    bridge = await bridges.start()
    database.execute("insert into customers (id) values ('C')")
    database.execute(statement)
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await bridge.wait_for_log("mapping broken")
    await install_mapping(database, SHIPPED.replace("  r.notes,", "  ''::text as notes,"), mapping_file)
    (request,) = await receiver.wait_for_delivered(1)
    assert (request.reservation_id, request.json["notes"]) == ("R", "")
    assert bridge.running


async def test_column_that_is_retyped_is_sent_in_its_new_type(database: Database, bridges: Bridges) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference, notes) values ('R', 'C', 1, 'by the window')")
    database.execute("alter table reservations alter column notes type varchar(4000)")
    code, output, _ = await run_command("payload", "R", **bridges.settings)
    assert (code, json.loads(output)["notes"]) == (0, "by the window")


async def test_key_is_renamed_as_the_guide_says_and_every_booking_is_captured(database: Database) -> None:
    rename, attach = re.findall(
        r"^ +(alter table .* rename column .*|select cdc_bridge\.attach\(.*)$", GUIDE, re.MULTILINE
    )
    database.execute("insert into customers (id) values ('C')")
    database.execute(rename)
    booking = "insert into reservations (number, cust_id, reference) values (%s, 'C', 1)"
    database.execute(booking, ("R",))
    database.execute(attach)
    database.execute(booking, ("S",))
    assert database.execute(LOGGED) == [("R", "I"), ("S", "I")]


async def test_further_payload_of_the_guide_is_defined_and_dropped(database: Database) -> None:
    block = blocks_of(FURTHER.partition("\n### ")[0])["sql"]
    (drop,) = re.findall(r"`(select cdc_bridge\.drop_payload.*?)`", FURTHER)
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    database.execute(block)
    async with database.loading_connection(as_superuser=True) as connection:
        plans = await explained(connection)
        await connection.execute("set auto_explain.log_nested_statements = on")
        loaded = await ReservationLoader(Subscription("short")).load(connection, [ReservationId("R")])
    (plan,) = [plan for plan in plans if "wanted" in plan and "unnest" in plan]
    read = plan.partition("Query Text")[2].rpartition("offset 0")[2]
    assert ("Scan" in read, re.findall(r"on (customers|calls)", read)) == (True, []), "what is left out is not read"
    assert list(json.loads(loaded.reservations[ReservationId("R")].body)) == ["id", "status", "datetime"]
    database.execute(drop)


class Vendors:
    """The endpoints of a case, each with a receiver of its own."""

    def __init__(self, title: str, certificates: Certificates) -> None:
        (section,) = (each for each in FURTHER.split("\n### ") if each.startswith(f"{title}\n"))
        self._blocks = blocks_of(section)
        self._certificates = certificates
        self._receivers: dict[str, Receiver] = {}

    @property
    def e_res(self) -> str:
        """How e-Res's tables differ, in SQL; empty where the SQL is of the mapping."""
        return self._blocks["sql"] if "diff" in self._blocks else ""

    @property
    def mapping(self) -> str:
        """The mapping with the case's lines."""
        return changed(self._blocks["diff"]) if "diff" in self._blocks else SHIPPED + self._blocks["sql"]

    def __getitem__(self, name: str) -> Receiver:
        return self._receivers[name]

    async def add(self, bridge: Bridge, settings: Mapping[str, str]) -> None:
        """Add the endpoints by the case's commands, and wait until they are assigned."""
        for command in self._blocks["sh"].splitlines():
            program, *arguments = shlex.split(command)
            receiver = self._receivers[arguments[2]] = Receiver(self._certificates.good)
            await receiver.start()
            arguments[3] = receiver.url
            ca_file = str(self._certificates.ca_file)
            code, _, errors = await run_command(*arguments, "--ca-file", ca_file, **settings)
            assert (program, arguments[:2], code, errors) == ("cdc-bridge", ["endpoint", "add"], 0, "")
        await bridge.until_assigned(*self._receivers)

    async def stop(self) -> None:
        for receiver in self._receivers.values():
            await receiver.stop()


@pytest.fixture
async def vendors(request: pytest.FixtureRequest, certificates: Certificates) -> AsyncIterator[Vendors]:
    """The endpoints of the case that the test names as its parameter."""
    found = Vendors(request.param, certificates)
    yield found
    await found.stop()


async def serve(
    vendors: Vendors, database: Database, bridges: Bridges, mapping_file: Path, customer: str = "C"
) -> Bridge:
    """Install the mapping of a case, and have a daemon serve its endpoints."""
    if vendors.e_res:
        database.execute(vendors.e_res)
    await install_mapping(database, vendors.mapping, mapping_file)
    database.execute("insert into customers (id, surname, phone) values (%s, 'Chapman', '0123 456')", (customer,))
    bridge = await bridges.start()
    await vendors.add(bridge, bridges.settings)
    return bridge


async def until_skipped(database: Database, endpoint: str, **numbers: int) -> None:
    """Wait until so many deliveries of an endpoint were skipped, by the reason."""
    columns = ", ".join(f"skipped_{reason}" for reason in numbers)
    statement = f"select {columns} from cdc_bridge.endpoint where name = %s"
    await until(
        lambda: database.execute(statement, (endpoint,)) == [tuple(numbers.values())], f"{endpoint} skipped {numbers}"
    )


@pytest.mark.parametrize("vendors", ["Two restaurants in one database"], indirect=True)
async def test_each_of_two_restaurants_gets_its_own_reservations_as_the_contract_has_them(
    vendors: Vendors, database: Database, bridges: Bridges, receiver: Receiver, mapping_file: Path
) -> None:
    north, south = re.findall(r"@restaurant_id=(\w+)", FURTHER)
    await serve(vendors, database, bridges, mapping_file)
    booking = "insert into reservations (id, cust_id, reference, restaurant_id) values (%s, 'C', 1, %s)"
    for id_, restaurant in [("N1", north), ("S1", south), ("N2", north), ("S2", south)]:
        database.execute(booking, (id_, restaurant))
    for name in ("north", "south"):
        await vendors[name].wait_for_delivered(2)
    assert {request.reservation_id for request in vendors["north"].requests} == {"N1", "N2"}
    assert {request.reservation_id for request in vendors["south"].requests} == {"S1", "S2"}
    whole = {request.reservation_id: request.json for request in await receiver.wait_for_delivered(4)}
    assert whole["N1"].keys() == example().keys()
    assert [r.json for r in vendors["north"].requests] == [whole[r.reservation_id] for r in vendors["north"].requests]

    database.execute("update reservations set restaurant_id = %s where id = 'N1'", (south,))
    await vendors["south"].wait_for_delivered(3)
    moved = vendors["south"].delivered[-1]
    assert (moved.reservation_id, moved.headers["ce-type"]) == ("N1", "reservation.updated")
    assert len(vendors["north"].requests) == 2
    code, output, _ = await run_command("payload", "N1", "--endpoint", "north", **bridges.settings)
    assert (code, output) == (1, "")


@pytest.mark.departs_from_contract("its payload is another one")
@pytest.mark.parametrize("vendors", ["A kitchen screen without contact data"], indirect=True)
async def test_kitchen_gets_no_contact_data(
    vendors: Vendors, database: Database, bridges: Bridges, receiver: Receiver, mapping_file: Path
) -> None:
    await serve(vendors, database, bridges, mapping_file)
    database.execute(
        "insert into reservations (id, cust_id, reference, allergies, notes) values ('R', 'C', 1, 'nuts', '0123 456')"
    )
    (request,) = await vendors["kitchen"].wait_for_delivered(1)
    assert list(request.json) == [
        "id", "datetime", "adults", "children", "tables", "meal_name", "allergies", "high_chair", "cancelled", "arrived"
    ]  # fmt: skip
    assert (request.json["allergies"], request.json["adults"]) == ("nuts", 2)
    (whole,) = await receiver.wait_for_delivered(1)
    assert whole.json["customer"]["surname"] == "Chapman"
    assert request.json.items() <= whole.json.items()
    code, output, _ = await run_command("payload", "R", "--endpoint", "kitchen", **bridges.settings)
    assert (code, output.encode()) == (0, request.body + b"\n")


@pytest.mark.departs_from_contract("its payload is another one")
@pytest.mark.parametrize("vendors", ["A till that needs only times, covers and tables"], indirect=True)
async def test_till_gets_times_covers_and_tables_only_when_they_change(
    vendors: Vendors, database: Database, bridges: Bridges, receiver: Receiver, mapping_file: Path
) -> None:
    await serve(vendors, database, bridges, mapping_file)
    till, update = vendors["till"], "update reservations set {}, updated = now() where id = 'R'"
    database.execute("insert into reservations (id, cust_id, reference, adults) values ('R', 'C', 1, 2)")
    await till.wait_for_delivered(1)
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 2, "both are recorded")
    for number, change in enumerate(["notes = 'by the window'", "status = 'Seated'", "children = 1", "notes = ''"], 1):
        database.execute(update.format(change))
        await receiver.wait_for_delivered(1 + number)
        await until_skipped(database, "till", unchanged=min(number, 2) + (number == 4))
        await till.wait_for_delivered(2 if number > 2 else 1)
        await until(
            lambda: (
                database.value("select count(*) from cdc_bridge.delivery where state = 'delivered'")
                == len(receiver.delivered) + len(till.delivered)
            ),
            "they are recorded",
        )
    assert [list(request.json) for request in till.requests] == [
        ["id", "datetime", "duration", "covers", "tables", "cancelled"]
    ] * 2
    assert [request.json["covers"] for request in till.requests] == [2, 3]
    code, output, _ = await run_command(
        "deliveries", "--endpoint", "till", "--state", "skipped", "--json", **bridges.settings
    )
    assert code == 0
    assert [delivery["skip_reason"] for delivery in json.loads(output)["deliveries"]] == ["unchanged"] * 3
    code, output, _ = await run_command("reconcile", "--endpoint", "till", **bridges.settings)
    assert code == 0, output


async def test_commands_of_the_guide_work(
    database: Database, bridges: Bridges, mapping_file: Path, programs: Path
) -> None:
    await install_mapping(database, SHIPPED, mapping_file)
    customer, reservation = "C" * 32, "A" * 32
    database.execute("insert into customers (id) values (%s)", (customer,))
    database.execute("insert into reservations (id, cust_id, reference) values (%s, %s, 1)", (reservation, customer))
    section = GUIDE.partition("\n## Check a mapping\n")[2].partition("or, with psql")[0]
    commands = re.findall(r"^    cdc-bridge (.*)$", section, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["mapping", "install", "install", "check", "payload"]
    for command in commands:
        arguments = command.replace("my-mapping.sql", str(mapping_file)).replace(" ID", f" {reservation}").split()
        url = database.url if arguments[0] in {"install", "mapping"} else database.bridge_url
        code, _, said = await run_command(*arguments, **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        assert (code, said) == (0, "")
    (psql,) = re.findall(r"`psql (-v mapping=.*?)`", GUIDE)
    arguments = (
        psql.replace("my-mapping.sql", str(mapping_file)).replace("sql/", f"{sql_folder()}/").replace("-d eres ", "")
    )
    process = await asyncio.create_subprocess_exec(
        str(programs / "psql"), "-d", database.url, "-q", *arguments.split(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said_bytes = await process.communicate()
    assert (process.returncode, said_bytes) == (0, b"")
