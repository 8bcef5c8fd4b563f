"""Expressions and conditions of a query, as far as their parts can be separated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cdc_bridge.mapping_check.lexer import Kind, Token, parts_at_top


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the conditions that hold together."""

    tokens: tuple[Token, ...]

    @property
    def sides(self) -> tuple[tuple[Token, ...], tuple[Token, ...]] | None:
        """Both sides, if it says that they are equal."""
        sides = parts_at_top(self.tokens, "=")
        return (tuple(sides[0]), tuple(sides[1])) if len(sides) == 2 and all(sides) else None


def columns_in(tokens: Sequence[Token]) -> set[tuple[str, str]]:
    """Return the columns that an expression names with their table's alias."""
    return {
        (table.name, column.name)
        for table, dot, column in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if table.is_name and dot.text == "." and column.is_name
    }


def aliases_in(tokens: Sequence[Token]) -> tuple[set[str], bool]:
    """Return the table aliases that an expression names, and whether it may name columns without one."""
    aliases: set[str] = set()
    bare = False
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else None
        after = tokens[number + 1] if number + 1 < len(tokens) else None
        if not token.is_name or (before is not None and before.is_symbol(".", "::")):
            continue
        if after is not None and after.is_symbol("."):
            aliases.add(token.name)
        elif (after is None or not after.is_symbol("(")) and not (token.kind is Kind.WORD and token.name in _KEY_WORDS):
            bare = True
    return aliases, bare


_KEY_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        all and any as asc at between bigint boolean both by case cast char character collate current_date
        current_timestamp current_user date day desc distinct double else end epoch escape exists extract
        false for from hour ilike in int integer interval is isnull leading like localtimestamp minute month
        not notnull null numeric or order precision real second similar smallint some symmetric text then
        time timestamp timestamptz to trailing true uuid varchar when year zone
        """,
    )
)


def conditions_in(tokens: Sequence[Token]) -> tuple[Condition, ...]:
    """Split a condition into those that all have to hold."""
    found: list[list[Token]] = [[]]
    depth, between = 0, False
    for token in tokens:
        depth += token.is_symbol("(", "[") - token.is_symbol(")", "]")
        if not depth and token.is_word("or"):
            return ()
        between = between or (not depth and token.is_word("between"))
        if not depth and token.is_word("and"):
            if not between:
                found.append([])
                continue
            between = False
        found[-1].append(token)
    return tuple(Condition(tuple(each)) for each in found if each)
