"""The command that drafts a mapping."""

from __future__ import annotations

from tests.support.bridge import run_command, run_command_with
from tests.support.databases import Database

TABLES = """
create table booking (
  id uuid primary key, starts_at timestamp not null, covers int not null, remarks text, comment text, guest_id int
);
create table guest (id int primary key, first_name text);
create table customer (id int primary key, surname text);
"""
ZONE = ("--time-zone", "Europe/London")


async def draft(database: Database, *options: str, answers: str = "") -> tuple[int, str, str]:
    return await run_command_with(answers.encode(), "mapping", "draft", *options, CDC_BRIDGE_DATABASE_URL=database.url)


async def test_draft_goes_to_standard_output_and_what_to_look_at_to_standard_error(empty_database: Database) -> None:
    empty_database.execute(TABLES)
    code, output, errors = await draft(empty_database, *ZONE)
    assert code == 0
    assert "r.starts_at at time zone 'Europe/London' as datetime," in output
    assert "select cdc_bridge.attach('public.booking', 'id');\n" in output
    assert "Reservations: public.booking. Customers: public.guest. Calls: none." in errors
    assert "No source was found for: customer.title," in errors
    assert "cdc-bridge mapping check FILE" in errors


async def test_draft_runs_as_it_stands(empty_database: Database) -> None:
    empty_database.execute(TABLES)
    _, output, _ = await draft(empty_database, *ZONE)
    query = output.split("$query$")[1]
    empty_database.execute(f"select * from ({query}) as reservation")


async def test_zone_that_is_missing_is_asked_for_by_option(empty_database: Database) -> None:
    empty_database.execute(TABLES)
    code, output, errors = await draft(empty_database)
    assert (code, output) == (2, "")
    assert "these times are local, and nothing says of which time zone: r.starts_at" in errors
    assert "--time-zone" in errors


async def test_person_is_asked_where_several_choices_are_likely(empty_database: Database) -> None:
    empty_database.execute(TABLES)
    code, output, errors = await draft(empty_database, *ZONE, "--interactive", answers="7\n1\n2\n" + "1\n" * 20)
    assert code == 0, errors
    assert "Which table holds the customers?" in errors
    assert "What is notes?" in errors
    assert "r.comment as notes," in output


async def test_database_that_does_not_respond_is_named() -> None:
    code, output, errors = await run_command("mapping", "draft", CDC_BRIDGE_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert (code, output) == (1, "")
    assert "127.0.0.1" in errors
