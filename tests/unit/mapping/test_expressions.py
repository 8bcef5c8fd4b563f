from __future__ import annotations

import pytest

from cdc_bridge.mapping.catalogue import Column
from cdc_bridge.mapping.expressions import Source, in_form, neutral
from cdc_bridge.sql_names import literal, quoted


def source(type_: str, name: str = "x", **facts: object) -> Source:
    nullable = bool(facts.pop("nullable", False))
    hundredths = bool(facts.pop("hundredths", False))
    column = Column(name, type_, type_, **facts)  # type: ignore[arg-type]
    return Source(f"r.{name}", column, 1.0, nullable=nullable, hundredths=hundredths)


@pytest.mark.parametrize(
    ("form", "given", "sql"),
    [
        ("text", source("text"), "r.x"),
        ("text", source("bpchar", length=8), "rtrim(r.x)"),
        ("text", source("citext"), "r.x::text"),
        ("text", source("inet"), "host(r.x)"),
        ("text", source("_text"), "array_to_string(r.x, ', ')"),
        (
            "text",
            source("int2", comment="1 = on, 2 = off"),
            "case r.x when 1 then 'on' when 2 then 'off' end",
        ),
        ("flag", source("bool"), "r.x"),
        ("flag", source("bool", nullable=True), "coalesce(r.x, false)"),
        ("flag", source("int2"), "(r.x <> 0)"),
        ("flag", source("timestamptz", nullable=True), "(r.x is not null)"),
        ("flag", source("text", values=("T", "F")), "r.x"),
        ("flag", source("text", values=("T", "F"), nullable=True), "coalesce(r.x, 'F')"),
        ("flag", source("bpchar", values=("J", "N")), "(r.x = 'J')"),
        ("count", source("int4"), "r.x"),
        ("count", source("numeric"), "round(r.x)"),
        ("count", source("interval"), "(extract(epoch from r.x) / 60)::int"),
        ("count", source("bool"), "r.x::int"),
        ("amount", source("numeric", nullable=True), "coalesce(r.x, 0)"),
        ("amount", source("int4", hundredths=True), "r.x / 100.0"),
        ("amount", source("money"), "r.x::numeric"),
        ("instant", source("timestamptz"), "r.x"),
        ("instant", source("timestamp"), "r.x at time zone 'Europe/London'"),
        ("instant", source("date"), "r.x::timestamp at time zone 'Europe/London'"),
        ("instant", source("int8"), "to_timestamp(r.x)"),
        ("instant", source("int8", name="created_ms"), "to_timestamp(r.created_ms / 1000.0)"),
        ("key", source("uuid"), "r.x"),
        ("keyOrNone", source("varchar", length=4), "upper(md5(r.x))"),
    ],
    ids=lambda value: value.column.shown_type if isinstance(value, Source) else str(value),
)
def test_source_gets_the_form_of_the_contract(form: str, given: Source, sql: str) -> None:
    assert in_form(form, given, "'Europe/London'", None) == sql


def test_what_is_missing_leaves_an_object_null() -> None:
    given = source("int4", nullable=True)
    assert in_form("count", given, None, "c.id") == "case when c.id is not null then coalesce(r.x, 0) end"
    assert in_form("flag", source("date"), None, "c.id") == "case when c.id is not null then (r.x is not null) end"
    assert neutral("flag", "c.id") == "case when c.id is not null then 'F' end"
    assert neutral("text", "c.id") == "null::text"


@pytest.mark.parametrize(
    ("name", "written"), [("booking", "booking"), ("Gäste", '"Gäste"'), ("order", '"order"'), ('a"b', '"a""b"')]
)
def test_identifier_is_quoted_where_it_has_to_be(name: str, written: str) -> None:
    assert quoted(name) == written


def test_literal_keeps_its_quotes() -> None:
    assert literal("it's") == "'it''s'"


def test_codes_are_read_from_a_comment() -> None:
    codes = Column("stat", "int2", "smallint", comment="1 = fix, 2 = Option, 9 = storniert").codes
    assert codes == {"1": "fix", "2": "Option", "9": "storniert"}
    assert Column("stat", "int2", "smallint", comment="0 = none").codes == {}
