"""Conditions of an endpoint as texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_bridge.payload.subscription import Condition, Subscription, parse_condition, parse_conditions

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=20).filter(str.isprintable)


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("room_name=Restaurant", "room_name", ("Restaurant",)),
        ("room_name=Restaurant,Terrace", "room_name", ("Restaurant", "Terrace")),
        ("room_name=Restaurant, Terrace", "room_name", ("Restaurant", "Terrace")),
        ('room_name="Bar, Terrace",Restaurant', "room_name", ("Bar, Terrace", "Restaurant")),
        ('tables="12"" wide"', "tables", ('12" wide',)),
        ("room_name=", "room_name", ("",)),
        ("room_name=,Bar", "room_name", ("", "Bar")),
        ("room_name=Bar,Bar", "room_name", ("Bar",)),
        ("@restaurant_id=C3DB", "@restaurant_id", ("C3DB",)),
        ("customer.vip=T", "customer.vip", ("T",)),
        ("notes=a=b", "notes", ("a=b",)),
    ],
)
def test_condition_is_read(text: str, column: str, values: tuple[str, ...]) -> None:
    assert parse_condition(text) == Condition(column, values)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("room_name", "COLUMN=VALUE"),
        ("=Bar", "COLUMN=VALUE"),
        ("", "COLUMN=VALUE"),
        ("room_name=Bar\nTerrace", "cannot be printed in a value of room_name"),
        ('room_name="Bar', "double quote out of place"),
        ('room_name="Bar"x,Terrace', "double quote out of place"),
    ],
)
def test_what_is_no_condition_is_rejected(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_condition(text)


def test_two_conditions_on_one_column_are_rejected() -> None:
    with pytest.raises(ValueError, match="names room_name twice"):
        parse_conditions(["room_name=Bar", "adults=2", "room_name=Terrace"])
    with pytest.raises(ValueError, match="none of them null"):
        parse_conditions(["room_name=Bar", None])


@given(st.lists(PRINTABLE, min_size=1, max_size=4, unique=True))
def test_condition_is_written_as_it_is_read(values: list[str]) -> None:
    condition = Condition("room_name", tuple(values))
    assert parse_condition(str(condition)) == condition


def test_subscription_names_payload_and_conditions() -> None:
    conditions = (Condition("room_name", ("Bar", "Terrace")), Condition("adults", ("2",)))
    assert str(Subscription("kitchen")) == 'payload "kitchen"'
    assert str(Subscription("kitchen", conditions)) == 'payload "kitchen", only room_name=Bar,Terrace and adults=2'
