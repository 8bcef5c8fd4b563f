"""From the catalogue of a foreign database to payloads that are true to the contract, with a few edited lines.

Each folder of ``schemas`` is a database as another vendor might have made it: tables, some reservations, the bodies
that a person who knows it expects, and the lines of the draft that this person edits, by key, or adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdc_bridge.deliveries.payload_preview import payload_of
from cdc_bridge.errors import NotFound, WrongUsage
from cdc_bridge.mapping.catalogue import Catalogue, read_catalogue, require_zone
from cdc_bridge.mapping.draft import Draft, Line, Named, ZoneNeeded, draft
from cdc_bridge.mapping.draft_text import text_of
from cdc_bridge.mapping_check.report import MappingVerdict
from cdc_bridge.schema.install import install
from tests.support.contract import violations_of
from tests.support.databases import Database

SCHEMAS = sorted(each for each in (Path(__file__).parent / "schemas").iterdir() if each.is_dir())
MOST_EDITS = 10


@dataclass(frozen=True)
class Expected:
    zone: str | None
    edits: Mapping[str, str]
    added: list[str]
    bodies: list[dict[str, object]]


def expected_of(folder: Path) -> Expected:
    edits = json.loads((folder / "edits.json").read_text())
    return Expected(
        edits["zone"], edits["edits"], edits.get("added", []), json.loads((folder / "expected.json").read_text())
    )


def edited(text: str, key: str, sql: str) -> str:
    """Replace the line of a key, with what is said of it."""
    name = f'"{key}"' if "." in key else key
    line = re.compile(
        rf"^  (?!--)(?:[^\n]* as {re.escape(name)}|\w+\.{re.escape(name)})(,?)(?:  --[^\n]*)?$", re.MULTILINE
    )
    replaced, times = line.subn(lambda found: f"  {sql} as {name}{found[1]}", text)
    assert times == 1, f"{key} has {times} lines"
    return replaced


async def catalogue_of(database: Database) -> Catalogue:
    async with database.connection() as connection:
        return await read_catalogue(connection)


def load(database: Database, folder: Path) -> None:
    for name in ("schema.sql", "data.sql"):
        database.execute((folder / name).read_text())


@pytest.mark.parametrize("folder", SCHEMAS, ids=lambda folder: folder.name)
async def test_few_edits_lead_from_the_catalogue_to_true_payloads(
    folder: Path, empty_database: Database, tmp_path: Path
) -> None:
    load(empty_database, folder)
    expected = expected_of(folder)
    text = text_of(draft(await catalogue_of(empty_database), Named(), expected.zone))
    assert len(expected.edits) + len(expected.added) <= MOST_EDITS
    text = "\n".join([*expected.added, text])
    for key, sql in expected.edits.items():
        text = edited(text, key, sql)
    mapping = tmp_path / "mapping.sql"
    mapping.write_text(text)
    await install(empty_database.url, mapping, lambda _: None, verdict=MappingVerdict(mapping))
    for body in expected.bodies:
        got = json.loads((await payload_of(empty_database.bridge_url, str(body["id"]))).body)
        assert violations_of(got) == []
        assert in_order(got) == in_order(body)


def in_order(body: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return a body's keys and values; a key of another row that is absent is "" or null, as the contract has it."""
    return [
        (key, in_order(value) if isinstance(value, dict) else None if value == "" and key.endswith("_id") else value)
        for key, value in body.items()
    ]


async def test_tables_that_belong_to_a_reservation_can_be_attached_as_proposed(
    empty_database: Database, tmp_path: Path
) -> None:
    empty_database.execute(
        """
        create table guest (id int primary key, name text not null);
        create table seating (id int primary key, label text not null);
        create table booking (
          id int primary key, guest_id int not null references guest, starts_at timestamptz not null,
          covers int not null
        );
        create index on booking (guest_id);
        create table booking_seating (
          booking_id int not null references booking, seating_id int not null references seating,
          primary key (booking_id, seating_id)
        )
        """
    )
    text = text_of(await drafted(empty_database))
    mapping = tmp_path / "mapping.sql"
    mapping.write_text(text.replace("-- select cdc_bridge.attach_related(", "select cdc_bridge.attach_related("))
    await install(empty_database.url, mapping, lambda _: None, verdict=MappingVerdict(mapping))
    assert empty_database.execute(
        "select table_name, reservation_key, key, via from cdc_bridge.related_table order by table_name"
    ) == [("booking_seating", "booking_id", None, None), ("guest", None, "id", "guest_id")]


UNNAMED = """
create table outlet (id int primary key, zzz text, time_zone text not null);
create table guest (id int primary key, full_name text not null, yyy timestamptz not null default now());
create table state (code char(1) primary key, blurb text not null, rank int);
create table booking (
  id int primary key, outlet_id int not null references outlet, starts_at timestamp not null, covers int not null,
  covers_min int, qqq_min int not null, state char(1) not null references state, channel char(2) not null,
  xxx timestamp not null default localtimestamp
);
create table booking_guest (
  booking_id int not null references booking, guest_id int not null references guest, zzz char(1) not null,
  primary key (booking_id, guest_id)
);
create table guest_allergy (guest_id int not null references guest, code text not null, primary key (guest_id, code));
"""


@pytest.fixture
def unnamed(empty_database: Database) -> Database:
    """Tables whose columns say by their defaults, units and references what they are, not by their names."""
    empty_database.execute(UNNAMED)
    return empty_database


async def lines_of(database: Database, zone: str | None = None) -> dict[str, Line]:
    return {line.key: line for line in (await drafted(database, zone=zone)).lines}


async def test_column_is_recognised_by_its_default_and_its_unit(unnamed: Database) -> None:
    lines = await lines_of(unnamed)
    assert lines["created"].sql == "r.xxx at time zone outlet.time_zone"
    assert lines["customer.created"].sql == "c.yyy"
    assert lines["duration"].sql == "r.qqq_min"
    assert all(lines[key].doubt for key in ("created", "customer.created", "duration"))


async def test_status_is_what_the_table_of_statuses_calls_it(unnamed: Database) -> None:
    lines = await lines_of(unnamed)
    assert lines["status"].sql == "state.blurb"
    assert "select distinct blurb from public.state" in lines["cancelled"].doubt


async def test_code_that_nothing_explains_is_left_to_be_written(unnamed: Database) -> None:
    web = (await lines_of(unnamed))["web"]
    assert (web.sql, web.doubt) == (
        "(r.channel = '?')",
        "write its codes in place of ?; see: select distinct channel from public.booking",
    )


async def test_allergies_of_the_guest_are_those_of_the_reservation(unnamed: Database) -> None:
    assert "from public.guest_allergy x where x.guest_id = c.id" in (await lines_of(unnamed))["allergies"].sql


async def test_first_of_several_guests_is_a_doubt_unless_one_is_marked(unnamed: Database) -> None:
    assert "the first of several rows of public.booking_guest" in (await lines_of(unnamed))["customer.id"].doubt
    unnamed.execute("comment on column booking_guest.zzz is 'L = lead guest, O = other guest'")
    assert not (await lines_of(unnamed))["customer.id"].doubt
    assert "order by (x.zzz = 'L') desc nulls last" in text_of(await drafted(unnamed))


async def test_time_zone_of_each_restaurant_is_named_if_another_is_given(unnamed: Database) -> None:
    assert (await drafted(unnamed)).zone == "outlet.time_zone"
    assert (await drafted(unnamed, zone="Europe/London")).zone_of_restaurant == "outlet.time_zone"


async def test_what_is_never_null_is_recognised_in_any_language(empty_database: Database) -> None:
    empty_database.execute(
        """
        create table musteri (musteri_no int primary key, unvan text not null, notlar text);
        create table rezervasyon (
          rez_no int primary key, musteri_no int not null references musteri, tarih date not null, saat time not null,
          kisi_sayisi int not null, cocuk int, olusturma timestamptz not null default now()
        )
        """
    )
    with pytest.raises(NotFound) as raised:
        await drafted(empty_database)
    assert "likely ones: public.rezervasyon" in raised.value.remedy
    found = await drafted(empty_database, Named("rezervasyon", "musteri"), "Europe/Istanbul")
    lines = {line.key: line for line in found.lines}
    assert lines["datetime"].sql == "(r.tarih + r.saat) at time zone 'Europe/Istanbul'"
    assert (lines["adults"].sql, lines["customer.surname"].sql) == ("r.kisi_sayisi", "c.unvan")
    assert all(lines[key].doubt for key in ("datetime", "adults", "customer.surname"))
    assert "-- Columns that no key is read from:\n--   r.cocuk\n--   c.notlar\n" in text_of(found)


async def test_date_is_no_text(unnamed: Database) -> None:
    unnamed.execute("alter table booking add room date; comment on column booking.room is 'Room'")
    assert not (await lines_of(unnamed))["room_name"].found


async def drafted(database: Database, named: Named = Named(), zone: str | None = None) -> Draft:  # noqa: B008
    return draft(await catalogue_of(database), named, zone)


TABLES = """
create table booking (id int primary key, starts_at timestamp not null, covers int not null, status text);
create table booking_log (id int primary key, booking_id int references booking, starts_at timestamp, covers int);
create table guest (id int primary key, first_name text, last_name text);
create table stay (id int primary key, starts_at timestamptz, adults int, guest_id int references guest);
"""


@pytest.fixture
def tables(empty_database: Database) -> Database:
    empty_database.execute(TABLES)
    return empty_database


async def test_local_time_needs_its_zone(tables: Database) -> None:
    with pytest.raises(ZoneNeeded, match=r"r\.starts_at") as raised:
        await drafted(tables)
    assert "--time-zone" in raised.value.remedy


async def test_table_can_be_named_where_the_guess_is_wrong(tables: Database) -> None:
    assert str((await drafted(tables, zone="Europe/London")).reservation) == "public.booking"
    other = await drafted(tables, Named(reservation="stay"))
    assert (str(other.reservation), str(other.customer)) == ("public.stay", "public.guest")
    assert (await drafted(tables, Named(reservation="public.stay", customer="none"))).customer is None


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (Named(reservation="bookings"), "there is no table bookings"),
        (Named(customer="guest"), "nothing leads from public.booking to public.guest"),
    ],
    ids=str,
)
async def test_table_that_cannot_be_meant_is_rejected(tables: Database, named: Named, problem: str) -> None:
    with pytest.raises(NotFound, match=problem):
        await drafted(tables, named, "Europe/London")


async def test_name_that_fits_two_tables_is_rejected(tables: Database) -> None:
    tables.execute("create schema archive; create table archive.booking (id int primary key, covers int)")
    with pytest.raises(WrongUsage, match=r"archive\.booking or public\.booking"):
        await drafted(tables, Named(reservation="booking"), "Europe/London")


async def test_database_without_reservations_is_named(empty_database: Database) -> None:
    empty_database.execute("create table invoice (id int primary key, amount numeric)")
    with pytest.raises(NotFound, match="no table looks like one of reservations"):
        await drafted(empty_database)


async def test_reservations_without_a_key_are_named(empty_database: Database) -> None:
    empty_database.execute("create table booking (starts_at timestamptz, covers int)")
    with pytest.raises(NotFound, match=r"public\.booking has no column that identifies a reservation"):
        await drafted(empty_database)


async def test_zone_that_nobody_knows_is_rejected(tables: Database) -> None:
    async with tables.connection() as connection:
        await require_zone(connection, "Europe/London")
        with pytest.raises(WrongUsage, match="did you mean Europe/London"):
            await require_zone(connection, "Europe/Londn")


async def test_no_row_of_a_table_is_read(tables: Database) -> None:
    """Whoever may connect may draft, without a right on any table."""
    tables.execute("create role drafter login; grant usage on schema public to drafter")
    try:
        async with tables.connection() as connection:
            await connection.execute("set role drafter")
            catalogue = await read_catalogue(connection)
        assert str(draft(catalogue, Named(), "Europe/London").reservation) == "public.booking"
    finally:
        tables.execute("drop owned by drafter; drop role drafter")


async def test_two_restaurants_in_two_schemas_are_read_together(empty_database: Database) -> None:
    for schema in ("north", "south"):
        empty_database.execute(
            f"create schema {schema}; create table {schema}.booking "
            "(id uuid primary key, starts_at timestamptz not null, covers int not null, status text)"
        )
    text = text_of(await drafted(empty_database))
    assert "from (select * from north.booking union all select * from south.booking) r" in text
    for schema in ("north", "south"):
        assert f"select cdc_bridge.attach('{schema}.booking', 'id');" in text


async def test_code_of_a_code_list_is_no_reference_to_another(tables: Database) -> None:
    tables.execute(
        "create table stato (kod varchar(12) primary key, klartext text not null); "
        "create table guest_allergy (guest_id int references guest, kod varchar(12), primary key (guest_id, kod))"
    )
    allergies = {line.key: line for line in (await drafted(tables, Named("stay"))).lines}["allergies"]
    assert "string_agg(x.kod" in allergies.sql
