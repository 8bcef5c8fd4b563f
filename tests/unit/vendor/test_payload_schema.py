"""The schema of another payload describes what is built from its columns, and no ``@`` column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from cdc_bridge.payload.builder import BodyBuilder, Column
from cdc_bridge.payload.definition import PayloadDefinition
from cdc_bridge.vendor.conformance.requests import RequestFactory
from cdc_bridge.vendor.contract import column_forms, schema
from cdc_bridge.vendor.payload_schema import schema_of_payload
from cdc_bridge.vendor.violations import validator_of, violations_of

COLUMNS = {
    "id": "text",
    "customer.surname": "text",
    "adults": "int4",
    "reference": "text",
    "datetime": "timestamptz",
    "covers": "int8",
    "table.name": "varchar",
    "table.seat.window": "bool",
    "due": "date",
    "owner": "uuid",
    "extras": "jsonb",
    "customer_2": "json",
    "@restaurant_id": "text",
    "@updated": "timestamptz",
}
VALUES = [
    "43B39683AB734A038ADA1B27345E9C90", "Chapman", 2, "920", "2021-02-22 22:30:00+00", 3, "7", "t", "2021-02-22",
    "43b39683-ab73-4a03-8ada-1b27345e9c90", "{}", "[1]", "C3DB", "2021-02-22 22:30:00+00",
]  # fmt: skip
NO_VALUES = [VALUES[0], None, 2, None, None, *[None] * 9]


def definition(columns: dict[str, str]) -> PayloadDefinition:
    return PayloadDefinition("kitchen", None, list(columns), list(columns.values()), [], [], "1")


def body(columns: dict[str, str], row: Sequence[Any]) -> bytes:
    return BodyBuilder([Column(name, type_) for name, type_ in columns.items()]).build(row)


@pytest.mark.parametrize("row", [VALUES, NO_VALUES], ids=["values", "no values"])
def test_what_is_built_is_valid_and_nothing_that_lacks_a_key(row: list[Any]) -> None:
    validator = validator_of(schema_of_payload(definition(COLUMNS)))
    built = orjson.loads(body(COLUMNS, row))
    assert violations_of(orjson.dumps(built), validator) == ()
    for key in built:
        lacking = {other: value for other, value in built.items() if other != key}
        assert violations_of(orjson.dumps(lacking), validator) == (f"$ lacks {key}",)
    told = violations_of(orjson.dumps(built | {"@restaurant_id": "C3DB"}), validator)
    assert told == ('$ fails pattern "^[^@]"',)


def test_key_of_the_contract_is_described_as_there_unless_it_is_written_otherwise() -> None:
    described = schema_of_payload(definition(COLUMNS))
    contract = schema()["properties"]
    for key in ("id", "adults", "datetime"):
        assert described["properties"][key] == contract[key]
    assert described["properties"]["customer"]["properties"]["surname"] == contract["customer"]["properties"]["surname"]
    assert described["properties"]["customer"]["title"] == "Customer"
    assert described["properties"]["reference"] == {"type": "string"}
    assert described["properties"]["extras"] == {}
    assert list(described["properties"]) == [
        "id", "customer", "adults", "reference", "datetime", "covers", "table", "due", "owner", "extras", "customer_2"
    ]  # fmt: skip
    assert set(described["$defs"]) == {"key", "count", "instant"}
    assert described["title"] == "kitchen"
    Draft202012Validator.check_schema(described)


def test_payload_of_the_contract_has_the_contracts_properties() -> None:
    types = {"key": "text", "keyOrNone": "text", "flag": "bool", "instant": "timestamptz", "count": "int4"}
    columns = {
        name: types.get(form, "numeric" if form == "amount" else "text") for name, form in column_forms().items()
    }
    described = schema_of_payload(definition(columns))
    assert described["properties"] == schema()["properties"]
    assert (described["required"], described["$defs"]) == (schema()["required"], schema()["$defs"])


def test_requests_of_the_conformance_test_follow_the_schema() -> None:
    described = schema_of_payload(definition(COLUMNS))
    requests, validator = RequestFactory(described), validator_of(described)
    assert set(requests.keys) == set(described["properties"])
    for changes in ({}, {"adults": 4}, {"notes": "hello"}, {"customer": None}, {"customer": {"surname": "O'Neill"}}):
        request = requests.reservation(**changes)
        assert violations_of(request.body, validator) == ()
        sent = orjson.loads(request.body)
        assert "notes" not in sent
        assert sent["id"] == request.subject
    assert sent["customer"] == {"surname": "O'Neill"}
    sent = orjson.loads(requests.reservation(loyalty_points=120, customer={"allergies": ["nuts"]}).body)
    assert (sent["loyalty_points"], sent["customer"]["allergies"]) == (120, ["nuts"])


@pytest.mark.parametrize("described", [{"type": "nothing"}, {"properties": {"id": {"pattern": 1}}}])
def test_what_is_no_schema_is_told(described: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no JSON Schema: \$"):
        validator_of(described)
