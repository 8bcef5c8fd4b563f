"""``check --sample`` holds what would be sent now to the schema; it names keys, kinds and ids, never a value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.payloads import define_payload, replace_in_payload

GUEST = "Fforde-Grenfell"
KITCHEN = 'select r.id, r.adults, r.room_name as "@room" from {reservation} r'
UNLOADABLE = """
create function public.covers(reservation public.reservations) returns integer language plpgsql as $$
begin
  if reservation.notes = 'odd' then
    raise exception 'Fforde-Grenfell' using errcode = '40001';
  end if;
  return case reservation.notes when 'word' then 'Fforde-Grenfell' else '2' end::integer;
end $$
"""


def key(number: int) -> str:
    return f"{number:032X}"


def book(database: Database, count: int, *, first: int = 0, **columns: Any) -> None:
    """Insert reservations, each with a transaction of its own."""
    database.execute("insert into customers (id) values (%s) on conflict do nothing", (key(0),))
    names, values = ", ".join(["", *columns]), ", ".join(["", *["%s"] * len(columns)])
    for number in range(first, first + count):
        database.execute(
            f"insert into reservations (id, cust_id, reference{names}) values (%s, %s, 1{values})",
            (key(number), key(0), *columns.values()),
        )


async def checked(database: Database, number: str, **settings: str) -> tuple[int, dict[str, Any]]:
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url} | settings
    code, output, errors = await run_command("check", "--sample", number, "--json", **settings)
    assert errors == ""
    assert GUEST not in output
    return code, json.loads(output)


def verdicts(told: dict[str, Any]) -> list[str]:
    return [check["verdict"] for check in told["checks"] if check["name"] == "sample"]


async def test_bodies_that_are_as_the_contract_has_them_pass(database: Database, bridges: Bridges) -> None:
    book(database, 3)
    code, told = await checked(database, "500", **bridges.settings)
    assert (code, told["ok"], verdicts(told)) == (0, True, ["ok"])
    assert told["samples"] == [
        {
            "payload": "reservation",
            "bodies": 3,
            "faults": [],
            "not_loaded": [],
            "search_problem": None,
            "timed_out": False,
            "problem": None,
        }
    ]
    _, told = await checked(database, "2")
    assert told["samples"][0]["bodies"] == 2


async def test_faults_are_counted_by_key_and_kind_without_a_value(database: Database) -> None:
    replace_in_payload(database, 'c.vip as "customer.vip"', 'c.surname as "customer.vip"')
    replace_in_payload(database, "r.adults,", "nullif(r.adults, 4) as adults,")
    database.execute("insert into customers (id, surname) values (%s, %s)", (key(0), GUEST))
    book(database, 7)
    book(database, 1, first=7, adults=4)
    code, told = await checked(database, "500")
    assert (code, told["ok"], verdicts(told)) == (1, False, ["failed"])
    (sample,) = told["samples"]
    assert sample["bodies"] == 8
    vip, adults = sample["faults"]
    assert (vip["key"], vip["kind"], vip["count"]) == ("customer.vip", 'neither "T" nor "F"', 8)
    assert len(vip["ids"]) == 5
    assert adults == {"key": "adults", "kind": "null, not integer", "count": 1, "ids": [key(7)]}
    code, output, errors = await run_command("check", "--sample", "8", CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert (code, errors) == (1, "")
    assert GUEST not in output
    assert 'payload "reservation": 8 bodies, 2 faults of the schema' in output
    assert '  customer.vip: 8 of 8 are neither "T" nor "F"\n    such as ' in output
    assert f"  adults: 1 of 8 is null, not integer\n    such as {key(7)}\n" in output
    assert max(map(len, output.partition('Payload "reservation":')[2].splitlines())) <= 80


async def test_reservation_that_cannot_be_loaded_is_counted_with_its_reason_and_the_others_are_held_to_the_schema(
    database: Database,
) -> None:
    database.execute(UNLOADABLE)
    replace_in_payload(database, "r.adults,", "public.covers(r) as adults,")
    book(database, 20)
    book(database, 2, first=20, notes="word")
    book(database, 1, first=22, notes="odd")
    # The function may have effects, so that PostgreSQL calls it for each row that it searches, too.
    code, told = await checked(database, "100")
    assert code == 1
    (sample,) = told["samples"]
    assert (sample["bodies"], sample["faults"]) == (20, [])
    assert sample["search_problem"] in {each["reason"] for each in sample["not_loaded"]}
    assert {(each["reason"], each["count"]) for each in sample["not_loaded"]} == {
        ("InvalidTextRepresentation, SQLSTATE 22P02", 2),
        ("SerializationFailure, SQLSTATE 40001", 1),
    }


async def test_each_payload_is_held_to_its_own_schema_and_only_reservations_that_an_endpoint_gets_are_loaded(
    database: Database, endpoint: EndpointCommands
) -> None:
    define_payload(database, KITCHEN, "kitchen")
    for room in ("Bar", "Terrace"):
        await endpoint.run(
            "add", room.lower(), "https://till.example/", "--payload", "kitchen", "--only", f"@room={room}"
        )
    only = ("--only", "room_name=Bar", "--only", "adults=2,3")
    await endpoint.run("add", "till", "https://till.example/", *only)
    for number, (room, adults) in enumerate([("Bar", 2), ("Bar", 4), ("Terrace", 2), ("Cellar", 2)]):
        book(database, 1, first=number, room_name=room, adults=adults)
    _, told = await checked(database, "10")
    assert verdicts(told) == ["ok", "ok"]
    assert {sample["payload"]: sample["bodies"] for sample in told["samples"]} == {"kitchen": 3, "reservation": 1}


async def test_many_endpoints_share_the_sample_of_their_payload(database: Database) -> None:
    database.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, headers, max_in_flight, latest_only, "
        'timeout_seconds, connect_timeout_seconds, position, cluster, "only") '
        "select 'till-' || n, false, 'https://till.example', '{}', 1, false, 1, 1, pg_current_snapshot(), "
        "(select system_identifier from pg_control_system()), array['room_name=' || n, 'adults=2'] "
        "from generate_series(1, 300) as n"
    )
    book(database, 3, room_name="7")
    book(database, 2, first=3, room_name="7", adults=3)
    book(database, 4, first=5, room_name="301")
    _, told = await checked(database, "100")
    assert [sample["bodies"] for sample in told["samples"]] == [3]


async def test_half_of_a_sample_changed_last_and_the_others_are_the_first_of_the_table(database: Database) -> None:
    replace_in_payload(database, "r.adults,", "'x' as adults,")  # so that ids are told
    book(database, 10)
    database.execute("update reservations set notes = 'changed' where id = any (%s)", ([key(5), key(6)],))
    _, told = await checked(database, "4")
    (fault,) = told["samples"][0]["faults"]
    assert set(fault["ids"]) == {key(0), key(1), key(5), key(6)}


async def test_nothing_to_load_is_a_warning_and_a_payload_that_does_not_fit_a_failure(database: Database) -> None:
    _, told = await checked(database, "10")
    assert verdicts(told) == ["warning"]
    database.execute("alter table reservations rename column adults to grown_ups")
    code, told = await checked(database, "10")
    assert (code, verdicts(told)) == (1, ["failed"])
    assert "does not fit e-Res's tables" in told["samples"][0]["problem"]


async def test_sample_is_skipped_without_a_database() -> None:
    code, output, _ = await run_command(
        "check", "--sample", "5", "--json", CDC_BRIDGE_DATABASE_URL="host=/nowhere dbname=none"
    )
    told = json.loads(output)
    assert (code, verdicts(told), told["samples"]) == (1, ["skipped"], [])


@pytest.mark.parametrize("arguments", [(), ("--endpoint", "till")])
async def test_payload_names_what_is_wrong_with_the_body_it_prints(
    arguments: tuple[str, ...], database: Database, endpoint: EndpointCommands
) -> None:
    replace_in_payload(database, 'c.vip as "customer.vip"', 'c.surname as "customer.vip"')
    define_payload(database, "select r.id, r.adults from {reservation} r", "kitchen")
    await endpoint.run("add", "till", "https://till.example/", "--payload", "kitchen")
    database.execute("insert into customers (id, surname) values (%s, %s)", (key(0), GUEST))
    book(database, 1)
    code, output, errors = await run_command("payload", key(0), *arguments, CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert (code, json.loads(output)["id"]) == (0, key(0))
    wrong = 'The body is not as the contract has it:\n  customer.vip is neither "T" nor "F"\n'
    assert errors == ("" if arguments else wrong)
