"""Commas and parentheses that are missing in a select list, or too many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.lexer import Kind, Token
from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.query_text import Item
from cdc_bridge.mapping_check.source import Edit

_GO_ON = (
    "and", "as", "at", "between", "case", "collate", "distinct", "else", "end", "filter", "ilike", "in", "is", "isnull",
    "like", "not", "notnull", "null", "operator", "or", "over", "select", "similar", "then", "when", "where", "within",
)  # fmt: skip
"""Words that a line may begin or end with though the column goes on."""


def comma_fault(query: PayloadQuery, item: Item) -> Found | None:
    """Return where a comma is missing, if an item is two: on two lines, or each with a name."""
    depth = 0
    for before, after in pairwise(item.tokens):
        depth += before.is_symbol("(", "[") - before.is_symbol(")", "]")
        if depth or not _ends_column(before) or not _begins_column(after):
            continue
        on_two_lines = "\n" in query.source.text[before.end : after.start]
        if on_two_lines or _has_name(item, before):
            place = query.source.place(before.start)
            fault = Fault(place, "syntax error: a comma is missing", correction=Correction.WRITE)
            return Found(fault, (Edit(before.end, before.end, ","),))
    return None


def _ends_column(token: Token) -> bool:
    if token.is_name:
        return not token.is_word(*_GO_ON) or token.is_word("end", "null")
    return token.kind in {Kind.STRING, Kind.NUMBER} or token.is_symbol(")", "]")


def _begins_column(token: Token) -> bool:
    if token.is_name:
        return not token.is_word(*_GO_ON) or token.is_word("null", "case", "not")
    return token.kind in {Kind.STRING, Kind.NUMBER} or token.is_symbol("(")


def _has_name(item: Item, last: Token) -> bool:
    """Return whether a token is the name of a column, behind "as"."""
    number = item.tokens.index(last)
    return number > 0 and item.tokens[number - 1].is_word("as")


def parenthesis_fault(query: PayloadQuery) -> Found | None:
    """Return the first line whose parentheses do not match, with the one that is missing or too many."""
    by_line: dict[int, list[Token]] = {}
    for token in query.tokens:
        by_line.setdefault(query.line(token.start)[0], []).append(token)
    lines = list(by_line.values())
    depth = 0
    for number, tokens in enumerate(lines):
        change = _opened(tokens)
        depth += change
        if depth < 0:
            closing = [token for token in tokens if token.is_symbol(")")][-1]
            return _fault(query, closing, '")" closes nothing', Edit(closing.start, closing.end, ""))
        if change > 0 and (_is_complete(tokens) or not _closes(lines[number + 1 :])):
            opening = next(token for token in tokens if token.is_symbol("("))
            end = _end_of_expression(tokens)
            return _fault(query, opening, '"(" is not closed', Edit(end, end, ")" * change))
    return None


def _fault(query: PayloadQuery, token: Token, problem: str, edit: Edit) -> Found:
    place = query.source.place(token.start)
    return Found(Fault(place, f"syntax error: {problem}", correction=Correction.WRITE), (edit,))


def _opened(tokens: Sequence[Token]) -> int:
    return sum(token.is_symbol("(") - token.is_symbol(")") for token in tokens)


def _is_complete(tokens: Sequence[Token]) -> bool:
    """Return whether a line looks like a column with its name and comma."""
    return len(tokens) > 2 and tokens[-1].is_symbol(",") and tokens[-3].is_word("as")


def _closes(lines: Sequence[Sequence[Token]]) -> bool:
    """Return whether following lines close what one has opened, before they begin another column."""
    for tokens in lines:
        if _opened(tokens) < 0:
            return True
        if tokens[0].is_word("from") or _is_complete(tokens):
            return False
    return False


def _end_of_expression(tokens: Sequence[Token]) -> int:
    """Return where the expression of a line ends: in front of its name or its comma."""
    label = next((n for n in range(len(tokens) - 1, 0, -1) if tokens[n].is_word("as")), None)
    if label is not None:
        return tokens[label - 1].end
    return tokens[-2].end if tokens[-1].is_symbol(",") and len(tokens) > 1 else tokens[-1].end
