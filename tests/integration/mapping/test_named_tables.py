"""The tables that somebody names, and what is said of a name that cannot be meant."""

from __future__ import annotations

import pytest

from cdc_bridge.errors import NotFound, WrongUsage
from cdc_bridge.mapping.catalogue import read_catalogue
from cdc_bridge.mapping.draft import Draft, Named, draft
from tests.support.databases import Database

TABLES = """
create table guest (id int primary key, first_name text, surname text);
create table phone_call (id int primary key, number text);
create table booking (
  id int primary key, starts_at timestamptz not null, covers int, guest_id int references guest, called_id int
);
create view guests as select id, surname from guest;
create view bookings as select b.*, g.surname from booking b join guests g on g.id = b.guest_id;
create materialized view guest_list as select * from bookings;
create view bookers as select distinct guest_id from booking;
create view generated as select n as id from generate_series(1, 3) as n;
create foreign data wrapper nowhere;
create server nowhere foreign data wrapper nowhere;
create foreign table remote (id int, surname text) server nowhere;
create view of_remote as select * from remote;
create table visit (id int, starts_at timestamptz not null, covers int, primary key (id, starts_at))
  partition by range (starts_at);
create table visit_1 partition of visit for values from ('2020-01-01') to ('2030-01-01') partition by range (starts_at);
create table visit_2 partition of visit_1 for values from ('2020-01-01') to ('2025-01-01');
create view visits as select * from visit_2;
create schema other;
create view other.guests as select * from guest;
"""


@pytest.fixture
def tables(empty_database: Database) -> Database:
    empty_database.execute(TABLES)
    return empty_database


async def drafted(database: Database, named: Named) -> Draft:
    async with database.connection() as connection:
        return draft(await read_catalogue(connection), named, None)


async def rejection_of(database: Database, named: Named) -> tuple[str, str]:
    with pytest.raises(WrongUsage) as raised:
        await drafted(database, named)
    return raised.value.problem, raised.value.remedy


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        ("bookings", "view", "Name the table below it: --table public.booking"),
        ("guest_list", "materialized view", "Name the table below it: --table public.booking"),
        ("public.guests", "view", "Name the table below it: --table public.guest"),
        ("visits", "view", "Name the table below it: --table public.visit"),
        ("generated", "view", "Name the table that e-Res writes to: --table SCHEMA.TABLE"),
        ("remote", "foreign table", "Draft in the database that holds the table, and install cdc-bridge there."),
        ("of_remote", "view", "Name the table that e-Res writes to: --table SCHEMA.TABLE"),
    ],
)
async def test_what_cannot_be_captured_is_named_with_the_table_that_can(
    name: str, what: str, remedy: str, tables: Database
) -> None:
    full_name = f"public.{name.removeprefix('public.')}"
    assert await rejection_of(tables, Named(name)) == (
        f"{full_name} is a {what}: capture can be attached to tables only", remedy
    )  # fmt: skip


@pytest.mark.parametrize("named", [Named("visit_1"), Named("visit_2"), Named("booking", customer="visit_2")])
async def test_partition_is_named_with_its_whole_table(named: Named, tables: Database) -> None:
    option = "--table" if named.customer is None else "--customer"
    partition = named.customer or named.reservation
    assert await rejection_of(tables, named) == (
        f"public.{partition} is a partition", f"Name its whole table: {option} public.visit"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("named", "what", "remedy"),
    [
        (
            Named("booking", customer="public.guests"), "view",
            "Draft with a table below it, and write the view in its place: --customer public.guest",
        ),
        (Named("booking", customer="remote"), "foreign table", "join it by hand: --customer none"),
        (Named("booking", call="generated"), "view", "join it by hand: --call none"),
        # The table of the reservations is below it: no other table is to be named.
        (Named("booking", customer="bookers"), "view", "join it by hand: --customer none"),
    ],
)  # fmt: skip
async def test_what_has_no_key_is_to_be_joined_by_hand(named: Named, what: str, remedy: str, tables: Database) -> None:
    problem, how = await rejection_of(tables, named)
    assert problem.endswith(f" is a {what}: nothing in the catalogue says how it is joined")
    assert how.endswith(remedy)


async def test_name_that_fits_two_views_is_rejected(tables: Database) -> None:
    assert await rejection_of(tables, Named("guests")) == (
        "there are several tables guests: write other.guests or public.guests", ""
    )  # fmt: skip


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (Named("booking", "booking"), "public.booking cannot hold the customers: it is the table of the reservations"),
        (Named(None, "booking"), "public.booking cannot hold the customers: it is the table of the reservations"),
        (
            Named("booking", None, "booking"),
            "public.booking cannot hold the calls: it is the table of the reservations",
        ),
        (Named("booking", "guest", "guest"), "public.guest cannot hold the calls: it is the table of the customers"),
        (Named("booking", None, "guest"), "public.guest cannot hold the calls: it is the table of the customers"),
    ],
)
async def test_table_is_not_taken_for_two_roles(named: Named, problem: str, tables: Database) -> None:
    tables.execute("drop schema other cascade; alter table booking add parent_id int references booking")
    assert (await rejection_of(tables, named))[0] == problem


async def test_table_of_a_guess_can_be_given_another_role(tables: Database) -> None:
    found = await drafted(tables, Named("booking", customer="none", call="guest"))
    assert (found.customer, str(found.call)) == (None, "public.guest")


async def test_reservations_cannot_be_in_no_table(tables: Database) -> None:
    with pytest.raises(NotFound, match="there is no table none"):
        await drafted(tables, Named("none"))
