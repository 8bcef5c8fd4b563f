"""Drafts a mapping: which table and column each key of the contract is read from.

A source is found by its name, its comment, its type and the foreign keys that lead to it. Nothing is read but the
catalogue, so a draft is a proposal: what it is not sure of, it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cdc_bridge.errors import NotFound, WrongUsage
from cdc_bridge.mapping.catalogue import Catalogue, Table
from cdc_bridge.mapping.derived import derive
from cdc_bridge.mapping.expressions import TIMES, Source, in_form, needs_zone, neutral
from cdc_bridge.mapping.joins import CALL, CUSTOMER, RESERVATION, Join, Joins, join_to
from cdc_bridge.mapping.named_tables import named_table
from cdc_bridge.mapping.sources import Sources
from cdc_bridge.mapping.tables import (
    context_of,
    is_restaurant,
    ranked,
    related,
    with_shards,
    with_undeclared_keys,
    without_key_words,
)
from cdc_bridge.mapping.words import TAKEN_FROM, vocabulary, words_of
from cdc_bridge.sql_names import literal, quoted
from cdc_bridge.vendor.contract import column_forms

_NEAR = 0.15
"""How much less likely a source is that is shown as another way."""
_CONSIDERED = 0.3
_MOST_ALTERNATIVES = 2
_MOST_TABLES = 5
_RESTAURANT = "@restaurant_id"
_HEX_KEY = 32
_WRITES_UTC = frozenset({"ar_internal_metadata", "_prisma_migrations"})
"""Tables of Rails and Prisma, which write a time without time zone in UTC."""
_CONTACTS = ("customer.surname", "customer.firstname", "customer.email", "customer.phone", "customer.mobile")


class ZoneNeeded(WrongUsage):
    """Some times are local, and nothing says of which time zone."""


@dataclass(frozen=True, slots=True)
class Named:
    """The tables that somebody names, where the guess is wrong."""

    reservation: str | None = None
    customer: str | None = None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A key of the contract and what it is read from."""

    key: str
    sql: str
    found: bool
    doubt: str = ""
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A mapping as it is proposed."""

    reservation: Table
    customer: Table | None
    call: Table | None
    key: str
    lines: Sequence[Line]
    joins: Sequence[Join]
    reads: Sequence[Table]
    zone: str | None
    """Time zone of local times, as SQL."""
    zone_of_restaurant: str | None
    """A column that says the time zone of each restaurant, as SQL, if another one is used."""


Chooser = Callable[[str, Sequence[str]], int | None]
"""Asks a person: gets a question and choices; returns the number of one, or ``None`` for none of them."""


def draft(catalogue: Catalogue, named: Named, zone: str | None, ask: Chooser | None = None) -> Draft:
    """Draft a mapping.

    Args:
        catalogue: The catalogue.
        named: Tables that somebody names.
        zone: Time zone of local times, such as ``Europe/London``.
        ask: Asks a person where several choices are likely; ``None``: the likeliest is taken.

    Raises:
        NotFound: No table looks like reservations, or there is none of a name that was given.
        WrongUsage: A name fits several tables, or none that can be meant.
        ZoneNeeded: ``zone`` is needed.
    """
    return _Drafter(with_undeclared_keys(catalogue), named, zone, ask).draft()


class _Drafter:
    def __init__(self, catalogue: Catalogue, named: Named, zone: str | None, ask: Chooser | None) -> None:
        self._catalogue = catalogue
        self._named = named
        self._zone = zone
        self._ask = ask
        self._forms = column_forms()
        self._chosen: dict[str, Source] = {}

    def draft(self) -> Draft:
        reservation, self._key = self._reservations()
        self._catalogue = with_shards(self._catalogue, reservation)
        self._reservation = self._catalogue.tables[reservation.oid]
        self._joins = Joins(self._reservation)
        roles: dict[str, Table | None] = {"reservation": self._reservation}
        self._customer = roles["customer"] = self._join("customer", CUSTOMER, self._named.customer, roles)
        self._call = self._join("call", CALL, self._named.call, roles)
        self._sources = Sources(self._catalogue, self._reservation, self._customer, self._call, self._joins)
        restaurant = self._restaurant()
        candidates = {name: self._sources.of(name, form) for name, form in self._forms.items()}
        self._assign_keys()
        self._assign(candidates)
        derive(self._chosen, self._sources)
        if restaurant is not None and self._call is not None and "call.restaurant_id" not in self._chosen:
            sql = f"case when {self._present('call.restaurant_id')} is not null then {restaurant.sql} end"
            self._chosen["call.restaurant_id"] = replace(restaurant.saying(sql), joins=(CALL,))
        zone = self._zone_of_times(restaurant)
        of_restaurant = None if restaurant is None or zone is None else self._zone_of_restaurant(restaurant)
        lines = [self._line(name, form, candidates[name], zone) for name, form in self._forms.items()]
        if restaurant is not None:
            lines.append(Line(_RESTAURANT, restaurant.sql, found=True))
        joins = self._joins_in_use(zone)
        inside = [table for source in self._chosen.values() for table in self._sources.reads.get(source.sql, ())]
        reads = [self._reservation, *(table for join in joins for table in join.reads), *inside]
        return Draft(
            reservation=self._reservation,
            customer=self._customer,
            call=self._call,
            key=self._key,
            lines=lines,
            joins=joins,
            reads=list(dict.fromkeys(reads)),
            zone=zone,
            zone_of_restaurant=of_restaurant if of_restaurant != zone else None,
        )

    # Tables.

    def _reservations(self) -> tuple[Table, str]:
        likely = ranked("reservation", self._catalogue.tables.values())
        table: Table | None
        if self._named.reservation is not None:
            table = named_table(self._catalogue, "reservation", self._named.reservation)
        elif self._ask is not None and len(likely) > 1:
            table = likely[self._ask("Which table holds the reservations?", [str(each) for each in likely]) or 0]
        else:
            table = next(iter(likely), None)
        if table is None:
            raise NotFound("no table looks like one of reservations", self._remedy())
        if table.key is None:
            raise NotFound(
                f"table {table} has no column that identifies a reservation: unique and never null",
                "Add one, or name another table: --table SCHEMA.TABLE",
            )
        return table, table.key

    def _remedy(self) -> str:
        """Return how a person names the table, with those that may be meant: they have a time, and refer to most."""
        timed = [
            (len(table.foreign_keys), len(self._catalogue.children(table)), str(table))
            for table in self._catalogue.tables.values()
            if table.key is not None and any(column.type_ in TIMES | {"date"} for column in table.columns.values())
        ]
        likely = [name for *_, name in sorted(timed, reverse=True)[:_MOST_TABLES]]
        return "Name it: --table SCHEMA.TABLE" + (f"; likely ones: {', '.join(likely)}" if likely else "")

    def _join(self, role: str, alias: str, name: str | None, others: Mapping[str, Table | None]) -> Table | None:
        near = ranked(
            role, [table for table in related(self._catalogue, self._reservation) if table not in others.values()]
        )
        table: Table | None
        if name is not None:
            table = named_table(self._catalogue, role, name, others)
        elif self._ask is not None and near:
            number = self._ask(f"Which table holds the {role}s?", [str(each) for each in near])
            table = None if number is None else near[number]
        else:
            table = next(iter(near), None)
        if table is None:
            return None
        join = join_to(self._catalogue, alias, table, self._reservation, RESERVATION)
        if join is None:
            raise NotFound(
                f"nothing leads from {self._reservation} to {table}: no foreign key, no column named after it",
                f"Draft without it (--{role} none), and join it by hand.",
            )
        self._joins.add(join)
        return table

    def _restaurant(self) -> Source | None:
        """Return the column that says which restaurant a reservation is of."""
        terms, context = vocabulary().tables["restaurant"], context_of(self._reservation, "reservation")
        references = {key.column: table for key, table in self._sources.references(self._reservation)}
        for column in self._reservation.columns.values():
            words = words_of(column.name)
            leads_there = column.name in references and is_restaurant(references[column.name])
            if leads_there or (without_key_words(words) != words and terms.says(without_key_words(words), context)):
                return self._sources.column(RESERVATION, column)
        return None

    # Choice.

    def _assign_keys(self) -> None:
        """Choose the keys of reservation, customer and call."""
        key = self._sources.column(RESERVATION, self._reservation.columns[self._key])
        doubt = ""
        if key.column.length is not None and key.column.length < _HEX_KEY:
            doubt = "the contract has 32 hexadecimal digits or a number: agree on this with your vendor"
        self._chosen["id"] = key.saying(key.sql, doubt=doubt)
        if self._customer is None:
            doubt = "there is no table of customers, so each reservation has one of its own"
            self._chosen["customer.id"] = self._chosen["cust_id"] = key.saying(key.sql, doubt=doubt)
        else:
            name = _key_of(self._customer)
            own = self._sources.column(CUSTOMER, self._customer.columns[name])
            self._chosen["customer.id"] = replace(own, doubt=self._joins[CUSTOMER].doubt)
            self._chosen["cust_id"] = own
            for reference, table in self._sources.references(self._reservation):
                is_key = table is self._customer and reference.to == name
                if is_key and reference.declared and not self._joins[CUSTOMER].picks:
                    column = self._reservation.columns[reference.column]
                    self._chosen["cust_id"] = self._sources.column(RESERVATION, column)
                    break
        if self._call is not None:
            self._chosen["call.call_id"] = self._sources.column(CALL, self._call.columns[_key_of(self._call)])

    def _assign(self, candidates: Mapping[str, Sequence[Source]]) -> None:
        """Give each key its likeliest source, the likeliest first. A column is the source of one key."""
        order = {name: number for number, name in enumerate(self._forms)}
        pairs = [
            (source, name) for name, each in candidates.items() for source in each if source.likeness >= TAKEN_FROM
        ]
        used: set[str] = set()
        for source, name in sorted(pairs, key=lambda pair: (-round(pair[0].likeness, 3), order[pair[1]])):
            if name not in self._chosen and source.sql not in used:
                self._chosen[name] = source
                used.add(source.sql)
        if self._ask is not None:
            self._ask_about(candidates, self._ask)

    def _ask_about(self, candidates: Mapping[str, Sequence[Source]], ask: Chooser) -> None:
        for name, sources in candidates.items():
            chosen = self._chosen.get(name)
            taken = {source.sql for key, source in self._chosen.items() if key != name}
            from_ = _CONSIDERED if chosen is None else chosen.likeness - _NEAR
            near = [each for each in sources if each.sql not in taken and each.likeness >= from_]
            likely = {each.sql: each for each in sorted(near, key=lambda each: -each.likeness)}
            if not likely or (chosen is not None and len(likely) == 1):
                continue
            choices = list(likely)
            number = ask(f"What is {name}?", choices)
            if number is not None:
                self._chosen[name] = likely[choices[number]]
            else:
                self._chosen.pop(name, None)

    # Result.

    def _zone_of_times(self, restaurant: Source | None) -> str | None:
        local = [source for name, source in self._chosen.items() if needs_zone(self._forms[name], source)]
        if self._zone is not None:
            return literal(self._zone)
        if not local:
            return None
        if {table.name for table in self._catalogue.tables.values()} & _WRITES_UTC:
            return literal("UTC")
        if restaurant is not None and (of_restaurant := self._zone_of_restaurant(restaurant)) is not None:
            return of_restaurant
        raise ZoneNeeded(
            f"these times are local, and nothing says of which time zone: {', '.join(source.sql for source in local)}",
            "Name it: --time-zone Europe/London",
        )

    def _zone_of_restaurant(self, restaurant: Source) -> str | None:
        for key, table in self._sources.references(self._reservation):
            if key.column != restaurant.column.name:
                continue
            context, terms = context_of(table, "restaurant"), vocabulary().columns["time_zone"]
            for column in table.columns.values():
                if terms.says(words_of(column.name), context):
                    return f"{self._joins.parent(key, table, RESERVATION)}.{quoted(column.name)}"
        return None

    def _line(self, name: str, form: str, candidates: Sequence[Source], zone: str | None) -> Line:
        present, source = self._present(name), self._chosen.get(name)
        taken = {each.sql for each in self._chosen.values()}
        free = [each for each in sorted(candidates, key=lambda each: -each.likeness) if each.sql not in taken]
        if source is None:
            near = [each for each in free if each.likeness > _CONSIDERED]
            return Line(name, neutral(form, present), found=False, alternatives=self._ways(name, form, near, zone))
        near = [each for each in free if each.likeness > max(TAKEN_FROM, source.likeness - _NEAR)]
        sql = in_form(form, source, zone, present)
        if self._customer is None and name in {"customer.id", "cust_id"} and present is not None:
            sql = f"case when {present} is not null then {sql} end"
        return Line(name, sql, found=True, doubt=source.doubt, alternatives=self._ways(name, form, near, zone))

    def _ways(self, name: str, form: str, sources: Sequence[Source], zone: str | None) -> tuple[str, ...]:
        """Return other ways to read a key, such as need no further join."""
        simple = [
            in_form(form, source, zone, self._present(name))
            for source in sources
            if source.column.name
            and set(source.joins) <= {CUSTOMER, CALL}
            and not (zone is None and needs_zone(form, source))
        ]
        return tuple(dict.fromkeys(simple))[:_MOST_ALTERNATIVES]

    def _present(self, name: str) -> str | None:
        """Return SQL that is null if the object of a key is to be null; ``None``: it never is."""
        role = name.rpartition(".")[0]
        if role == "call":
            return "null" if self._call is None else f"{CALL}.{quoted(_key_of(self._call))}"
        if (role != "customer" and name != "cust_id") or (self._customer is not None and role != "customer"):
            return None
        if self._customer is not None:
            return f"{CUSTOMER}.{quoted(_key_of(self._customer))}" if self._joins.is_optional(CUSTOMER) else None
        contacts = [self._chosen[key] for key in _CONTACTS if key in self._chosen]
        if not contacts or not all(source.nullable for source in contacts):
            return None
        return contacts[0].sql if len(contacts) == 1 else f"coalesce({', '.join(source.sql for source in contacts)})"

    def _joins_in_use(self, zone: str | None) -> list[Join]:
        aliases = {alias for source in self._chosen.values() for alias in source.joins}
        if zone is not None and not zone.startswith("'"):
            aliases.add(zone.partition(".")[0])
        return self._joins.in_use(aliases)


def _key_of(table: Table) -> str:
    return table.key or (table.primary_key or tuple(table.columns))[-1]
