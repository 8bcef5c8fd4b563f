"""The FROM clause of a query: its tables, and how they are joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cdc_bridge.mapping_check.conditions import Condition, conditions_in
from cdc_bridge.mapping_check.lexer import Token, at_top

ENDS_OF_FROM = ("where", "group", "having", "window", "order", "limit", "offset", "fetch", "for")
SETS = ("union", "intersect", "except")
_JOINS = ("join", "inner", "left", "right", "full", "cross", "natural")
_NO_ALIAS = (*ENDS_OF_FROM, *SETS, *_JOINS, "on", "using", "tablesample", "with")


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, or what stands for one, in the FROM clause."""

    tokens: tuple[Token, ...]
    """All of it, with its alias and without its condition."""
    path: tuple[Token, ...]
    """The table's name, with its schema; empty: it is a subquery, a function or another payload."""
    alias: str
    kind: str
    """How it is joined: "first", "inner", "left", "right", "full" or "cross"."""
    join_start: int
    """Where the key word of its join stands."""
    inner: tuple[Token, ...] = ()
    """Of ``(select x.* from TABLE x ...)`` the table's name."""
    single: bool = False
    """Whether it is a subquery that has one row at most."""
    is_payload: bool = False
    condition: tuple[Token, ...] = ()
    using: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def table(self) -> tuple[Token, ...]:
        """The name of the table whose columns it has."""
        return self.path or self.inner


def relations_in(tokens: Sequence[Token], start: int) -> list[Relation]:
    """Return the relations of a FROM clause that begins at a position; none: it cannot be split."""
    found: list[Relation] = []
    position, kind, join_start = 0, "first", start
    while position < len(tokens):
        relation, position = _relation(tokens, position, kind, join_start)
        if relation is None:
            return []
        condition, using, position = _condition(tokens, position)
        if any(token.is_word("on") for token in at_top(condition)):
            return []  # Joins stand within one another.
        conditions = conditions_in(condition)
        found.append(replace(relation, condition=tuple(condition), using=using, conditions=conditions))
        if position == len(tokens):
            break
        join_start = tokens[position].start
        kind, position = _kind(tokens, position)
        if not kind:
            return []
    return found


def _condition(tokens: Sequence[Token], position: int) -> tuple[Sequence[Token], tuple[str, ...], int]:
    """Return the condition of a join, or the columns that it uses, and what follows."""
    if position < len(tokens) and tokens[position].is_word("on"):
        stop = _end_of_condition(tokens, position + 1)
        return tokens[position + 1 : stop], (), stop
    if position < len(tokens) and tokens[position].is_word("using"):
        close = _closing(tokens, position + 1)
        return (), tuple(token.name for token in tokens[position + 2 : close] if token.is_name), close + 1
    return (), (), position


def _kind(tokens: Sequence[Token], position: int) -> tuple[str, int]:
    """Return how the next relation is joined, and where it begins; empty: in a way that is not known."""
    if tokens[position].is_symbol(","):
        return "cross", position + 1
    words: list[str] = []
    while position < len(tokens) and tokens[position].is_word(*_JOINS, "outer") and words[-1:] != ["join"]:
        words.append(tokens[position].name)
        position += 1
    if words[-1:] != ["join"] or "natural" in words:
        return "", position
    return next((word for word in words if word in {"left", "right", "full", "cross"}), "inner"), position


def _end_of_condition(tokens: Sequence[Token], start: int) -> int:
    depth = 0
    for number in range(start, len(tokens)):
        token = tokens[number]
        depth += token.is_symbol("(", "[") - token.is_symbol(")", "]")
        calls = number + 1 < len(tokens) and tokens[number + 1].is_symbol("(") and token.is_word("left", "right")
        if not depth and (token.is_symbol(",") or (token.is_word(*_JOINS) and not calls)):
            return number
    return len(tokens)


def _closing(tokens: Sequence[Token], start: int) -> int:
    depth = 0
    for number in range(start, len(tokens)):
        depth += tokens[number].is_symbol("(") - tokens[number].is_symbol(")")
        if not depth:
            return number
    return len(tokens) - 1


def _relation(tokens: Sequence[Token], start: int, kind: str, join_start: int) -> tuple[Relation | None, int]:
    position = start
    while position < len(tokens) and tokens[position].is_word("lateral", "only"):
        position += 1
    path: tuple[Token, ...] = ()
    inner: tuple[Token, ...] = ()
    single = is_payload = False
    match tokens[position] if position < len(tokens) else None:
        case Token(text="("):
            close = _closing(tokens, position)
            inner, single = _subquery(tokens[position + 1 : close])
            position = close + 1
        case Token(text="{"):
            is_payload = True
            position += 3
        case Token(is_name=True):
            path, position = _path(tokens, position)
        case _:
            return None, position
    alias, renamed, position = _alias(tokens, position)
    if renamed:
        path = inner = ()
    elif not alias and path:
        alias = path[-1].name
    if position < len(tokens) and tokens[position].is_word("with", "tablesample"):
        return None, position
    whole = tuple(tokens[start:position])
    return Relation(whole, path, alias, kind, join_start, inner, single=single, is_payload=is_payload), position


def _path(tokens: Sequence[Token], start: int) -> tuple[tuple[Token, ...], int]:
    """Return the name of a table, or none of a function, and what follows it."""
    end = start + 1
    while end + 1 < len(tokens) and tokens[end].is_symbol(".") and tokens[end + 1].is_name:
        end += 2
    if end < len(tokens) and tokens[end].is_symbol("("):
        return (), _closing(tokens, end) + 1
    return tuple(tokens[start:end]), end


def _alias(tokens: Sequence[Token], start: int) -> tuple[str, bool, int]:
    """Return an alias, whether it has names for columns too, and what follows."""
    position = start
    if position < len(tokens) and tokens[position].is_word("as"):
        position += 1
    if position >= len(tokens) or not tokens[position].is_name or tokens[position].is_word(*_NO_ALIAS):
        return "", False, position
    alias = tokens[position].name
    position += 1
    if position < len(tokens) and tokens[position].is_symbol("("):
        return alias, True, _closing(tokens, position) + 1
    return alias, False, position


def _subquery(tokens: Sequence[Token]) -> tuple[tuple[Token, ...], bool]:
    """Return the table whose columns a subquery has, and whether it has one row at most."""
    top = list(at_top(tokens))
    single = any(token.is_word("limit") and following.text == "1" for token, following in pairwise(top))
    text = " ".join(token.text for token in tokens)
    table: tuple[Token, ...] = ()
    if not any(token.is_word(*SETS) for token in top) and re.match(
        r'select (?:(?:\w+|"[^"]+") \. )?\* from ', text, re.IGNORECASE
    ):
        from_ = next(number for number, token in enumerate(tokens) if token.is_word("from"))
        relation, _ = _relation(tokens, from_ + 1, "first", 0)
        joined = any(token.is_word("join") or token.is_symbol(",") for token in top)
        if relation is not None and not joined:
            table = relation.path
    return table, single
