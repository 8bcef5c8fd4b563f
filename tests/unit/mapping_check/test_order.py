"""As few keys as possible move into the contract's order; what stands for a key has its form."""

from __future__ import annotations

import random

import pytest

from cdc_bridge.mapping_check.order import arrangement
from cdc_bridge.mapping_check.values import casts, neutral, operand, without_null, zone_in
from cdc_bridge.sql_names import quoted


@pytest.mark.parametrize(
    ("columns", "behind"),
    [
        ("a b c d", {}),
        ("x a y b c d z", {}),
        ("b a c d", {"b": "a"}),
        ("d a b c", {"d": "c"}),
        ("a c d", {"b": "a"}),
        ("b c d", {"a": None}),
        ("", {"a": None, "b": "a", "c": "b", "d": "c"}),
    ],
)
def test_few_keys_move(columns: str, behind: dict[str, str | None]) -> None:
    assert arrangement(columns.split(), list("abcd")).behind == behind


def test_any_order_becomes_the_contracts() -> None:
    contract = list("abcdefghij")
    for seed in range(200):
        chosen = random.Random(seed)
        columns = chosen.sample(contract, chosen.randint(0, 10))
        arranged = arrangement(columns, contract)
        result = [column for column in columns if column in arranged.kept]
        for key, before in arranged.behind.items():
            result.insert(0 if before is None else result.index(before) + 1, key)
        assert result == contract


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("r.a", "r.a"), ("f(r.a, 1)", "f(r.a, 1)"), ("r.a::text", "r.a::text"), ("'x'", "'x'"), ("(a + b)", "(a + b)"),
        ("a + b", "(a + b)"), ("(a) + (b)", "((a) + (b))"), ("a at time zone 'x'", "(a at time zone 'x')"),
        ("case when a then b end", "(case when a then b end)"),
    ],
)  # fmt: skip
def test_whole_expression_is_cast(expression: str, result: str) -> None:
    assert operand(expression) == result


def test_values_have_their_forms() -> None:
    assert casts("instant", "timestamp", "a + b", "Europe/Paris") == ["(a + b) at time zone 'Europe/Paris'"]
    assert casts("count", "text", "r.a", "") == ["nullif(r.a, '')::integer"]
    assert casts("flag", "int4", "r.a", "") == ["(r.a <> 0)"]
    assert casts("text", "_text", "r.a", "")[0] == "array_to_string(r.a, ', ')"
    assert [neutral(form) for form in ("text", "flag", "count", "instant")] == ["''", "'F'", "0", "null::timestamptz"]
    assert neutral("flag", "k.id is not null") == "case when k.id is not null then 'F' end"
    assert neutral("text", "k.id is not null") == "null::text"
    assert without_null("count", "int4", "r.a") == "coalesce(r.a, 0)"
    assert without_null("text", "text", "r.a") is None
    assert without_null("flag", "text", "r.a") == "coalesce(r.a, 'F')"
    assert [quoted(name) for name in ("a_1", "customer.id", 'a"b')] == ["a_1", '"customer.id"', '"a""b"']
    assert zone_in("x at time zone 'America/New_York'") == "America/New_York"
    assert zone_in("") == "Europe/London"
