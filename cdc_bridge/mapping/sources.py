"""What each key of the contract may be read from: columns that are named like it, near the reservations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from cdc_bridge.mapping.catalogue import Column, ForeignKey, Table
from cdc_bridge.mapping.expressions import INTEGERS, RANGES, TEXTS, TIMES, WHOLE_NUMBERS, Source, fits, in_form
from cdc_bridge.mapping.joins import (
    CALL,
    CUSTOMER,
    RESERVATION,
    Join,
    alias_of,
    join_to,
)
from cdc_bridge.mapping.near import OF_GRANDPARENT, OF_PICKED_ROW, Near, Row, usual
from cdc_bridge.mapping.several_rows import KINDS, SEVERAL, of_contacts, of_several_rows
from cdc_bridge.mapping.tables import (
    context_of,
    is_address,
    polymorphic,
    without_key_words,
)
from cdc_bridge.mapping.times import by_kind, date_and_time
from cdc_bridge.mapping.words import SURE, TAKEN_FROM, vocabulary, words_of
from cdc_bridge.sql_names import quoted

KEYS = frozenset({"id", "cust_id", "customer.id", "call.call_id"})
"""Keys of the tables, whose sources are known with the tables."""

_OF_ONE_ROW, _REPEATED, _FLAG_OF_PARENT = 0.9, 0.75, 0.85
_TOTAL = 0.96
_BY_ITS_KIND = TAKEN_FROM + 0.01
"""The likeness of a column whose name says nothing: any other source is likelier."""
_REPEATED_KEYS = frozenset(f"customer.{key}" for key in ["firstname", "surname", "email", "phone", "mobile"])
"""Keys of a customer that a reservation may repeat."""
_OF_EITHER = frozenset(
    f"customer.{key}"
    for key in ["notes", "created", "updated", "extras", "title", "visits", "terms_agreed", "terms_agreed_ip", "suite"]
)
"""Keys of a customer that a column of reservations has only if its name says so."""
_OF_RAILS = "ar_internal_metadata"


@dataclass
class Sources(Near):
    """Finds sources."""

    def __post_init__(self) -> None:
        """Find the rows that are near."""
        own = Row(RESERVATION, self.reservation, context_of(self.reservation, "reservation"))
        self._own = own
        self._inline = Row(RESERVATION, self.reservation, context_of(self.reservation, "reservation", "customer"))
        self._customers = [] if self.customer is None else list(self._rows_of_customer(self.customer))
        self._parents_of_own = self.parents(RESERVATION, self.reservation)

    def of(self, name: str, form: str) -> list[Source]:
        """Return what a key may be read from, whatever its likeness."""
        if name in KEYS:
            return []
        role, _, _ = name.rpartition(".")
        find = {"customer": self._of_customer, "call": self._of_call}.get(role, self._of_reservation)
        return [source for source in find(name, form) if source.likeness > 0]

    # Columns of a row.

    # Of reservations.

    def _of_reservation(self, name: str, form: str) -> Iterator[Source]:
        yield from (each for each in self.columns(name, form, self._own) if not self._is_customers(each.column))
        if form == "text":
            yield from self.labels_of_parents(name, RESERVATION, self.reservation, self._own.context)
        for alias, parent, _ in self._parents_of_own:
            yield from self._of_parent(name, form, alias, parent)
        if form == "instant":
            yield from date_and_time(self, name, self._own)
        if name in SEVERAL:
            yield from of_several_rows(self, name, RESERVATION, self.catalogue.children(self.reservation))
        if name == "allergies" and self.customer is not None:
            yield from of_several_rows(self, name, CUSTOMER, self._children_of_customer(self.customer))
        special = {
            "datetime": self._beginnings, "adults": self._people, "deleted": self._inactive, "tables": self._numbered,
            "created": lambda: self._stamped(self._own), "duration": self._minutes,
        }  # fmt: skip
        if name in special:
            yield from special[name]()

    def _of_parent(self, name: str, form: str, alias: str, parent: Table) -> Iterator[Source]:
        context = context_of(parent)
        if form == "text":
            yield from self.labels_of_parents(name, alias, parent, context)
        elif form == "flag":
            yield from self.columns(name, form, Row(alias, parent, context, _FLAG_OF_PARENT, only_sure=True))
        elif form == "keyOrNone":
            yield from self.columns(name, form, Row(alias, parent, context, OF_GRANDPARENT))

    def _is_customers(self, column: Column) -> bool:
        """Return whether a column of reservations is about the customer, as guest_notes is if there are no guests."""
        words = words_of(column.name)
        if self.customer is not None or len(words) <= 1 or words[0] not in vocabulary().context_of("customer"):
            return False
        return any(vocabulary().keys[key].likeness(words[1:]) > SURE for key in _OF_EITHER)

    def _beginnings(self) -> Iterator[Source]:
        """Yield the beginning of a range of time."""
        for column in self.reservation.columns.values():
            if column.type_ in RANGES and (
                likeness := vocabulary().columns["period"].likeness(words_of(column.name), self._own.context)
            ):
                type_ = "timestamptz" if column.type_ == "tstzrange" else "timestamp"
                begins = Column(column.name, type_, type_, column.not_null)
                yield Source(
                    f"lower({RESERVATION}.{quoted(column.name)})", begins, likeness, nullable=not column.not_null
                )
        yield from by_kind(self, self._own, _BY_ITS_KIND)

    def _people(self) -> Iterator[Source]:
        """Yield the number of all, and the number that a reservation cannot be without if there is but one."""
        terms = vocabulary().other("adults", "total")
        for column in self.reservation.columns.values():
            if column.type_ in WHOLE_NUMBERS:
                likeness = terms.likeness(words_of(column.name), self._own.context, words_of(column.comment))
                yield self.column(RESERVATION, column, likeness * _TOTAL * usual("adults", "count", column))
        yield from self._only(self._own, INTEGERS, "number")

    def _only(self, row: Row, types: Collection[str], what: str) -> Iterator[Source]:
        """Yield the column of some types that is never null, whatever its name, if there is but one."""
        but = {row.table.key, *(column for key in row.table.foreign_keys for column in key.columns)}
        units = frozenset().union(*vocabulary().units.values())
        found = [
            column
            for column in row.table.columns.values()
            if column.type_ in types and column.not_null and column.name not in but
        ]
        if len(found) == 1 and not units & {*words_of(found[0].name)} and not found[0].values:
            source = self.column(row.alias, found[0], _BY_ITS_KIND)
            yield replace(source, doubt=f"guessed, as it is the only {what} that is never null")

    def _numbered(self) -> Iterator[Source]:
        """Yield the tables that stand in columns of their own, table_1, table_2 and so on."""
        terms = vocabulary().keys["tables"]
        columns = [each for each in self.reservation.columns.values() if each.type_ in TEXTS | INTEGERS]
        numbered = [each for each in columns if words_of(each.name)[-1:] and words_of(each.name)[-1].isdecimal()]
        alike = [each for each in numbered if terms.says(words_of(each.name)[:-1], self._own.context)]
        if len(alike) > 1:
            names = ", ".join(f"{RESERVATION}.{quoted(each.name)}" for each in alike)
            yield Source(f"nullif(concat_ws(', ', {names}), '')", alike[0], 1.0, ready=True)

    def _inactive(self) -> Iterator[Source]:
        terms = vocabulary().other("deleted", "inverse")
        for column in self.reservation.columns.values():
            if column.type_ == "bool" and (likeness := terms.likeness(words_of(column.name), self._own.context)):
                source = self.column(RESERVATION, column)
                yield source.saying(f"(not {source.sql})", likeness=_OF_ONE_ROW * likeness)

    def _stamped(self, row: Row) -> Iterator[Source]:
        """Yield a time that is the current one by default, whatever its name."""
        updated = vocabulary().keys["updated"]
        for column in row.table.columns.values():
            if column.stamped and column.type_ in TIMES and updated.likeness(words_of(column.name)) < TAKEN_FROM:
                source = self.column(row.alias, column, _BY_ITS_KIND * row.factor)
                yield replace(source, doubt=f"guessed, as {column.name} is the current time by default")

    def _minutes(self) -> Iterator[Source]:
        """Yield a number of minutes of the reservation, whatever its name."""
        for column in self.reservation.columns.values():
            words = words_of(column.name)
            said = words[:-1]
            counts = any(
                each.likeness(said, self._own.context) >= TAKEN_FROM
                for each in (vocabulary().keys["adults"], vocabulary().other("adults", "total"))
            )  # In covers_min it is a minimum.
            if said and not counts and words[-1] in vocabulary().units["minutes"] and column.type_ in INTEGERS:
                source = self.column(RESERVATION, column, _BY_ITS_KIND)
                yield replace(source, doubt=f"guessed, as {column.name} counts minutes")

    # Of the customer.

    def _rows_of_customer(self, table: Table) -> Iterator[Row]:
        yield Row(CUSTOMER, table, context_of(table, "customer"))
        for alias, parent, _ in self.parents(CUSTOMER, table):
            yield Row(alias, parent, context_of(parent), _FLAG_OF_PARENT, only_sure=True)
        for child, own in self._children_of_customer(table):
            alias = self.joins.unused(f"{alias_of(child)}_of_{CUSTOMER}")
            join = join_to(self.catalogue, alias, child, table, CUSTOMER, by=own)
            if join is None or (join.picks and not is_address(child)):
                continue
            self.joins.add(
                Join(alias, child, join.text, join.reads, optional=True, needs=(CUSTOMER,), picks=join.picks)
            )
            factor = OF_PICKED_ROW if join.picks else _OF_ONE_ROW
            yield Row(alias, child, context_of(child, "customer"), factor, only_sure=True)

    def _children_of_customer(self, table: Table) -> list[tuple[Table, ForeignKey]]:
        children = self.catalogue.children(table)
        if any(each.name == _OF_RAILS for each in self.catalogue.tables.values()):
            named = [(each, polymorphic(each, table)) for each in self.catalogue.tables.values()]
            children += [(each, key) for each, key in named if key is not None]
        return [
            (child, own)
            for child, own in children
            if child not in (self.reservation, self.call)
            and not any(key.table == self.reservation.oid for key in child.foreign_keys)
        ]

    def _of_customer(self, name: str, form: str) -> Iterator[Source]:
        for row in self._customers:
            yield from self._of_row_of_customer(name, form, row)
        if self.customer is not None:
            yield from self._of_rows_of_customer(name, self._children_of_customer(self.customer))
        # What a reservation says of its customer, or repeats of it.
        if self.customer is not None and name not in _REPEATED_KEYS:
            return
        for source in self.columns(name, form, self._inline):
            words = words_of(source.column.name)
            if name not in _OF_EITHER or (len(words) > 1 and words[0] in vocabulary().context_of("customer")):
                yield source if self.customer is None else source.weighted(_REPEATED)

    def _of_row_of_customer(self, name: str, form: str, row: Row) -> Iterator[Source]:
        yield from self.columns(name, form, row)
        if form == "instant":
            yield from date_and_time(self, name, row)
        if name == "customer.mailing":
            yield from self._unwanted(name, form, row)
        if name == "customer.created" and row.alias == CUSTOMER:
            yield from self._stamped(row)
        if name == "customer.surname" and row.alias == CUSTOMER:
            yield from self._only(row, TEXTS, "text")
        if form == "text" and row.factor >= OF_PICKED_ROW and not (row.only_sure and row.factor == _FLAG_OF_PARENT):
            yield from self.labels_of_parents(name, row.alias, row.table, row.context)

    def _of_rows_of_customer(self, name: str, children: Sequence[tuple[Table, ForeignKey]]) -> Iterator[Source]:
        if name in KINDS:
            for child, own in children:
                yield from of_contacts(self, name, child, own)
        if name == "customer.notes":
            yield from of_several_rows(self, name, CUSTOMER, children)

    def _unwanted(self, name: str, form: str, row: Row) -> Iterator[Source]:
        """Yield a column that says that a guest wants no mailings."""
        terms = vocabulary().other(name, "inverse")
        for column in row.table.columns.values():
            if terms.says(words_of(column.name), row.context) and fits(form, column, exact=True):
                source = self.column(row.alias, column, 1.0)
                yield source.saying(f"(not {in_form(form, replace(source, nullable=False), None, None)})")

    # Of the call.

    def _of_call(self, name: str, form: str) -> Iterator[Source]:
        if not self.call:
            return
        row = Row(CALL, self.call, context_of(self.call, "call"))
        if name == "call.restaurant_id":
            yield from self._restaurants_of_call(row)
            return
        yield from self.columns(name, form, row)
        if form == "instant":
            yield from date_and_time(self, name, row)
        references = {key.column for key, _ in self.references(self.call)}
        if name == "call.number":
            yield from self._only_number_of_call(self.call, references)
        if name in {"call.ext_sid", "call.provider_sid"}:
            for column in self.call.columns.values():
                is_key = column.name == self.call.key or column.name in references
                if (
                    not is_key
                    and column.type_ in TEXTS | {"uuid"}
                    and {"id", "sid", "ref"} & set(words_of(column.name))
                ):
                    yield self.column(CALL, column, _BY_ITS_KIND)

    def _only_number_of_call(self, call: Table, references: Collection[str]) -> Iterator[Source]:
        """Yield the number of a call if there is but one, whatever its name."""
        numbers = [
            column
            for column in call.columns.values()
            if column.type_ in TEXTS
            and column.name not in {call.key, *references}
            and {"number", "phone"} & set(words_of(column.name))
        ]
        if len(numbers) == 1:
            yield self.column(CALL, numbers[0], _BY_ITS_KIND)

    def _restaurants_of_call(self, row: Row) -> Iterator[Source]:
        terms = vocabulary().tables["restaurant"]
        for column in row.table.columns.values():
            said = without_key_words(words_of(column.name))
            if column.name != row.table.key and fits("keyOrNone", column, exact=True):
                yield self.column(CALL, column, terms.likeness(said, row.context))
