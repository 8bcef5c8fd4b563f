"""Code that the owner of e-Res's tables plants wherever it can runs when reservations are loaded, and reaches nothing.

The planted function tries what is known to turn a moment in our session into more: settings, cursors, deferred
triggers, prepared statements and functions that outlive it. Whatever runs with a right on secrets, then or later,
writes into a table that everybody may write to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.payloads import query_of, replace_in_payload
from tests.support.receiver import Receiver
from tests.support.waiting import until

OWNER = "cdc_bridge_test_planter"
SECRET = "whsec_bm90IGZvciB0aGUgb3duZXIgb2YgdGhlIHRhYmxlcw=="
PLANT = (Path(__file__).parent / "planted_code.sql").read_text(encoding="utf-8")

PLACES = {
    "view": """
        alter table public.customers rename to guests;
        create view public.customers as select g.* from public.guests g where evil.plant() is not null;
        grant select on public.customers to cdc_bridge_loader;
    """,
    "function": "",
    "cast": """
        create type evil.state as enum ('N', 'C');
        create function evil.state_text(evil.state) returns text language plpgsql immutable as
          $$begin return left(evil.plant() || 'N', 1); end$$;
        create cast (evil.state as text) with function evil.state_text(evil.state);
        alter table public.reservations drop constraint if exists reservations_status_check;
        alter table public.reservations alter column status drop default, alter column status type evil.state using 'N',
          alter column status set default 'N';
        grant usage on type evil.state to public;
    """,
    "operator": """
        create view public.tables_of as
          select r.id from public.reservations r where r.id operator(evil.=) r.cust_id or true;
        grant select on public.tables_of to cdc_bridge_loader;
    """,
    "constant": """
        create function evil.always() returns boolean language plpgsql immutable as
          $$begin perform evil.plant(); return true; end$$;
        alter table public.customers rename to guests;
        create view public.customers as select g.* from public.guests g where evil.always();
        grant select on public.customers to cdc_bridge_loader;
    """,
    "index": """
        create function evil.indexed(text) returns text language plpgsql immutable as
          $$begin perform evil.plant(); return $1; end$$;
        create index on public.reservations (evil.indexed(notes));
        alter table public.reservations add column planted text generated always as (evil.indexed(notes)) stored;
        alter table public.reservations alter column tables set default evil.plant();
        create function evil.triggered() returns trigger language plpgsql as
          $$begin perform evil.plant(); return new; end$$;
        create trigger planted before insert or update on public.reservations
          for each row execute function evil.triggered();
        alter table public.reservations add check (evil.indexed(id) is not null);
    """,
}
IN_MAPPING = {
    "function": ("r.taken_by,", "evil.plant() as taken_by,"),
    "cast": ("r.status,", "r.status::text as status,"),
    "operator": ("from public.reservations r", "from public.reservations r join public.tables_of o using (id)"),
}
MARKERS = {"function": b'"taken_by":"nothing"', "cast": b'"status":"n"'}
"""What the body has where the planted code ran and read nothing."""


@pytest.fixture(autouse=True)
def planter(database: Database) -> Iterator[None]:
    database.execute(f"create role {OWNER} login password '{OWNER}'")
    database.execute(f"grant create on database {database.name} to {OWNER}; grant create on schema public to {OWNER}")
    for table in ("reservations", "customers", "calls"):
        database.execute(f"alter table public.{table} owner to {OWNER}")
    as_owner(database, PLANT)
    yield
    database.execute(f"drop owned by {OWNER} cascade; drop role {OWNER}")


def as_owner(database: Database, statements: str) -> None:
    url = database.server.url_for(database.name, user=OWNER, password=OWNER)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def book(database: Database, number: int) -> None:
    as_owner(
        database,
        f"insert into public.reservations (id, cust_id, reference, notes) values ('R{number}', 'C', {number}, 'N');"
        f"update public.reservations set adults = {number} where id = 'R{number}'",
    )


def looted(database: Database) -> list[tuple[str, str, str]]:
    return database.execute("select place, who, what from evil.loot where who not in (%s) order by 1", (OWNER,))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
async def test_planted_code_reaches_no_secret(
    place: str, database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    database.execute("insert into public.customers (id) values ('C')")
    add_endpoint(database, "till", receiver.url, certificates.ca_file, SECRET)
    as_owner(database, PLACES[place])
    if place in IN_MAPPING:
        replace_in_payload(database, *IN_MAPPING[place])
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT")]:
        del bridges.settings[name]
    settings = bridges.settings | {"CDC_BRIDGE_RECONCILE_INTERVAL_SECONDS": "0.5"}
    bridge = await bridges.start(**settings)
    for number in range(1, 7):
        book(database, number)
        await until(
            lambda number=number: {"R1", f"R{number}"} <= {one.reservation_id for one in receiver.delivered},  # type: ignore[misc]
            "it is delivered",
        )
    await bridge.wait_for_log("reconciled")
    # As a superuser and as the daemon's role: what loads reservations, and what merely runs in the same database.
    for url in (database.url, database.bridge_url):
        for command in (
            ("check", "--sample", "5"),
            ("payload", "R1"),
            ("reconcile", "--endpoint", "till", "--repair"),
            ("backfill", "till", "--again"),
            ("deliveries",),
            ("status",),
        ):
            _, output, errors = await run_command(*command, **settings | {"CDC_BRIDGE_DATABASE_URL": url})
            assert "Traceback" not in errors
            assert SECRET not in output + errors
    code, output, errors = await run_command("install", **settings | {"CDC_BRIDGE_DATABASE_URL": database.url})
    assert code == 0, output + errors
    database.execute("select cdc_bridge.define_payload('reservation', %s)", (query_of(database) + "\n",))
    # Nor does it leave anything in the daemon's sessions, which last.
    leaked = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock'"
    await until(lambda: database.value(leaked) == 0, "no lock is left")
    await bridge.terminate()

    bodies = b"".join(request.body for request in receiver.delivered)
    assert SECRET.encode() not in bodies
    assert looted(database) == []
    functions = database.execute(
        "select proname, proowner::regrole::text, prosecdef from pg_proc "
        "where pronamespace = 'cdc_bridge'::regnamespace and (proname like 'load\\_%' or proname like 'payload\\_%') "
        "and proname not in ('payload_condition', 'payload_base')"  # They read no table of e-Res.
    )
    assert {(owner, definer) for _, owner, definer in functions} == {("cdc_bridge_loader", True)}
    if marker := MARKERS.get(place):
        assert marker in bodies
    if place == "index":
        assert database.value("select count(*) from evil.attempt") > 0


async def test_what_is_planted_would_loot_where_it_ran_with_rights(database: Database) -> None:
    """The trap works: run by a superuser it does write down the secrets."""
    database.execute("insert into public.customers (id) values ('C')")
    database.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, headers, secret, max_in_flight, latest_only, "
        "timeout_seconds, connect_timeout_seconds, position, cluster) "
        "values ('till', false, 'https://till', '{}', %s, 1, false, 1, 1, '1:1:', 1)",
        (SECRET,),
    )
    database.execute("select evil.plant()")
    found = looted(database)
    assert {place for place, _, _ in found} >= {"direct", "held cursor"}
    assert any(SECRET in what for _, _, what in found)


async def test_policy_makes_loading_fail_and_is_named(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    database.execute("insert into public.customers (id) values ('C')")
    bridge = await bridges.start()
    book(database, 1)
    await receiver.wait_for_delivered(1)
    as_owner(
        database,
        "create policy planted on public.reservations for select using (evil.plant() is not null);"
        "alter table public.reservations enable row level security",
    )
    book(database, 2)
    line = await bridge.wait_for_log("endpoint invalid")
    assert "row-level security" in line["problem"]
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "alter role cdc_bridge_loader bypassrls" in " ".join(output.split())
    assert looted(database) == []
    database.execute("alter role cdc_bridge_loader bypassrls")
    try:
        await until(lambda: any(one.reservation_id == "R2" for one in receiver.delivered), "it is delivered")
        assert looted(database) == []
    finally:
        database.execute("alter role cdc_bridge_loader nobypassrls")
