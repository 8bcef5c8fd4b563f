"""Tokens of PostgreSQL's lexical rules: quotes, dollar quotes, comments, names, operators."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """Of a token."""

    WORD = auto()
    """A key word, or a name without quotes."""
    NAME = auto()
    """A name in double quotes."""
    STRING = auto()
    NUMBER = auto()
    SYMBOL = auto()
    """An operator, or one of ``( ) [ ] { } , ; . :``."""
    UNCLOSED = auto()
    """A string, a name or a comment that does not end."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a statement is made of; comments and white space are none."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Return whether it is one of some words, without quotes."""
        return self.kind is Kind.WORD and self.text.lower() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Return whether it is one of some symbols."""
        return self.kind is Kind.SYMBOL and self.text in symbols

    @property
    def is_name(self) -> bool:
        """Whether it can be a name."""
        return self.kind in {Kind.WORD, Kind.NAME}

    @property
    def name(self) -> str:
        """The name that it stands for."""
        return self.text[1:-1].replace('""', '"') if self.kind is Kind.NAME else self.text.lower()


_PATTERNS = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
  | (?P<dollar>\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$)
  | (?P<name>(?:[uU]&)?"(?:[^"]|"")+")
  | (?P<unclosed>(?:[eEbBxXnN]|[uU]&)?['"])
  | (?P<word>[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*)
  | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<symbol>::|:=|=>|(?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS = {"string": Kind.STRING, "name": Kind.NAME, "word": Kind.WORD, "number": Kind.NUMBER, "symbol": Kind.SYMBOL}


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text; if one does not end, it is the last."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _PATTERNS.match(text, position)
        if match is None:  # The last pattern matches anything.
            break
        group, end = str(match.lastgroup), match.end()
        if group == "comment":
            closed = _end_of_comment(text, position)
        elif group == "dollar":
            found = text.find(match[0], end)
            closed = None if found < 0 else found + len(match[0])
        else:
            closed = None if group == "unclosed" else end
        if closed is None:
            return [*tokens, Token(Kind.UNCLOSED, match[0], position, len(text))]
        if group not in {"space", "comment"}:
            kind = Kind.STRING if group == "dollar" else _KINDS[group]
            tokens.append(Token(kind, text[position:closed], position, closed))
        position = closed
    return tokens


def _end_of_comment(text: str, start: int) -> int | None:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return None


def content_of(token: Token) -> tuple[str, list[int]] | None:
    """Return what a string says, and where each character stands in the token; ``None``: it has escapes."""
    if dollar := re.match(r"\$[^$]*\$", token.text):
        length = len(dollar[0])
        return token.text[length:-length], list(range(length, len(token.text) - length))
    start = token.text.index("'") + 1
    prefix, inner = token.text[: start - 1].lower(), token.text[start:-1]
    if prefix not in {"", "e"} or (prefix and "\\" in inner):
        return None
    characters: list[str] = []
    places: list[int] = []
    position = 0
    while position < len(inner):
        characters.append(inner[position])
        places.append(start + position)
        position += 2 if inner[position] == "'" else 1
    return "".join(characters), places


def parts_at_top(tokens: Sequence[Token], *symbols: str) -> list[list[Token]]:
    """Split tokens at symbols that stand in no parentheses or brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += token.is_symbol("(", "[") - token.is_symbol(")", "]")
        if not depth and token.is_symbol(*symbols):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def at_top(tokens: Sequence[Token]) -> Iterator[Token]:
    """Go through the tokens that stand in no parentheses or brackets; those themselves do."""
    depth = 0
    for token in tokens:
        depth -= token.is_symbol(")", "]")
        if not depth:
            yield token
        depth += token.is_symbol("(", "[")
