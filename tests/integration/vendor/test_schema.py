"""The schema is one, the examples keep it, and it refuses what the contract does not have."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cdc_bridge.vendor.contract import EXAMPLES, column_forms, column_names, example, schema
from tests.e2e.test_payload import insert, with_exact_numbers
from tests.support.bridge import run_command
from tests.support.contract import violations_of
from tests.support.databases import Database
from tests.support.payloads import define_payload, query_of

VALIDATOR = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
AS_PUBLISHED = Path(__file__).with_name("announcement.txt")


def nested_names(reservation: dict[str, Any]) -> list[str]:
    """Return an example's keys in their order; where an object is null, as the schema has them."""
    names: list[str] = []
    for key, value in reservation.items():
        inner = schema()["properties"][key].get("properties", {}) if value is None else value
        names += [f"{key}.{name}" for name in inner] if isinstance(inner, dict) and inner else [key]
    return names


def test_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


def test_first_example_is_that_of_the_announcement() -> None:
    """Its web page has lost the braces around customer, call and the whole."""
    lines = AS_PUBLISHED.read_text(encoding="utf-8").splitlines()
    customer_ends = next(n for n, line in enumerate(lines) if line.startswith('\t"id"'))
    published = "{" + "\n".join([*lines[:customer_ends], "},", *lines[customer_ends:], "}}"])
    assert with_exact_numbers(published) == with_exact_numbers(json.dumps(example()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_keeps_the_schema_with_its_keys_in_their_order(name: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(example(name))] == []
    assert nested_names(example(name)) == column_names()


def test_every_key_is_required_and_has_a_title_and_others_are_admitted() -> None:
    levels = [schema(), schema()["properties"]["customer"], schema()["properties"]["call"]]
    for level in levels:
        assert level["required"] == list(level["properties"])
        assert all(field["title"] for field in level["properties"].values())
        assert "additionalProperties" not in level
    assert [error.message for error in VALIDATOR.iter_errors(example() | {"loyalty_points": 120})] == []


def changed(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(reservation: dict[str, Any]) -> None:
        outer, _, inner = path.partition(".")
        level = reservation[outer] if inner else reservation
        level[inner or outer] = value

    return change


def without(path: str) -> Callable[[dict[str, Any]], None]:
    def change(reservation: dict[str, Any]) -> None:
        outer, _, inner = path.partition(".")
        del (reservation[outer] if inner else reservation)[inner or outer]

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (without("wheelchair"), "$"),
        (without("customer.city"), "$.customer"),
        (without("call.number"), "$.call"),
        (without("call"), "$"),
        (changed("call", ""), "$.call"),
        (changed("cancelled", False), "$.cancelled"),
        (changed("cancelled", "t"), "$.cancelled"),
        (changed("customer.vip", None), "$.customer.vip"),
        (changed("datetime", "2021-02-22T22:30:00Z"), "$.datetime"),
        (changed("datetime", "2021-02-22T22:30:00.000+00:00"), "$.datetime"),
        (changed("datetime", "2021-02-30T22:30:00.000Z"), "$.datetime"),
        (changed("updated", ""), "$.updated"),
        (changed("id", "43b39683ab734a038ada1b27345e9c90"), "$.id"),
        (changed("id", "43B39683-AB73-4A03-8ADA-1B27345E9C90"), "$.id"),
        (changed("id", ""), "$.id"),
        (changed("deposit_due", "20"), "$.deposit_due"),
        (changed("adults", 2.5), "$.adults"),
        (changed("notes", None), "$.notes"),
    ],
)
def test_what_departs_from_the_contract_is_refused(change: Callable[[dict[str, Any]], None], where: str) -> None:
    reservation = deepcopy(example())
    change(reservation)
    assert {error.json_path for error in VALIDATOR.iter_errors(reservation)} == {where}
    if where != "$.id" and "30T" not in reservation["datetime"]:  # neither is looked at where tests receive
        assert {told.partition(":")[0] for told in violations_of(reservation)} == {where}


@pytest.mark.parametrize(
    "change",
    [
        changed("id", 920),
        changed("room_id", ""),
        changed("room_id", None),
        changed("call", None),
        changed("customer", None),
        changed("customer.terms_agreed", None),
        changed("deposit_due", 20.5),
    ],
)
def test_what_a_mapping_may_post_is_admitted(change: Callable[[dict[str, Any]], None]) -> None:
    reservation = deepcopy(example())
    change(reservation)
    assert [error.message for error in VALIDATOR.iter_errors(reservation)] == []


@pytest.mark.parametrize("name", EXAMPLES)
async def test_example_that_is_loaded_as_rows_is_posted_as_it_stands(name: str, database: Database) -> None:
    reservation = example(name)
    insert(database, "customers", reservation["customer"])
    if call := reservation["call"]:
        insert(database, "calls", call)
    columns = {key: value for key, value in reservation.items() if key not in {"customer", "call"}}
    insert(database, "reservations", columns | {"call_id": call["call_id"] if call else None})
    code, posted, errors = await run_command("payload", reservation["id"], CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert (code, errors) == (0, "")
    assert with_exact_numbers(posted) == with_exact_numbers(json.dumps(reservation))


COLUMNS = """
select c.name, c.type
from cdc_bridge.payload_definition d
cross join unnest(d.columns, d.types) with ordinality as c (name, type, number)
where d.name = 'reservation'
order by c.number
"""
TYPES = {
    "text": {"text"},
    "key": {"text"},
    "keyOrNone": {"text"},
    "flag": {"text"},
    "instant": {"timestamptz"},
    "count": {"int4"},
    "amount": {"numeric"},
}


def test_payload_has_the_schemas_columns_in_their_order_and_in_types_that_fit(database: Database) -> None:
    columns = dict(database.execute(COLUMNS))
    assert list(columns) == column_names()
    assert {
        column: columns[column] for column, form in column_forms().items() if columns[column] not in TYPES[form]
    } == {}


def change_columns(database: Database, **expressions: str) -> None:
    """Define the payload anew, with other expressions for some of its columns."""
    selected = ", ".join(expressions.get(name, f'"{name}"') + f' as "{name}"' for name in column_names())
    define_payload(database, f"select {selected} from ({query_of(database)}) as shipped")


async def line_of_check(database: Database) -> str:
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url, "COLUMNS": "400"}
    _, output, _ = await run_command("check", **settings)
    return next(line for line in output.splitlines() if " mapping " in line)


async def test_check_finds_what_would_not_be_written_as_the_contract_has_it(database: Database) -> None:
    assert f"{len(column_names())} columns" in await line_of_check(database)
    change_columns(database, adults="adults::text", cancelled="(cancelled = 'T')::integer", updated="updated::text")
    line = await line_of_check(database)
    assert "adults is text, not count; cancelled is int4, not flag; updated is text, not instant" in line


@pytest.mark.parametrize(
    "expressions",
    [
        {"cancelled": "cancelled = 'T'", "id": "reference", "room_id": "null::uuid", "deposit_due": "20::float8"},
        {"extras": "jsonb_build_array(1)", "adults": "adults::numeric", "notes": "created"},
    ],
)
async def test_check_lets_pass_what_may_be_written_so(expressions: dict[str, str], database: Database) -> None:
    change_columns(database, **expressions)
    assert f"{len(column_names())} columns" in await line_of_check(database)
