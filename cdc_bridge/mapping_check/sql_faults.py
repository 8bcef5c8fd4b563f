"""What PostgreSQL says against a payload's query, as a fault with its correction, and how to go on behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cdc_bridge.did_you_mean import nearest
from cdc_bridge.mapping_check.catalog import Catalog, Table
from cdc_bridge.mapping_check.conditions import Condition, aliases_in
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.from_clause import Relation
from cdc_bridge.mapping_check.joins import column_in
from cdc_bridge.mapping_check.lexer import Token
from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.query_text import Item
from cdc_bridge.mapping_check.source import Edit
from cdc_bridge.mapping_check.statement_faults import worded
from cdc_bridge.mapping_check.syntax_faults import comma_fault, parenthesis_fault
from cdc_bridge.mapping_check.trial import Rejection
from cdc_bridge.mapping_check.values import neutral, operand
from cdc_bridge.sql_names import quoted

_UNDEFINED_TABLE = "42P01"
_UNDEFINED_COLUMN = "42703"
_AMBIGUOUS_COLUMN = "42702"
_SYNTAX_ERROR = "42601"


class SqlFaults:
    """Judges rejections of one query."""

    def __init__(
        self, query: PayloadQuery, tables: Mapping[str, Table | None], catalog: Catalog, forms: Mapping[str, str]
    ) -> None:
        """Take what is known.

        Args:
            query: The query.
            tables: Tables that its relations take their columns from, by alias.
            catalog: Finds names that were likely meant.
            forms: Those of the contract, by key; none if the contract is not about this payload.
        """
        self._query = query
        self._tables = tables
        self._catalog = catalog
        self._forms = forms

    async def found(self, rejection: Rejection, position: int | None) -> Found:
        """Return the fault, and edits with which the same rejection does not come again."""
        if position is None:
            return Found(self._fault(self._query.tokens[0].start if self._query.tokens else 0, rejection))
        chain = self._chain(position)
        relation = self._relation_at(position)
        if rejection.sqlstate == _UNDEFINED_TABLE and relation is not None and relation.path:
            return await self._unknown_table(relation, position)
        if rejection.sqlstate in {_UNDEFINED_TABLE, _UNDEFINED_COLUMN, _AMBIGUOUS_COLUMN} and chain:
            meant = self._column_meant([token.name for token in chain if token.text != "."], rejection)
            meant = meant or _hinted(rejection)
            if meant is not None:
                fault = self._fault(position, rejection, f"; did you mean {meant}?", Correction.WRITE)
                return Found(fault, (Edit(chain[0].start, chain[-1].end, self._under_its_key(position, meant)),))
        return self._stood_in(rejection, position)

    def _stood_in(self, rejection: Rejection, position: int) -> Found:
        """Return a fault of which only the place is known, with something that stands in for what is there."""
        parts = self._query.parts
        item = self._item_at(position)
        if item is not None:
            return self._faulty_item(rejection, item, position)
        for relation in parts.relations if parts is not None else ():
            if _covers(relation.condition, position):
                return self._faulty_condition(rejection, relation, position)
        edits = [
            Edit(condition.tokens[0].start, condition.tokens[-1].end, "true")
            for condition in (parts.where if parts is not None else ())
            if _covers(condition.tokens, position)
        ]
        return Found(self._fault(position, rejection), edits)

    def _fault(
        self, position: int, rejection: Rejection, more: str = "", correction: Correction = Correction.NONE
    ) -> Fault:
        item = self._item_at(position)
        name = item.name if item is not None else None
        hint = rejection.hint if correction is Correction.NONE else ""
        place = self._query.source.place(position)
        key = name if name is not None and (name in self._forms or not self._forms) else ""
        return Fault(place, worded(rejection) + more, key, correction=correction, text=hint)

    def without(self, position: int) -> list[Edit]:
        """Return the edits that leave the relation at a position out; none: the rest cannot be judged without it."""
        relation = self._relation_at(position)
        return self._without(relation) if relation is not None else []

    async def _unknown_table(self, relation: Relation, position: int) -> Found:
        path = [token.name for token in relation.path if token.text != "."]
        meant = await self._catalog.table_meant(path)
        place, written = self._query.source.place(position), self._query.text_of(relation.path)
        if meant is not None:
            new = meant if relation.tokens[-1].end > relation.path[-1].end else f"{meant} {quoted(relation.alias)}"
            edit = Edit(relation.path[0].start, relation.path[-1].end, new)
            problem = f"table {written} does not exist; did you mean {meant}?"
            return Found(Fault(place, problem, correction=Correction.WRITE), (edit,))
        return Found(Fault(place, f"table {written} does not exist"), self._without(relation))

    def _without(self, relation: Relation) -> list[Edit]:
        """Return the edits that leave a relation out, so that the rest can be judged."""
        if relation.kind == "first" or self._query.parts is None:
            return []
        end = relation.condition[-1].end if relation.condition else relation.tokens[-1].end
        items = [item for item in self._query.parts.items if relation.alias in aliases_in(item.tokens)[0]]
        return [Edit(relation.join_start, end, ""), *map(self._stand_in, items)]

    def _under_its_key(self, position: int, column: str) -> str:
        """Return another column for the one at a position, whose own name may be the key."""
        item = self._item_at(position)
        if item is None or item.name is None or item.column is None or len(item.expression) < len(item.tokens):
            return column
        own = column.rpartition(".")[2].strip('"')
        if own == item.name or (own in self._forms and item.name not in self._forms):
            return column
        key = item.name if item.name in self._forms else nearest(item.name, self._forms) or item.name
        return f"{column} as {quoted(key)}"

    def _column_meant(self, path: list[str], rejection: Rejection) -> str | None:
        """Return the column that was likely meant, with its table's alias."""
        name = path[-1]
        alias = path[-2] if len(path) > 1 else ""
        of_alias = self._tables.get(alias)
        if alias and alias in self._tables and rejection.sqlstate == _UNDEFINED_COLUMN:
            near = nearest(name, of_alias.columns) if of_alias is not None else None
            return f"{quoted(alias)}.{quoted(near)}" if near else None
        having = [other for other, table in self._tables.items() if table is not None and name in table.columns]
        if alias and len(path) == 2:
            other = nearest(alias, having) or (having[0] if having else None)
        else:
            other = having[0] if having else None
        if other is not None:
            return f"{quoted(other)}.{quoted(name)}"
        for other, table in self._tables.items():
            near = nearest(name, table.columns) if table is not None else None
            if near and (not alias or nearest(alias, [other])):
                return f"{quoted(other)}.{quoted(near)}"
        return None

    def _faulty_condition(self, rejection: Rejection, relation: Relation, position: int) -> Found:
        condition = next((each for each in relation.conditions if _covers(each.tokens, position)), None)
        table = self._tables.get(relation.alias)
        if condition is not None and rejection.problem.startswith("operator does not exist"):
            edits = self._of_one_type(condition, relation, table)
            if edits:
                return Found(self._fault(position, rejection, correction=Correction.WRITE), edits)
        tokens = relation.condition if condition is None else condition.tokens
        column = next(iter([*(table.unique[0] if table.unique else ()), *table.columns]), None) if table else None
        stand_in = f"{quoted(relation.alias)}.{quoted(column)} = null" if column else "true"
        return Found(self._fault(position, rejection), (Edit(tokens[0].start, tokens[-1].end, stand_in),))

    def _of_one_type(self, condition: Condition, relation: Relation, table: Table | None) -> list[Edit]:
        """Return the edit that casts what a column of a joined table is compared with, so that its index is used."""
        for side, other in (condition.sides, condition.sides[::-1]) if condition.sides is not None else ():
            column = column_in(side)
            if table is not None and column is not None and column[0] == relation.alias and column[1] in table.types:
                value = f"{operand(self._query.text_of(other))}::{table.types[column[1]]}"
                return [Edit(other[0].start, other[-1].end, value)]
        return []

    def _faulty_item(self, rejection: Rejection, item: Item, position: int) -> Found:
        if rejection.sqlstate == _SYNTAX_ERROR:
            known = parenthesis_fault(self._query) or comma_fault(self._query, item)
            if known is not None:
                return known
        if rejection.sqlstate == _UNDEFINED_COLUMN and item.name is not None and item.name in self._forms:
            fault = self._fault(position, rejection, ", nor is there one like it", Correction.WRITE)
        else:
            fault = self._fault(position, rejection)
        return Found(fault, (self._stand_in(item),))

    def _stand_in(self, item: Item) -> Edit:
        name = item.name
        value = neutral(self._forms.get(name or "", "text"), in_object="." in (name or ""))
        if name is None:
            return Edit(item.start, item.end, value)
        label = self._query.text_of(item.tokens[-1:]) if len(item.expression) < len(item.tokens) else quoted(name)
        return Edit(item.start, item.end, f"{value} as {label}")

    def _chain(self, position: int) -> Sequence[Token]:
        """Return the name with dots that a position is in."""
        tokens = self._query.tokens
        number = next((n for n, token in enumerate(tokens) if token.start <= position < token.end), None)
        if number is None or not tokens[number].is_name:
            return ()
        first = last = number
        while first > 1 and tokens[first - 1].text == "." and tokens[first - 2].is_name:
            first -= 2
        while last + 2 < len(tokens) and tokens[last + 1].text == "." and tokens[last + 2].is_name:
            last += 2
        return tokens[first : last + 1]

    def _relation_at(self, position: int) -> Relation | None:
        relations = self._query.parts.relations if self._query.parts is not None else ()
        return next((relation for relation in relations if _covers(relation.tokens, position)), None)

    def _item_at(self, position: int) -> Item | None:
        """Return the column that a position is in, or directly behind."""
        items = self._query.parts.items if self._query.parts is not None else ()
        found = next((item for item in items if _covers(item.tokens, position)), None)
        if found is None and items and items[0].start <= position:
            before = [item for item in items if item.start <= position]
            behind = self._query.parts.from_start + len("from") if self._query.parts is not None else 0
            found = before[-1] if position < behind else None
        return found


def _hinted(rejection: Rejection) -> str | None:
    """Return the column that PostgreSQL itself suggests."""
    hinted = re.search(r'Perhaps you meant to reference the column "(\w+)\.([^"]+)"', rejection.hint)
    return f"{quoted(hinted[1])}.{quoted(hinted[2])}" if hinted else None


def _covers(tokens: Sequence[Token], position: int) -> bool:
    return bool(tokens) and tokens[0].start <= position < tokens[-1].end
