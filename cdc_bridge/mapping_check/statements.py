"""The statements of a mapping file, and those among them that the bridge knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc_bridge.mapping_check.lexer import Kind, Token, content_of, parts_at_top, tokens_of
from cdc_bridge.mapping_check.source import Source

_ARGUMENTS = {
    "define_payload": ("name", "query"),
    "attach": ("reservations", "key"),
    "attach_related": ("related", "reservation_key", "key", "via", "condition", "reservations"),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument that is a string."""

    token: Token
    value: str
    places: tuple[int, ...]
    """Where each character of the value stands in the statement."""

    @property
    def in_quotes(self) -> bool:
        """Whether a quote in it has to be doubled."""
        return not self.token.text.startswith("$")


@dataclass(frozen=True, slots=True)
class Call:
    """``select cdc_bridge.function(...)``."""

    function: str
    arguments: dict[str, Argument]


def statements_of(source: Source) -> list[Source]:
    """Split a file behind each statement; what follows the last one, or does not end, is the last part."""
    parts: list[Source] = []
    start = depth = blocks = 0
    before: Token | None = None
    for token in tokens_of(source.text):
        depth += token.is_symbol("(") - token.is_symbol(")")
        if token.is_word("atomic") and before is not None and before.is_word("begin"):
            blocks = 1
        elif blocks:
            blocks += token.is_word("case") - token.is_word("end")
        if token.is_symbol(";") and depth <= 0 and not blocks:
            parts.append(source.part(start, token.end))
            start, depth = token.end, 0
        before = token
    return [*parts, source.part(start)]


def call_in(tokens: Sequence[Token]) -> Call | None:
    """Return a statement as the call that it is; ``None``: it is another statement, or not written in strings."""
    words = [token for token in tokens if not token.is_symbol(";")]
    if len(words) < 6 or not (words[0].is_word("select") and words[1].is_word("cdc_bridge") and words[2].text == "."):
        return None
    function = words[3].name
    names = _ARGUMENTS.get(function)
    if names is None or not words[4].is_symbol("(") or not words[-1].is_symbol(")"):
        return None
    arguments: dict[str, Argument] = {}
    for number, given in enumerate(parts_at_top(words[5:-1], ",")):
        name = names[number] if number < len(names) else ""
        value = given
        if len(given) > 2 and given[1].is_symbol("=>", ":="):
            name, value = given[0].name, given[2:]
        if len(value) != 1 or value[0].kind is not Kind.STRING:
            return None
        content = content_of(value[0])
        if content is None or name not in names:
            return None
        text, places = content
        arguments[name] = Argument(value[0], text, tuple(value[0].start + place for place in places))
    return Call(function, arguments)


@dataclass(frozen=True, slots=True)
class Grant:
    """``grant ... on A, B to ROLE``."""

    head: tuple[int, int]
    """From ``grant`` to ``on``, and to ``table`` or ``schema`` if it is named."""
    tail: tuple[int, int]
    """From ``to`` on."""
    objects: tuple[tuple[Token, ...], ...]
    of_schemas: bool


def grant_in(tokens: Sequence[Token]) -> Grant | None:
    """Return a statement as the grant on tables or schemas that it is."""
    words = [token for token in tokens if not token.is_symbol(";")]
    if not words or not words[0].is_word("grant"):
        return None
    on = next((n for n, token in enumerate(words) if token.is_word("on")), None)
    to = next((n for n, token in enumerate(words) if token.is_word("to")), None)
    if on is None or to is None or not on + 1 < to:
        return None
    of_schemas = words[on + 1].is_word("schema")
    first = on + 2 if of_schemas or words[on + 1].is_word("table") else on + 1
    objects = tuple(tuple(part) for part in parts_at_top(words[first:to], ","))
    if not all(objects) or any(not (token.is_name or token.text == ".") for part in objects for token in part):
        return None
    return Grant(
        (words[0].start, words[first - 1].end), (words[to].start, words[-1].end), objects, of_schemas=of_schemas
    )
