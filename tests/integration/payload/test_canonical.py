"""Canonical text: values are equal for PostgreSQL if, and only if, their canonical texts are the same."""

from __future__ import annotations

import pytest

from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.conditions import (
    CanonicalCondition,
    KnownConditions,
    canonical_function,
    require_fitting,
    resolve,
)
from cdc_bridge.payload.definition import payload_definition
from cdc_bridge.payload.subscription import Condition, Subscription
from tests.support.databases import Database
from tests.support.payloads import define_payload

TEXTS = (
    "",
    " ",
    "a",
    "A",
    "a ",
    " a",
    "ä",
    "a\u0308",
    "100%",
    "%s",
    "{",
    "}",
    '"',
    "\\",
    "null",
    "NULL",
    "'",
    "a,b",
    "\u200b",
)
NUMBERS = ("0", "-0", "1", "1.0", "1.00", "1e0", "10", "1e1", "-1", "0.1", "0.10", "1e-7", "32767")
VALUES: dict[str, tuple[str, ...]] = {
    "text": TEXTS,
    "varchar": TEXTS,
    "bpchar": TEXTS,
    "name": TEXTS,
    "int2": ("0", "-0", "1", "01", " 1 ", "-1", "32767", "-32768"),
    "int4": ("0", "1", "+1", "-1", "2147483647"),
    "int8": ("0", "1", "01", "-1", "9223372036854775807", "9007199254740993", "9007199254740992"),
    "numeric": (*NUMBERS, "NaN", "nan", "Infinity", "inf", "-Infinity", "1e30", "1" + "0" * 30, "9007199254740993"),
    "float4": (*NUMBERS, "NaN", "Infinity", "-inf", "1e30", "16777216", "16777217"),
    "float8": (
        *NUMBERS, "NaN", "Infinity", "-inf", "1e300", "9007199254740993", "9007199254740992", "0.30000000000000004"
    ),
    "bool": ("t", "T", "true", "yes", "1", "f", "false", "off", "0"),
    "uuid": (
        "E1E1D3D40573127E9EE0480CAF1283D6", "e1e1d3d4-0573-127e-9ee0-480caf1283d6",
        "{e1e1d3d4-0573-127e-9ee0-480caf1283d6}", "e1e1d3d4-0573-127e-9ee0-480caf1283d7",
    ),
    "date": (
        "2026-07-01", "July 1, 2026", "20260701", "2026-07-02", "infinity", "-infinity", "0044-03-15 BC", "10000-01-01"
    ),
    "timestamptz": (
        "2026-07-01T18:00:00.000Z", "2026-07-01 20:00:00+02", "2026-07-01 18:00", "2026-07-01 18:00:00.000001+00",
        "infinity", "-infinity", "0044-03-15 12:00 BC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("type_", VALUES)
async def test_equal_values_have_the_same_canonical_text_and_others_have_another(
    type_: str, database: Database
) -> None:
    values = list(VALUES[type_])
    pairs = (
        f"select a.v, b.v, a.v::{type_} = b.v::{type_}, "
        f"cdc_bridge.{canonical_function(type_)}(a.v::{type_}) = cdc_bridge.{canonical_function(type_)}(b.v::{type_}) "
        "from unnest(%s::text[]) as a (v) cross join unnest(%s::text[]) as b (v)"
    )
    async with database.loading_connection() as connection:
        cursor = await connection.execute(pairs.encode(), (values, values))
        compared = [(one, other, equal, same) async for one, other, equal, same in cursor]
    assert len(compared) == len(values) ** 2
    assert [pair for pair in compared if pair[2] != pair[3]] == []
    assert any(equal and one != other for one, other, equal, _ in compared) or type_ in {"text", "varchar", "name"}


@pytest.mark.parametrize("type_", VALUES)
def test_null_counts_as_empty_text_and_equals_nothing_else(type_: str, database: Database) -> None:
    text = database.value(f"select cdc_bridge.{canonical_function(type_)}(null::{type_})")
    assert text == ("" if canonical_function(type_) == "canonical_text" else None)


@pytest.mark.parametrize("before", ["int2", "int4", "int8", "numeric", "float4", "float8"])
@pytest.mark.parametrize("after", ["int4", "int8", "numeric", "float4", "float8"])
def test_number_keeps_its_canonical_text_when_its_column_is_retyped(
    before: str, after: str, database: Database
) -> None:
    for number in ("0", "-3", "42", "32000"):
        assert database.value(
            f"select cdc_bridge.canonical_number({number}::{before}) = cdc_bridge.canonical_number({number}::{after})"
        )


def test_column_of_another_form_has_no_such_text(database: Database) -> None:
    """So a column that is retyped to it makes reading fail, and nothing is taken for unwanted."""
    wrong = database.execute(
        "select p.oid::regprocedure::text, v.type "
        "from pg_proc p "
        "cross join unnest(%s::text[]) as v (type) "
        "where p.proname like 'canonical\\_%%' and p.prorettype = 'text'::regtype and p.pronargs = 1 "
        "and p.proname not in ('canonical_form', 'canonical_timestamptz') "
        "and p.proname <> 'canonical_' || cdc_bridge.canonical_form(v.type) "
        "and exists (select from pg_cast c where c.castcontext = 'i' "
        "and c.castsource = ('pg_catalog.' || v.type)::regtype and c.casttarget = p.proargtypes[0])",
        ([*VALUES, "json", "jsonb", "timestamp", "time", "interval"],),
    )
    assert wrong == []


async def test_values_of_many_endpoints_are_resolved_together_and_one_that_does_not_fit_hides_no_other(
    database: Database,
) -> None:
    define_payload(database, "select r.id, r.status, r.adults, '{}'::json as doc from {reservation} r", "typed")
    fitting = Subscription("typed", (Condition("adults", (" 3", "+4")), Condition("status", ("Confirmed",))))
    wrong = {
        Subscription("typed", (Condition("adults", ("3", "three")),)): 'column "adults" of payload "typed" cannot',
        Subscription("typed", (Condition("nothing", ("3",)),)): 'payload "typed" has no column "nothing"',
        Subscription("typed", (Condition("doc", ("3",)),)): "is of type json, which cannot be compared",
        Subscription("typed", (Condition("status", ("x",)), Condition("nothing", ("3",)))): "has no column",
    }
    many = [Subscription("typed", (Condition("adults", (str(number),)),)) for number in range(3000)]
    async with database.loading_connection() as connection:
        definition = await payload_definition(connection, "typed")
        resolved = KnownConditions().of(definition)
        assert await resolve(connection, definition, resolved, [fitting, *wrong, *many])
        with pytest.raises(PayloadInvalid, match="is not defined"):
            await require_fitting(connection, Subscription("another", fitting.conditions))
        await require_fitting(connection, fitting)
        for subscription, problem in wrong.items():
            error = resolved[subscription]
            assert isinstance(error, PayloadInvalid)
            assert error.problem.startswith("a condition (option only) does not fit: ")
            assert problem in error.problem
            with pytest.raises(PayloadInvalid, match="does not fit"):
                await require_fitting(connection, subscription)
    assert resolved[fitting] == (
        CanonicalCondition("adults", frozenset({"3", "4"})),
        CanonicalCondition("status", frozenset({"Confirmed"})),
    )
    assert all(not isinstance(resolved[each], PayloadInvalid) for each in many)
