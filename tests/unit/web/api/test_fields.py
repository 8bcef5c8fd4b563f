"""Fields of requests: what is read, what is rejected, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from cdc_bridge.model import DeliveryState
from cdc_bridge.web.api import fields
from cdc_bridge.web.api.fields import Field, read_fields
from cdc_bridge.web.api.paging import cursor_field

FIELDS = (
    fields.text("name", "Name."),
    fields.text("secret", "Secret.", nullable=True),
    fields.texts("keys", "Keys.", most=2),
    fields.choice("start", "Start.", ["now", "oldest"]),
    fields.choices("states", "States.", DeliveryState),
    fields.switch("signed", "Signed.", default=True),
    fields.number("hours", "Hours.", minimum=0, maximum=10, default=2),
    fields.instant("since", "Since."),
)


def test_what_is_not_given_has_its_default() -> None:
    read = read_fields({}, FIELDS)
    assert read.values == {
        "name": None, "secret": None, "keys": [], "start": "now", "states": [], "signed": True, "hours": 2,
        "since": None,
    }  # fmt: skip
    assert (read.given, read.faults) == (frozenset(), [])


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("name", "x", "x"),
        ("secret", None, None),
        ("keys", ["a", "b"], ["a", "b"]),
        ("start", "oldest", "oldest"),
        ("states", ["dead", "queued"], [DeliveryState.DEAD, DeliveryState.QUEUED]),
        ("signed", False, False),
        ("hours", 1.5, 1.5),
        ("since", "2026-07-01T18:30:00Z", datetime(2026, 7, 1, 18, 30, tzinfo=UTC)),
        ("since", "2026-07-01t18:30:00.123456789+01:00", datetime(2026, 7, 1, 17, 30, 0, 123456, UTC)),
    ],
)
def test_value_is_read(name: str, value: Any, meaning: Any) -> None:
    read = read_fields({name: value}, FIELDS)
    assert (read.values[name], *read.given, *read.faults) == (meaning, name)
    assert valid(name, value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("name", 1, "has to be a text"),
        ("name", None, "has to be a text"),
        ("name", "\0", "has a character that PostgreSQL does not store"),
        ("secret", [], "has to be a text"),
        ("keys", "a", "has to be a list of texts"),
        ("keys", ["a", 1], "has to be a text"),
        ("keys", ["a", "b", "c"], "has more than 2 texts"),
        ("start", "later", "has to be one of now, oldest"),
        ("start", ["now"], "has to be one of now, oldest"),
        ("states", "dead", "has to be one or more of queued, "),
        ("states", ["dead", {}], "has to be one or more of queued, "),
        ("signed", 1, "has to be true or false"),
        ("hours", True, "has to be a number"),
        ("hours", "1", "has to be a number"),
        ("since", 1, "has to be a time with its zone"),
        ("since", "2026-07-01", "has to be a time with its zone"),
        ("since", "2026-07-01T18:30:00", "has to be a time with its zone"),
        ("since", "2026-02-30T18:30:00Z", "has to be a time with its zone"),
        ("since", "0001-01-01T00:00:00+23:59", "has to be a time with its zone"),
        ("since", "\uff12\uff10\uff12\uff16-07-01T18:30:00Z", "has to be a time with its zone"),
    ],
)
def test_value_that_cannot_be_used_is_named(name: str, value: Any, words: str) -> None:
    (fault,) = read_fields({name: value}, FIELDS).faults
    assert fault.name == name
    assert fault.problem.startswith(words)
    assert not valid(name, value) or name == "since" or value == "\0"


def valid(name: str, value: Any) -> bool:
    (schema,) = (dict(field.schema) for field in FIELDS if field.name == name)
    return bool(Draft202012Validator(schema, format_checker=FormatChecker()).is_valid(value))


def test_all_faults_are_found_and_unknown_fields_are_among_them() -> None:
    read = read_fields({"nmae": "x", "hours": "x", "signed": 0, "x" * 1000: 1}, FIELDS)
    assert [fault.name for fault in read.faults] == ["nmae", "x" * 499 + "…", "signed", "hours"]
    assert read.faults[0].problem == "is not known; did you mean name?"


@pytest.mark.parametrize("text", ["0", "1001", "-1", "1.0", "1e1", "", " 1", "\u0661", "9" * 30])
def test_size_of_a_page_is_a_whole_number_within_limits(text: str) -> None:
    limit = (fields.limit(default=10, most=1000),)
    assert [fault.name for fault in read_fields({"limit": text}, limit).faults] == ["limit"]
    assert read_fields({"limit": "1000"}, limit).values == {"limit": 1000}


def test_null_removes_an_option_that_may_be_without_a_value() -> None:
    options: tuple[Field, ...] = tuple(fields.option_fields(adding=False))
    read = read_fields({"headers": None, "ca_file": None, "max_per_second": None, "max_in_flight": None}, options)
    assert read.options == {"headers": (), "ca_file": "", "max_per_second": "", "max_in_flight": None}
    assert read.faults == []


@pytest.mark.parametrize("text", ["", "!", "YQ", "é", "YWI=\n", "/+8="])
def test_cursor_that_is_none_is_rejected(text: str) -> None:
    def parse(place: str) -> str:
        if not place:
            raise ValueError("is empty")
        return place

    assert read_fields({"cursor": text}, (cursor_field(parse),)).faults
    assert read_fields({"cursor": "YQ=="}, (cursor_field(parse),)).values == {"cursor": "a"}
