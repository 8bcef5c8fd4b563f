"""Everything that is wrong with one ``define_payload`` of a mapping file.

The stages follow one another; each reports all that it finds, and is reached once those before find nothing: SQL that
PostgreSQL rejects, columns that cannot be written as JSON, and then the contract: types, texts, nulls, objects, joins,
order and missing keys. Every fault comes with the edit that corrects it, or that lets the search go on behind it; then
the statement is examined again with these edits.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc_bridge.did_you_mean import nearest
from cdc_bridge.mapping_check.catalog import Catalog, Table
from cdc_bridge.mapping_check.column_names import name_faults, repeated_names
from cdc_bridge.mapping_check.examined_payload import ExaminedPayload, fits, misfit
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.join_faults import join_faults
from cdc_bridge.mapping_check.joins import joined
from cdc_bridge.mapping_check.lexer import Kind
from cdc_bridge.mapping_check.null_faults import null_faults, object_faults
from cdc_bridge.mapping_check.order import arrangement
from cdc_bridge.mapping_check.order_faults import misplaced, order_faults
from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.query_text import unbalanced
from cdc_bridge.mapping_check.source import Edit, Source
from cdc_bridge.mapping_check.sql_faults import SqlFaults
from cdc_bridge.mapping_check.syntax_faults import parenthesis_fault
from cdc_bridge.mapping_check.text_faults import text_faults
from cdc_bridge.mapping_check.trial import Probe, Rejection, Trial
from cdc_bridge.mapping_check.type_faults import type_faults
from cdc_bridge.sql_names import quoted

_STAGES = (type_faults, text_faults, null_faults, object_faults, join_faults, order_faults)


class PayloadFaults:
    """Examines one query."""

    def __init__(
        self, trial: Trial, catalog: Catalog, query: PayloadQuery, forms: Mapping[str, str], zone: str
    ) -> None:
        """Take the query.

        Args:
            trial: Tries it.
            catalog: Of e-Res's tables.
            query: The payload's query.
            forms: Those of the contract, by key; none if the contract is not about this payload.
            zone: Time zone of times that have none.
        """
        self._trial = trial
        self._catalog = catalog
        self._forms = forms
        self._query = query
        self._zone = zone

    async def found(self) -> list[Found]:
        """Return what the first stage finds that finds anything."""
        query = self._query
        if found := await self._unreadable():
            return found
        tables = await self._tables()
        source = await self._trial.expanded(query.source, query.payloads)
        probe = await self._trial.probe(source.text)
        if isinstance(probe, Rejection):
            position = None if probe.position is None else await self._position(probe.position)
            found = [await SqlFaults(query, tables, self._catalog, self._forms).found(probe, position)]
            return found if found[0].edits else [*found, *self._by_name()]
        if found := name_faults(query, [column.name for column in probe.columns]):
            return found
        return await self._unfit(probe, tables) or self._rights(probe, tables)

    async def _unreadable(self) -> list[Found]:
        """Return why the query cannot be split, or is none."""
        query = self._query
        if query.tokens and query.tokens[-1].kind is Kind.UNCLOSED:
            token = query.tokens[-1]
            return [Found(Fault(query.source.place(token.start), f"syntax error: {token.text} is not closed"))]
        if found := self._undefined_payloads(await self._trial.payloads()):
            return found
        if unbalanced(query.tokens) and (parenthesis := parenthesis_fault(query)) is not None:
            return [parenthesis]
        if query.parts is None:
            return []
        commas = [
            Found(
                Fault(query.source.place(comma.start), "a comma has no column beside it", correction=Correction.WRITE),
                (Edit(comma.start, comma.end, ""),),
            )
            for comma in query.parts.empty
        ]
        return commas or repeated_names(query, query.parts)

    def _undefined_payloads(self, known: list[str]) -> list[Found]:
        """Return payloads that this one builds on and that are not defined."""
        found: list[Found] = []
        for start, end, name in self._query.payloads:
            if name in known:
                continue
            place, problem = self._query.source.place(start), f"payload {{{name}}} is not defined"
            meant = nearest(name, known)
            if meant is not None:
                fault = Fault(place, f"{problem}; did you mean {{{meant}}}?", correction=Correction.WRITE)
                found.append(Found(fault, (Edit(start, end, f"{{{meant}}}"),)))
                continue
            faults = SqlFaults(self._query, {}, self._catalog, self._forms)
            found.append(Found(Fault(place, problem, text="Define that one first."), faults.without(start)))
        return found

    async def _tables(self) -> dict[str, Table | None]:
        """Return the tables that relations take their columns from, by alias."""
        relations = self._query.parts.relations if self._query.parts is not None else ()
        names = {relation.alias: self._query.text_of(relation.table) for relation in relations}
        return {alias: await self._catalog.table(name) if name else None for alias, name in names.items()}

    async def _position(self, position: int) -> int:
        """Return where a position of the query with its payloads expanded is in the query."""
        expanded = await self._trial.expanded(Source.of_file(self._query.source.text), self._query.payloads)
        return expanded.place(position) if position < len(expanded) else len(self._query.source)

    async def _unfit(self, probe: Probe, tables: Mapping[str, Table | None]) -> list[Found]:
        """Return in what the columns, or the rows, are not as they have to be."""
        query, parts = self._query, self._query.parts
        if parts is None or len(parts.items) != len(probe.columns) or any(item.is_star for item in parts.items):
            return self._unlocated(probe)
        payload = ExaminedPayload(
            self._trial, query, parts, probe.columns, self._forms, joined(parts, tables), self._zone, probe.runs_code
        )
        for stage in _STAGES:
            if stage is order_faults and not self._forms:
                break
            if found := await stage(payload):
                return found
        return []

    def _unlocated(self, probe: Probe) -> list[Found]:
        """Return what is wrong with columns that stand nowhere by themselves, such as those of ``r.*``."""
        problems = {
            column.name: misfit(column, self._forms.get(column.name))
            for column in probe.columns
            if not fits(column, self._forms.get(column.name))
        }
        rejected = {column.name for column in probe.columns if not column.can_be_sent}
        names = [column.name for column in probe.columns]
        if self._forms:
            for key, before in arrangement(names, list(self._forms)).behind.items():
                problems.setdefault(key, misplaced(key, before) if key in names else f"{key} is missing")
        if problems and (spelt_out := self._spelt_out(names)) is not None:
            return [Found(None, (spelt_out,))]
        place = self._query.source.place(self._query.tokens[0].start)
        return [Found(Fault(place, problem, key, key in rejected)) for key, problem in problems.items()]

    def _by_name(self) -> list[Found]:
        """Return what the names of the columns tell, where PostgreSQL does not say more."""
        items = self._query.parts.items if self._query.parts is not None else ()
        if not self._forms or not items or any(item.name is None for item in items):
            return []
        names = [item.name or "" for item in items]
        place = self._query.source.place(items[0].start)
        return [
            Found(Fault(place, misplaced(key, before) if key in names else f"{key} is missing", key, rejected=False))
            for key, before in arrangement(names, list(self._forms)).behind.items()
        ]

    def _spelt_out(self, names: list[str]) -> Edit | None:
        """Return the edit that writes the columns of a star one by one."""
        parts = self._query.parts
        if parts is None or [item.is_star for item in parts.items].count(True) != 1:
            return None
        number, star = next((number, item) for number, item in enumerate(parts.items) if item.is_star)
        if len(star.tokens) == 1 and len(parts.relations) != 1:
            return None
        alias = star.tokens[0].text if len(star.tokens) > 1 else parts.relations[0].alias
        own = names[number : len(names) - (len(parts.items) - number - 1)]
        separator = f",\n{self._query.indentation(star.start) or '  '}"
        text = separator.join(f"{alias}.{quoted(name)}" for name in own)
        # It counts as the author's own text, so that what is wrong with it is reported.
        return Edit(star.start, star.end, Source(text, (self._query.source.place(star.start),) * len(text)))

    def _rights(self, probe: Probe, tables: Mapping[str, Table | None]) -> list[Found]:
        """Return rights of cdc_bridge_loader that are missing."""
        found: list[Found] = []
        relations = self._query.parts.relations if self._query.parts is not None else ()
        starts = {
            known.name: relation.tokens[0].start
            for relation in reversed(relations)
            if (known := tables.get(relation.alias)) is not None
        }
        for statement, table in probe.grants:
            what = f"use schema {table.rpartition('.')[0]}" if " usage " in statement else f"read {table}"
            place = self._query.source.place(starts.get(table, self._query.tokens[0].start))
            problem = f"role cdc_bridge_loader may not {what}"
            found.append(Found(Fault(place, problem, correction=Correction.ABOVE, text=statement), (), statement))
        return found
