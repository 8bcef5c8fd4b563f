"""The parts of a payload's SELECT: its columns, the tables that it joins, and the conditions between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdc_bridge.mapping_check.conditions import Condition, conditions_in
from cdc_bridge.mapping_check.from_clause import ENDS_OF_FROM, SETS, Relation, relations_in
from cdc_bridge.mapping_check.lexer import Kind, Token, at_top, tokens_of

_NO_LABEL = ("end", "null", "true", "false", "isnull", "notnull")


@dataclass(frozen=True, slots=True)
class Item:
    """A column of a select list."""

    tokens: tuple[Token, ...]
    comma: Token | None
    """Behind it."""

    @property
    def start(self) -> int:
        """Where it begins."""
        return self.tokens[0].start

    @property
    def end(self) -> int:
        """Where it ends, without its comma."""
        return self.tokens[-1].end

    @property
    def is_star(self) -> bool:
        """Whether it stands for several columns."""
        return self.tokens[-1].is_symbol("*") and (len(self.tokens) == 1 or self.tokens[-2].is_symbol("."))

    @property
    def expression(self) -> tuple[Token, ...]:
        """What is selected, without its name."""
        return self.tokens[: len(self.tokens) - self._label_length]

    @property
    def name(self) -> str | None:
        """The column's name, if the text says it."""
        if self._label_length or self.column is not None:
            return self.tokens[-1].name
        return None

    @property
    def column(self) -> tuple[str, str] | None:
        """Table alias and column, if nothing else is selected."""
        match self.expression:
            case (table, dot, column) if table.is_name and dot.text == "." and column.is_name:
                return table.name, column.name
        return None

    @property
    def _label_length(self) -> int:
        if len(self.tokens) < 2 or not self.tokens[-1].is_name:
            return 0
        *_, before, last = self.tokens
        if before.is_word("as"):
            return 2 if len(self.tokens) > 2 else 0
        if (
            last.is_word(*_NO_LABEL)
            or before.is_symbol(".")
            or before.is_word("and", "or", "not", "is", "then", "else")
        ):
            return 0
        names_follow = before.is_name or before.kind in {Kind.STRING, Kind.NUMBER} or before.is_symbol(")", "]")
        return 1 if names_follow else 0


@dataclass(frozen=True, slots=True)
class QueryText:
    """A SELECT, as far as its parts can be separated."""

    items: tuple[Item, ...]
    empty: tuple[Token, ...]
    """Commas with no column in front, or the last one if none follows."""
    relations: tuple[Relation, ...]
    """Those of the FROM clause; none: it cannot be split."""
    select_start: int
    """Behind the subqueries of WITH."""
    from_start: int
    from_end: int
    where: tuple[Condition, ...] = field(default=())

    def relation(self, alias: str) -> Relation | None:
        """Return a relation by its alias."""
        return next((relation for relation in self.relations if relation.alias == alias), None)


def unbalanced(tokens: Sequence[Token]) -> bool:
    """Return whether parentheses do not match."""
    depth = 0
    for token in tokens:
        depth += token.is_symbol("(") - token.is_symbol(")")
        if depth < 0:
            return True
    return depth != 0


def payloads_in(tokens: Sequence[Token]) -> list[tuple[int, int, str]]:
    """Return start, end and name of each payload in braces."""
    return [
        (opening.start, closing.end, name.name)
        for opening, name, closing in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if opening.is_symbol("{") and name.is_name and closing.is_symbol("}")
    ]


def parts_of(text: str) -> QueryText | None:
    """Split a SELECT; ``None``: it is none that can be split, such as a union."""
    tokens = tokens_of(text)
    if not tokens or unbalanced(tokens) or tokens[-1].kind is Kind.UNCLOSED:
        return None
    top = list(at_top(tokens))
    select = next((token.start for token in top if token.is_word("select")), None)
    if select is None or not tokens[0].is_word("select", "with"):
        return None
    tokens = [token for token in tokens if token.start >= select]
    top = [token for token in top if token.start >= select]
    if any(token.is_word(*SETS) for token in top) or (len(tokens) > 1 and tokens[1].is_word("distinct")):
        return None
    start = 2 if len(tokens) > 1 and tokens[1].is_word("all") else 1
    from_ = _first(tokens, top, "from", start)
    if from_ is None:
        return None
    items, empty = _items(tokens[start:from_])
    end = next(
        (n for n in range(from_, len(tokens)) if tokens[n] in top and tokens[n].is_word(*ENDS_OF_FROM)), len(tokens)
    )
    relations = relations_in(tokens[from_ + 1 : end], tokens[from_].start)
    if not items:
        return None
    where: tuple[Condition, ...] = ()
    if end < len(tokens) and tokens[end].is_word("where"):
        stop = next(
            (n for n in range(end + 1, len(tokens)) if tokens[n] in top and tokens[n].is_word(*ENDS_OF_FROM)),
            len(tokens),
        )
        where = conditions_in(tokens[end + 1 : stop])
    return QueryText(
        tuple(items), tuple(empty), tuple(relations), select, tokens[from_].start, tokens[end - 1].end, where
    )


def _first(tokens: Sequence[Token], top: Sequence[Token], word: str, start: int) -> int | None:
    for number in range(start, len(tokens)):
        token = tokens[number]
        if token.is_word(word) and token in top and not tokens[number - 1].is_word("distinct"):
            return number
    return None


def _items(tokens: Sequence[Token]) -> tuple[list[Item], list[Token]]:
    items: list[Item] = []
    empty: list[Token] = []
    depth = 0
    current: list[Token] = []
    for token in tokens:
        depth += token.is_symbol("(", "[") - token.is_symbol(")", "]")
        if depth or not token.is_symbol(","):
            current.append(token)
        elif current:
            items.append(Item(tuple(current), token))
            current = []
        else:
            empty.append(token)
    if current:
        items.append(Item(tuple(current), None))
    elif items and items[-1].comma is not None:
        empty.append(items[-1].comma)
    return items, empty
