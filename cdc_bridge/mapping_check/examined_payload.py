"""A payload whose SQL PostgreSQL accepts, with what the stages that hold it to the contract ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdc_bridge.mapping_check.conditions import aliases_in
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.joins import Joined
from cdc_bridge.mapping_check.lexer import Token, tokens_of
from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.query_text import Item, QueryText, payloads_in
from cdc_bridge.mapping_check.source import Edit
from cdc_bridge.mapping_check.trial import Column, Probe, Rejection, Trial
from cdc_bridge.mapping_check.values import casts, neutral
from cdc_bridge.sql_names import quoted
from cdc_bridge.vendor.contract import is_written_in

_KEYS_OF_OBJECTS = frozenset({"customer.id", "call.call_id"})


@dataclass(frozen=True, slots=True)
class ExaminedPayload:
    """A payload of which each column is an item of the text."""

    trial: Trial
    query: PayloadQuery
    parts: QueryText
    columns: tuple[Column, ...]
    forms: Mapping[str, str]
    """Those of the contract, by key; none if the contract is not about this payload."""
    joined: Mapping[str, Joined]
    """The tables that it reads, by alias."""
    zone: str
    """Time zone of times that have none."""
    runs_code: bool
    """Whether it calls something that is not PostgreSQL's own."""

    def __iter__(self) -> Iterator[tuple[Item, Column]]:
        """Go through the columns, each with its item."""
        return zip(self.parts.items, self.columns, strict=True)

    def text(self, tokens: Sequence[Token]) -> str:
        """Return what tokens say."""
        return self.query.text_of(tokens)

    def rewritten(
        self,
        item: Item,
        column: Column,
        problem: str,
        value: str | None,
        *,
        allowable: bool = True,
        is_certain: bool = True,
    ) -> Found:
        """Return a fault of a column.

        Args:
            item: Its item.
            column: The column.
            problem: What is wrong with it.
            value: The expression to write instead; ``None``: nobody can tell.
            allowable: Whether it can be allowed.
            is_certain: Whether that is what to write; otherwise it lets the search go on.
        """
        correction = Correction.WRITE if value is not None and is_certain else Correction.NONE
        place = self.query.source.place(item.start)
        fault = Fault(place, problem, column.name, not allowable, correction)
        edits: tuple[Edit, ...] = ()
        if value is not None:
            has_label = len(item.expression) < len(item.tokens)
            label = item.tokens[-1].text if has_label else quoted(column.name)
            edits = (Edit(item.start, item.end, f"{value} as {label}"),)
        return Found(None if self.query.was_added(item) else fault, edits)

    def guard(self, key: str) -> str:
        """Return what tells whether the object that a key is in exists; empty: there is no such object, or always."""
        object_, dot, _ = key.partition(".")
        if not dot:
            return ""
        for item in self.items_of(object_):
            for alias in sorted(aliases_in(item.expression)[0]):
                table = self.joined.get(alias)
                if table is not None and table.may_be_missing and table.guard:
                    return table.guard
        key_of_object = next((item for item in self.items_of(object_) if item.name in _KEYS_OF_OBJECTS), None)
        return "" if key_of_object is None else self.own_guard(key_of_object)

    def own_guard(self, item: Item) -> str:
        """Return the GUARD of ``case when GUARD is not null then ... end``; empty: an item has no such form."""
        tokens = item.expression
        end = next((number for number, token in enumerate(tokens) if token.is_word("then")), 0)
        said = [token.text.lower() for token in (*tokens[:2], *tokens[max(end - 3, 0) : end], *tokens[-1:])]
        return self.text(tokens[2 : end - 3]) if said == ["case", "when", "is", "not", "null", "end"] else ""

    def items_of(self, object_: str) -> list[Item]:
        """Return the items of an object."""
        return [item for item in self.parts.items if (item.name or "").startswith(f"{object_}.")]

    def has_no_source(self, key: str) -> bool:
        """Return whether a key is in an object of which no column comes from a table, so that it is always null."""
        object_, dot, _ = key.partition(".")
        return bool(dot) and not any(aliases_in(item.expression)[0] for item in self.items_of(object_))

    async def probe(self, expression: str) -> Probe | Rejection:
        """Have PostgreSQL parse an expression over the tables of the payload."""
        from_ = self.query.source.part(self.parts.from_start, self.parts.from_end)
        source = self.query.source.part(0, self.parts.select_start)
        source = source + source.added(f"select {expression}\nas value ", 0) + from_
        return await self.trial.probe((await self.trial.expanded(source, payloads_in(tokens_of(source.text)))).text)

    async def cast(self, form: str | None, type_: str, expression: str) -> str | None:
        """Return the first cast that PostgreSQL accepts and that has a form, or what stands for a value."""
        for value in [*casts(form, type_, expression, self.zone), neutral(form or "text")]:
            probe = await self.probe(value)
            if isinstance(probe, Probe) and fits(probe.columns[0], form):
                return value
        return None

    async def is_null_without(self, item: Item, aliases: set[str]) -> bool | None:
        """Return whether an item is null where tables have no row; ``None``: nobody can tell.

        Args:
            item: The item.
            aliases: All that it names.
        """
        tables = {alias: joined.table for alias, joined in self.joined.items() if alias in aliases}
        named = {alias: table.name for alias, table in tables.items() if table is not None}
        if len(named) < len(aliases):
            return None
        expression = self.text(item.expression)
        probe = await self.probe(expression)
        if isinstance(probe, Rejection) or probe.runs_code:
            return None
        return await self.trial.is_null(expression, named)


def fits(column: Column, form: str | None) -> bool:
    """Return whether a column can be written as JSON, and in a form of the contract."""
    return column.can_be_sent and (form is None or is_written_in(form, column.type_))


def misfit(column: Column, form: str | None) -> str:
    """Return why a column does not fit."""
    if column.can_be_sent:
        return f"{column.name} is {column.type_}, not {form}"
    return f'column "{column.name}" is of type {column.shown_type}, which cannot be written as JSON'
