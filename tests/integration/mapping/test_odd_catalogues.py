"""Drafts from catalogues that hardly anybody would make on purpose, or that somebody made to harm whoever runs them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from cdc_bridge.errors import NotFound
from cdc_bridge.mapping.catalogue import read_catalogue
from cdc_bridge.mapping.draft import Draft, Named, draft
from cdc_bridge.mapping.draft_text import text_of
from cdc_bridge.mapping_check.report import MappingVerdict
from cdc_bridge.schema.install import install
from tests.support.databases import Database

BOOKING = "create table booking (id int primary key, starts_at timestamptz not null, covers int"
GUEST = "create table guest (id int primary key, first_name text, surname text);"
LONG = "l" * 50


def booking(*columns: str) -> str:
    return f"{', '.join([BOOKING, *columns])});"


async def drafted(database: Database, named: Named = Named()) -> Draft:  # noqa: B008
    async with database.connection() as connection:
        return draft(await read_catalogue(connection), named, "Europe/London")


async def installed(database: Database, folder: Path, named: Named = Named()) -> str:  # noqa: B008
    """Draft, check and install; return the draft."""
    text = text_of(await drafted(database, named))
    mapping = folder / "mapping.sql"
    mapping.write_text(text)
    await install(database.url, mapping, lambda _: None, verdict=MappingVerdict(mapping))
    return text


def planted(names: Iterable[str]) -> str:
    """Return columns of names as they are written in SQL."""
    return booking(*('"' + name.replace('"', '""') + '" text' for name in names))


HOSTILE = {
    "line breaks in names that a comment says": planted(
        [
            "status\n) as x $query$); create table public.planted (); --",
            "notes\n$query$); create table public.planted (); --",
            "remarks\r\n$query$); create table public.planted (); --",
            "source\n$query$); create table public.planted (); --",
        ]
    ),
    "end of the quotes in a name": planted(["status $query$); create table public.planted (); --", "notes $query1$"]),
    "end of the quotes in a value": "create type kind as enum ('confirmed', "
    "'cancel''led $query$); create table public.planted (); --', 'no show {x}', E'canc\\nelled'); "
    + booking("status kind"),
    "line breaks in names of a table that refers to reservations": booking("status text")
    + 'create table "table_name\n); create table public.planted (); --" (id int primary key, name text, "booking\n'
    '); create table public.planted (); --" int references booking)',
    "quotes, braces and percent signs": planted(['status "x"', "notes {reservation} %s %(id)s %", "source'; select '"]),
}


@pytest.mark.parametrize("statement", HOSTILE.values(), ids=HOSTILE)
async def test_name_stays_a_name(statement: str, empty_database: Database, tmp_path: Path) -> None:
    empty_database.execute(statement)
    await installed(empty_database, tmp_path)
    assert empty_database.value("select to_regclass('public.planted')") is None


ODD = {
    "names without a letter of ours": booking('"Имя" text', '"电话" text', '"---" text', '"1" text'),
    "tables that begin with a digit, and two of one name": GUEST
    + 'create table "2fa_status" (id int primary key, name text);'
    + booking("guest_id int references guest", 'status_id int references "2fa_status"')
    + 'create table "3_addresses" (guest_id int primary key references guest, address1 text, city text, postcode text);'
    'create schema other; create table other."3_addresses" (guest_id int primary key references guest, vip bool);',
    "names that are cut off": GUEST
    + f"create table {LONG}_status_a (id int primary key, name text, vip bool);"
    + f"create table {LONG}_status_b (id int primary key, name text, wheelchair bool);"
    + booking(f"status_id int references {LONG}_status_a", f"source_id int references {LONG}_status_b"),
    "reserved words": 'create table "user" (id int primary key, "first" text, surname text);'
    'create table "analyse" (id int primary key, name text); create schema "authorization";'
    + booking('"user" int references "user"', 'status_id int references "analyse"', '"table" text', '"ilike" text'),
    "a hundred and twenty references to one table": "create table lookup (id int primary key, name text);"
    + booking(*(f"l{number}_id int references lookup" for number in range(120))),
    "tables without columns": "create table customers (); create table calls ();" + booking(),
    "codes of letters for a number": booking("status int")
    + "comment on column booking.status is 'A = confirmed, B = cancelled'",
    "codes for a time": booking("status timestamptz", "cancelled timestamptz")
    + "comment on column booking.status is '1 = confirmed, 9 = cancelled'",
    "enumeration named like an array": "create type _status as enum ('confirmed', 'cancelled');"
    + booking("status _status"),
    "enumeration named like a type of PostgreSQL": "create type public.money as enum ('none', 'paid');"
    + booking("deposit_due public.money", "notes text"),
    "domains over domains": "create domain one as text; create domain two as one not null; create domain three as two;"
    "create domain number as int; create domain further as number;"
    "create table booking (id further primary key, starts_at timestamptz not null, covers further, status three,"
    " notes two default '', vip bool generated always as (covers > 3) stored)",
    "rows that refer to rows of their own table, and to one another": GUEST
    + booking("guest_id int references guest", "parent_id int references booking")
    + "alter table guest add booking_id int references booking, add friend_id int references guest",
    "partitions of partitions": "create table booking (id int, starts_at timestamptz not null, covers int, status text,"
    " primary key (id, starts_at)) partition by range (starts_at); create table booking_1 partition of booking"
    " for values from ('2020-01-01') to ('2030-01-01') partition by range (starts_at); create table booking_2"
    " partition of booking_1 for values from ('2020-01-01') to ('2025-01-01')",
    "inheritance": "create table base (id int primary key, created_at timestamptz); create table booking"
    " (starts_at timestamptz not null, covers int, status text, primary key (id)) inherits (base)",
    "rows without a key of their own": "create table guest (tenant int, no int, surname text, first_name text,"
    " primary key (tenant, no)); create table booking (tenant int, id int unique not null, starts_at timestamptz"
    " not null, covers int, guest_no int, primary key (tenant, id), foreign key (tenant, guest_no) references guest);"
    "create table phone (tenant int, guest_no int, kind text, number text, foreign key (tenant, guest_no)"
    " references guest)",
    "columns that were dropped": booking("gone int", "status text", "guest_name text")
    + "alter table booking drop gone, drop status",
}


@pytest.mark.parametrize("statement", ODD.values(), ids=ODD)
async def test_draft_is_a_mapping_that_can_be_installed(
    statement: str, empty_database: Database, tmp_path: Path
) -> None:
    empty_database.execute(statement)
    await installed(empty_database, tmp_path)


async def test_column_whose_name_ends_like_a_key_is_selected_as_the_key(empty_database: Database) -> None:
    empty_database.execute(booking('"booking.notes" text'))
    assert 'r."booking.notes" as notes' in text_of(await drafted(empty_database))


async def test_tables_in_another_script_can_be_named(empty_database: Database, tmp_path: Path) -> None:
    empty_database.execute(
        'create table "Гости" (id int primary key, "Имя" text);'
        'create table "Бронь" (id int primary key, "время" timestamptz, covers int, "Гость" int references "Гости")'
    )
    assert 'left join public."Гости" c' in await installed(empty_database, tmp_path, Named("Бронь", "Гости"))


async def test_table_that_is_not_there_is_rejected_with_the_one_that_is_meant(empty_database: Database) -> None:
    empty_database.execute(booking() + ";".join(f"create table other_{number} (id int)" for number in range(200)))
    with pytest.raises(NotFound, match=r"there is no table bookings; did you mean booking\?") as raised:
        await drafted(empty_database, Named("bookings"))
    assert len(raised.value.remedy) < 1000
