"""The vendor guide's table of fields is that of the schema, and says what can be null."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator

from cdc_bridge.vendor.contract import form_in_contract, schema
from tests.support.generated import VENDOR_GUIDE, generated_part
from tests.support.guide_tables import FIELDS_PART, fields_table

SCHEMA = schema()


def described_fields() -> dict[str, dict[str, Any]]:
    """Return the schema of each field, by its name in the table."""
    top: dict[str, dict[str, Any]] = SCHEMA["properties"]
    nested = {
        f"{key}.{name}": inner for key, value in top.items() for name, inner in value.get("properties", {}).items()
    }
    return top | nested


def accepts_null(described: dict[str, Any]) -> bool:
    return not list(Draft202012Validator(described | {"$defs": SCHEMA["$defs"]}).iter_errors(None))


def test_table_of_fields_is_that_of_the_schema() -> None:
    assert generated_part(VENDOR_GUIDE, FIELDS_PART) == f"\n{fields_table()}\n", "make man brings it up to date"


def test_table_has_every_field_and_what_can_be_null() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| [^|]+ \| ([^|]*) \|", fields_table(), flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(described_fields())
    assert {name for name, null in rows if null.strip()} == {
        name for name, described in described_fields().items() if accepts_null(described)
    }


def test_guide_names_what_can_be_null() -> None:
    text = VENDOR_GUIDE.read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^\* Only these can be `null`: (.*?)(?=^\* )", text, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`([a-z_.]+)`", sentence))
    nullable = {name for name, described in described_fields().items() if accepts_null(described)}
    times = {name for name in nullable if form_in_contract(described_fields()[name]) == "instant"}
    assert nullable - times <= named
    assert "every time" in sentence
