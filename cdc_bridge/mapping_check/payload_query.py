"""The SELECT of a ``define_payload`` in a mapping file, with its parts and its place in the statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cdc_bridge.mapping_check.fault import Correction, Fault
from cdc_bridge.mapping_check.lexer import Token, tokens_of
from cdc_bridge.mapping_check.query_text import Item, QueryText, parts_of, payloads_in
from cdc_bridge.mapping_check.source import Edit, Source
from cdc_bridge.mapping_check.statements import Argument


@dataclass(frozen=True, slots=True)
class PayloadQuery:
    """A payload's query."""

    source: Source
    argument: Argument
    tokens: tuple[Token, ...]
    parts: QueryText | None
    """``None``: it cannot be split."""

    @classmethod
    def of(cls, statement: Source, argument: Argument) -> PayloadQuery:
        """Return the query that an argument holds."""
        kept = len(argument.value.rstrip(" \t\r\n;"))
        text = argument.value[:kept]
        source = Source(text, tuple(statement.at[place] for place in argument.places[:kept]))
        return cls(source, argument, tuple(tokens_of(text)), parts_of(text))

    @property
    def payloads(self) -> list[tuple[int, int, str]]:
        """Start, end and name of each payload in braces."""
        return payloads_in(self.tokens)

    def in_statement(self, edit: Edit) -> Edit:
        """Return an edit of the query as one of the statement."""
        places, value = self.argument.places, self.argument.value
        ends = [place + 1 + (self.argument.in_quotes and value[n] == "'") for n, place in enumerate(places)]
        behind = ends[-1] if ends else self.argument.token.end - 1
        start = places[edit.start] if edit.start < len(places) else behind
        end = ends[edit.end - 1] if edit.end > edit.start else start
        new = edit.new
        if self.argument.in_quotes:
            if isinstance(new, Source):
                pairs = zip(new.text, new.at, strict=True)
                doubled = [pair for pair in pairs for _ in range(2 if pair[0] == "'" else 1)]
                new = Source("".join(character for character, _ in doubled), tuple(at for _, at in doubled))
            else:
                new = new.replace("'", "''")
        return Edit(start, end, new)

    def fault_in_statement(self, fault: Fault | None) -> Fault | None:
        """Return a fault with what is to be added as it has to be written in the statement."""
        if fault is None or not self.argument.in_quotes or fault.correction not in {
            Correction.BELOW, Correction.BEHIND, Correction.ABOVE,
        } or fault.text.startswith("grant "):  # fmt: skip
            return fault
        return replace(fault, text=fault.text.replace("'", "''"))

    def text_of(self, tokens: Sequence[Token]) -> str:
        """Return what tokens say, as it is written."""
        return self.source.text[tokens[0].start : tokens[-1].end] if tokens else ""

    def item(self, number: int, columns: int) -> Item | None:
        """Return the item of a column, by its number; ``None``: the text does not say which it is."""
        parts = self.parts
        if parts is None or len(parts.items) != columns or any(item.is_star for item in parts.items):
            return None
        return parts.items[number]

    def line(self, position: int) -> tuple[int, int]:
        """Return start and end of the line that a position is on, without its line break."""
        text = self.source.text
        end = text.find("\n", position)
        return text.rfind("\n", 0, position) + 1, len(text) if end < 0 else end

    def rest_is_blank(self, position: int) -> bool:
        """Return whether nothing but a comment follows on the line."""
        rest = self.source.text[position : self.line(position)[1]].strip()
        return not rest or rest.startswith("--")

    def indentation(self, position: int) -> str:
        """Return the white space that the line of a position begins with."""
        start, _ = self.line(position)
        text = self.source.text[start:position]
        return text[: len(text) - len(text.lstrip())]

    def removal(self, item: Item) -> Edit:
        """Return the edit that takes an item out with its comma, and its line if nothing else is on it."""
        end = item.comma.end if item.comma is not None else item.end
        start, line_end = self.line(item.start)[0], self.line(end)[1]
        text = self.source.text
        if not text[start : item.start].strip() and self.rest_is_blank(end):
            return Edit(start, min(line_end + 1, len(text)), "")
        return Edit(item.start, end + len(text[end:]) - len(text[end:].lstrip(" ")), "")

    def was_added(self, item: Item) -> bool:
        """Return whether an expression is ours, written in place of one that is faulty."""
        expression = item.expression
        return all(at < 0 for at in self.source.at[expression[0].start : expression[-1].end])
