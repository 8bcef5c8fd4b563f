"""A payload's SELECT is split where PostgreSQL would split it, whatever is written in it."""

from __future__ import annotations

import pytest

from cdc_bridge.mapping_check.conditions import aliases_in, conditions_in
from cdc_bridge.mapping_check.lexer import Kind, content_of, tokens_of
from cdc_bridge.mapping_check.query_text import parts_of, unbalanced
from cdc_bridge.mapping_check.source import Edit, Source
from cdc_bridge.mapping_check.statements import call_in, grant_in, statements_of


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a.b -- c\n, /* d /* e */ f */ 'it''s'", ["a", ".", "b", ",", "'it''s'"]),
        ("E'a\\'b' U&'x' $$ ; $$ $q$ $$ $q$", ["E'a\\'b'", "U&'x'", "$$ ; $$", "$q$ $$ $q$"]),
        ('"a""b" x::int => :=', ['"a""b"', "x", "::", "int", "=>", ":="]),
        ("1.5e-3 a-1 a--b\n<> {reservation}", ["1.5e-3", "a", "-", "1", "a", "<>", "{", "reservation", "}"]),
        ("größe $1", ["größe", "$", "1"]),
    ],
)
def test_text_is_split_by_the_lexical_rules(text: str, tokens: list[str]) -> None:
    assert [token.text for token in tokens_of(text)] == tokens


@pytest.mark.parametrize("text", ["'a", '"a', "$q$ a $$", "/* a /* b */", "E'a\\'"])
def test_what_does_not_end_is_said_to(text: str) -> None:
    assert tokens_of(f"x {text}")[-1].kind is Kind.UNCLOSED


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("'it''s'", "it's"),
        ("$$it's$$", "it's"),
        ("$q$ $$ $q$", " $$ "),
        ("E'plain'", "plain"),
        ("E'a\\n'", None),
        ("U&'x'", None),
    ],
)
def test_string_says_what_it_says_and_where(text: str, content: str | None) -> None:
    (token,) = tokens_of(text)
    found = content_of(token)
    assert (found[0] if found is not None else None) == content
    if found is not None:
        assert "".join(text[place] for place in found[1]) == content


def test_columns_have_their_names() -> None:
    parts = parts_of(
        """select all r.id, r.a as "x.y", f(r.b, 1) n, case when r.c is distinct from 2 then 3 end, r.d::text as d,
        extract(year from r.e) as year, (select max(z) from t where t.x in (1, 2)) as "@z", r.*, current_date
        from s.t r where r.a = 1 order by 1"""
    )
    assert parts is not None
    assert [item.name for item in parts.items] == ["id", "x.y", "n", None, "d", "year", "@z", None, None]
    assert [item.is_star for item in parts.items] == [False] * 7 + [True, False]
    assert [item.column for item in parts.items][:2] == [("r", "id"), ("r", "a")]
    assert [len(condition.tokens) for condition in parts.where] == [5]


def test_tables_have_their_joins() -> None:
    parts = parts_of(
        """with x as (select 1) select 1 as one from s.a left outer join only "S"."B" as "b" on b.x = a.x
        and left(b.y, 1) = 'z'
        join lateral (select c.* from s.c c where c.x = a.x limit 1) c on true cross join {short} d, f(a.x) as g (h)
        right join e using (x, y)"""
    )
    assert parts is not None
    assert [(relation.alias, relation.kind) for relation in parts.relations] == [
        ("a", "first"), ("b", "left"), ("c", "inner"), ("d", "cross"), ("g", "cross"), ("e", "right"),
    ]  # fmt: skip
    assert [len(relation.conditions) for relation in parts.relations] == [0, 2, 1, 0, 0, 0]
    assert ["".join(token.text for token in relation.table) for relation in parts.relations] == [
        "s.a", '"S"."B"', "s.c", "", "", "e",
    ]  # fmt: skip
    assert (parts.relations[2].single, parts.relations[3].is_payload, parts.relations[5].using) == (
        True,
        True,
        ("x", "y"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "values (1)",
        "select 1",
        "select distinct a from b",
        "select (a from b",
        "select a from b union select c from d",
    ],
)
def test_what_cannot_be_split_is_not(text: str) -> None:
    assert parts_of(text) is None


@pytest.mark.parametrize("join", ["natural join b", "join b join c on true on true", "tablesample system (1)"])
def test_select_list_is_split_though_its_tables_are_not(join: str) -> None:
    parts = parts_of(f"select a.x, a.y from a {join}")
    assert parts is not None
    assert ([item.name for item in parts.items], parts.relations) == (["x", "y"], ())


def test_commas_that_separate_nothing_are_found() -> None:
    parts = parts_of("select a.x,, a.y, from a")
    assert parts is not None
    assert [comma.start for comma in parts.empty] == [11, 16]


@pytest.mark.parametrize(("text", "result"), [("(a)", False), ("(a", True), ("a)(", True), ("'('", False)])
def test_parentheses_are_counted(text: str, *, result: bool) -> None:
    assert unbalanced(tokens_of(text)) is result


def test_conditions_hold_together() -> None:
    found = conditions_in(tokens_of("a.x = b.x and a.y between 1 and 2 and (a.z = 1 or b.z = 2)"))
    assert [len(condition.tokens) for condition in found] == [7, 7, 13]
    assert conditions_in(tokens_of("a.x = b.x or a.y = b.y")) == ()


@pytest.mark.parametrize(
    ("text", "aliases", "bare"),
    [
        ("coalesce(k.x, '')", {"k"}, False),
        ("x", set(), True),
        ("case when a.x then b.y else null end::s.t", {"a", "b"}, False),
        ("'x'::text", set(), False),
    ],
)
def test_tables_that_an_expression_names(text: str, aliases: set[str], *, bare: bool) -> None:
    assert aliases_in(tokens_of(text)) == (aliases, bare)


def test_statements_end_where_they_end() -> None:
    text = "select ';'; -- ;\ncreate function f() returns int begin atomic select case when true then 1 end; end;"
    text += " select $$;$$"
    parts = statements_of(Source.of_file(text))
    assert [part.text for part in parts] == [
        "select ';';",
        " -- ;\ncreate function f() returns int begin atomic select case when true then 1 end; end;",
        " select $$;$$",
    ]


def test_statements_of_the_bridge_are_recognised() -> None:
    call = call_in(tokens_of("select cdc_bridge.attach_related('s.t', key => 'id', via := 'cust_id');"))
    assert call is not None
    assert {name: argument.value for name, argument in call.arguments.items()} == {
        "related": "s.t", "key": "id", "via": "cust_id",
    }  # fmt: skip
    assert call_in(tokens_of("select cdc_bridge.attach(x, 'id')")) is None
    grant = grant_in(tokens_of('grant select on table a.b, "C" to d;'))
    assert grant is not None
    assert ([part[-1].name for part in grant.objects], grant.of_schemas) == (["b", "C"], False)


def test_corrected_text_knows_where_it_comes_from() -> None:
    source = Source.of_file("one two three")
    edited = source.edited([Edit(4, 7, "2"), Edit(0, 0, "zero "), Edit(5, 6, "never")])
    assert edited.text == "zero one 2 three"
    assert [edited.place(edited.text.index(word)) for word in ("one", "2", "three")] == [0, 4, 8]
