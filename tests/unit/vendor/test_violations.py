"""What ``receive`` says of a body that departs from the schema: where and what is expected, and nothing of the body."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cdc_bridge.vendor.contract import EXAMPLES, example
from cdc_bridge.vendor.violations import faults_of, validator_of, violations_of

SURNAME = "Fforde-Grenfell"


@pytest.mark.parametrize("name", EXAMPLES)
def test_there_is_none_in_the_contracts_examples(name: str) -> None:
    assert violations_of(orjson.dumps(example(name) | {"loyalty_points": 120})) == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cancelled": SURNAME}, '$.cancelled fails enum ["T","F"]'),
        ({"adults": SURNAME}, '$.adults fails type "integer"'),
        ({"notes": None}, '$.notes fails type "string"'),
        ({"call": SURNAME}, '$.call fails type ["object","null"]'),
        ({"id": SURNAME}, '$.id fails pattern "^[0-9A-F]{32}$"'),
        ({"datetime": "2021-02-30T22:30:00.000Z"}, '$.datetime fails format "date-time"'),
        ({"@restaurant_id": SURNAME}, '$ fails pattern "^[^@]"'),
    ],
)
def test_place_keyword_and_expectation_are_said(changes: dict[str, Any], told: str) -> None:
    assert violations_of(orjson.dumps(example() | changes)) == (told,)


def test_all_keys_that_a_level_lacks_are_one_and_a_few_are_named() -> None:
    reservation = example()
    del reservation["wheelchair"]
    reservation["customer"] = {SURNAME: SURNAME}
    assert violations_of(orjson.dumps(reservation)) == (
        "$ lacks wheelchair",
        "$.customer lacks id, title, firstname and 24 more",
    )


@pytest.mark.parametrize("body", [b"", b"{", b'{"adults": NaN}', b'"\xff"'])
def test_what_is_not_json_is_said_to_be_none(body: bytes) -> None:
    assert violations_of(body) == ("not JSON",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cancelled": SURNAME}, 'cancelled is neither "T" nor "F"'),
        ({"adults": None}, "adults is null, not integer"),
        ({"adults": True}, "adults is boolean, not integer"),
        ({"adults": 2.5}, "adults is number, not integer"),
        ({"call": [SURNAME]}, "call is array, not object or null"),
        ({"id": SURNAME}, "id is neither an integer nor of the form ^[0-9A-F]{32}$"),
        ({"datetime": "2021-02-30T22:30:00.000Z"}, "datetime is no date-time"),
        ({"@restaurant_id": SURNAME}, "the body is not of the form ^[^@]"),
    ],
)
def test_fault_names_the_key_and_its_kind(changes: dict[str, Any], told: str) -> None:
    assert list(map(str, faults_of(orjson.dumps(example() | changes)))) == [told]


def test_each_missing_key_is_a_fault_with_its_path() -> None:
    reservation = example()
    del reservation["wheelchair"], reservation["customer"]["vip"]
    assert set(map(str, faults_of(orjson.dumps(reservation)))) == {"wheelchair is missing", "customer.vip is missing"}


def test_fault_of_another_schema_quotes_that() -> None:
    validator = validator_of({"properties": {"adults": {"maximum": 8}, "status": {"enum": ["A", "B", None]}}})
    told = faults_of(orjson.dumps({"adults": 9, "status": SURNAME}), validator)
    assert set(map(str, told)) == {"adults is against maximum 8", 'status is none of "A", "B", null'}
    assert list(map(str, faults_of(b"{"))) == ["the body is not JSON"]
