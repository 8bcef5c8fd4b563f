from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.payload.builder import BodyBuilder, Column
from cdc_bridge.payload.formats import FORMATTERS, format_instant, format_number


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("20", "20"),
        ("20.50", "20.5"),
        ("20.00", "20"),
        ("0.1", "0.1"),
        ("0.00", "0"),
        ("-1.10", "-1.1"),
        ("100", "100"),
        ("12345678.99", "12345678.99"),
        ("12345678901234567890.123456789012345678900", "12345678901234567890.1234567890123456789"),
        ("1e+22", "1e+22"),
        ("1.50e-07", "1.50e-07"),
        ("NaN", "null"),
        ("Infinity", "null"),
        ("-Infinity", "null"),
    ],
)
def test_number_is_exact_and_without_trailing_zeros(text: str, written: str) -> None:
    assert orjson.dumps(format_number(text)).decode() == written


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6))
def test_number_keeps_its_value(number: Decimal) -> None:
    written = orjson.dumps(format_number(f"{number:f}")).decode()
    assert Decimal(written) == number
    assert "." not in written or not written.endswith(("0", "."))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2021-02-22 22:30:00+00", '"2021-02-22T22:30:00.000Z"'),
        ("2021-02-22 22:30:00.5+00", '"2021-02-22T22:30:00.500Z"'),
        ("2021-02-22 22:30:00.123456+00", '"2021-02-22T22:30:00.123Z"'),
        ("2021-12-31 23:59:59.999999+00", '"2021-12-31T23:59:59.999Z"'),
        ("0001-01-01 00:00:00+00", '"0001-01-01T00:00:00.000Z"'),
        ("9999-12-31 23:59:59.999999+00", '"9999-12-31T23:59:59.999Z"'),
        ("10000-01-01 00:00:00+00", "null"),
        ("20231-07-01 12:00:00.5+00", "null"),
        ("294276-12-31 23:59:59.999999+00", "null"),
        ("0044-03-15 12:00:00+00 BC", "null"),
        ("4713-01-01 00:00:00.25+00 BC", "null"),
        ("infinity", "null"),
        ("-infinity", "null"),
    ],
)
def test_instant_has_three_decimals_and_a_z(text: str, written: str) -> None:
    assert orjson.dumps(format_instant(text)).decode() == written


def columns(*names: str) -> list[Column]:
    return [Column(name, type_ or "text") for name, _, type_ in (each.partition(":") for each in names)]


def test_dots_nest_and_order_is_that_of_the_columns() -> None:
    builder = BodyBuilder(columns("customer.id", "customer.visits:int4", "id", "status", "call.call_id"))
    body = builder.build(["c", 3, "r", "Confirmed", "k"])
    assert body == b'{"customer":{"id":"c","visits":3},"id":"r","status":"Confirmed","call":{"call_id":"k"}}'


def test_absent_text_is_empty_and_other_absent_values_are_null() -> None:
    assert (
        BodyBuilder(columns("id", "notes", "amount:int4")).build(["r", None, None])
        == b'{"id":"r","notes":"","amount":null}'
    )


def test_object_is_null_only_when_all_of_it_is_absent() -> None:
    builder = BodyBuilder(columns("id", "call.call_id", "call.number"))
    assert builder.build(["r", None, None]) == b'{"id":"r","call":null}'
    assert builder.build(["r", "k", None]) == b'{"id":"r","call":{"call_id":"k","number":""}}'


def test_columns_of_an_object_need_not_stand_together() -> None:
    assert orjson.loads(BodyBuilder(columns("a.x", "b", "a.y")).build(["1", "2", "3"])) == {
        "a": {"x": "1", "y": "3"},
        "b": "2",
    }


def test_objects_nest_as_deep_as_the_names_say() -> None:
    assert BodyBuilder(columns("a.b.c", "a.d")).build(["1", "2"]) == b'{"a":{"b":{"c":"1"},"d":"2"}}'


def test_each_type_has_its_form() -> None:
    builder = BodyBuilder(
        columns("a:numeric", "b:timestamptz", "c:date", "d:bool", "e:uuid", "f:jsonb", "g:date", "h:bool", "i:float8")
    )
    row = ["1.50", "2021-02-22 22:30:00+00", "2021-02-22", "f", "c3db0e5e-0000-4000-8000-00000000000a", '{"x": 1}']
    assert orjson.loads(builder.build([*row, "infinity", None, "1e+22"])) == {
        "a": 1.5,
        "b": "2021-02-22T22:30:00.000Z",
        "c": "2021-02-22",
        "d": "F",
        "e": "C3DB0E5E00004000800000000000000A",
        "f": {"x": 1},
        "g": None,
        "h": None,
        "i": 1e22,
    }


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2021-02-22", '"2021-02-22"'),
        ("infinity", "null"),
        ("-infinity", "null"),
        ("0044-03-15 BC", "null"),
        ("20231-07-01", "null"),
    ],
)
def test_date_has_a_year_of_four_digits_or_is_null(text: str, written: str) -> None:
    assert orjson.dumps(FORMATTERS["date"](text)).decode() == written
