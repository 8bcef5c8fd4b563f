"""The rows near a reservation, and how their columns are recognised."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from cdc_bridge.mapping.catalogue import Catalogue, Column, ForeignKey, Table
from cdc_bridge.mapping.expressions import INTEGERS, TEXTS, TIMES, WHOLE_NUMBERS, Source, fits, is_flag, says_unit
from cdc_bridge.mapping.joins import (
    CALL,
    CUSTOMER,
    RESERVATION,
    Joins,
)
from cdc_bridge.mapping.tables import (
    common_words,
    context_of,
    is_called,
    is_restaurant,
    name_words,
    prefixes_of,
    without_key_words,
)
from cdc_bridge.mapping.words import SURE, TAKEN_FROM, Terms, vocabulary, words_of
from cdc_bridge.sql_names import quoted

OF_PARENT, OF_GRANDPARENT, OF_SEVERAL_ROWS, OF_PICKED_ROW = 0.97, 0.85, 0.9, 0.8
"""How much less likely a source is that stands farther away."""

_FROM_DOCUMENT = frozenset({"name_values", "extras", "customer.extras", "allergies", "codes", "notes"})
_FROM_BOOLEAN = frozenset({"high_chair", "wheelchair"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is joined, and how its columns are looked at."""

    alias: str
    table: Table
    context: frozenset[str]
    factor: float = 1.0
    only_sure: bool = False


@dataclass
class Near:
    """What is near a reservation. A join that is needed is added to ``joins``."""

    catalogue: Catalogue
    reservation: Table
    customer: Table | None
    call: Table | None
    joins: Joins
    reads: dict[str, tuple[Table, ...]] = field(default_factory=dict)
    """Tables that a source reads by itself, by its SQL."""

    def column(self, alias: str, column: Column, likeness: float = 1.0) -> Source:
        """Return a column of a row as a source."""
        return Source(
            f"{alias}.{quoted(column.name)}",
            column,
            likeness,
            self.joins.with_those_needed(alias),
            nullable=not column.not_null
            or (alias not in {RESERVATION, CUSTOMER, CALL} and self.joins.is_optional(alias)),
            hundredths=column.type_ in WHOLE_NUMBERS and self._counts_hundredths(self.joins.table_of(alias), column),
        )

    @staticmethod
    def _counts_hundredths(table: Table, column: Column) -> bool:
        """Return whether a column, or one that is like it, says that it counts pence."""
        return says_unit(column, "hundredths") or (
            column.type_ in INTEGERS
            and any(other.type_ == column.type_ and says_unit(other, "hundredths") for other in table.columns.values())
        )

    def _doubt_of(self, alias: str, column: Column) -> str:
        table = self.joins.table_of(alias)
        if column.type_ in INTEGERS and self._counts_hundredths(table, column) and not says_unit(column, "hundredths"):
            return "in pence, like the other amounts?"
        return ""

    def references(self, table: Table) -> list[tuple[ForeignKey, Table]]:
        """Return the references of a table with the tables that they lead to."""
        return [
            (key, self.catalogue.tables[key.table])
            for key in table.foreign_keys
            if key.table in self.catalogue.tables and key.table != table.oid
        ]

    def columns(self, name: str, form: str, row: Row) -> Iterator[Source]:
        """Yield the columns of a row that are named like a key and can be turned into its form."""
        references = {key.column: (key, table) for key, table in self.references(row.table)}
        for column in row.table.columns.values():
            if not self._is_looked_at(form, column, row.table, column.name in references):
                continue
            likeness = self._likeness(name, form, column, row.context)
            if likeness == 0 or (row.only_sure and likeness <= SURE) or not _can_be(name, form, column, likeness):
                continue
            alias = row.alias
            if form == "keyOrNone" and column.name in references and not references[column.name][0].declared:
                # Nobody keeps the column from naming a row that is not there.
                key, table = references[column.name]
                alias, column = self.joins.parent(key, table, row.alias), table.columns[key.to]  # noqa: PLW2901
            if name == "codes" and (column.name,) in row.table.unique:
                continue  # It identifies the reservation.
            found = self._completed(name, row, self.column(alias, column, likeness * row.factor))
            if column.type_.startswith("_") and name[-1].isdecimal():
                found = found.saying(f"{found.sql}[{name[-1]}]")  # A line of the address.
            yield replace(found, doubt=self._doubt_of(alias, column)) if form == "amount" else found

    @staticmethod
    def _is_looked_at(form: str, column: Column, table: Table, is_reference: bool) -> bool:  # noqa: FBT001
        if column.name == table.key:
            return False
        return is_reference or "id" in words_of(column.name) if form == "keyOrNone" else not is_reference

    def _completed(self, name: str, row: Row, source: Source) -> Source:
        """Add what stands in a column of its own: the number of the house, what is in front of a surname."""
        what = {"customer.address1": "house_number", "customer.surname": "surname_prefix"}.get(name)
        terms = None if what is None else vocabulary().columns[what]
        for column in row.table.columns.values() if terms is not None else ():
            if terms is not None and terms.says(words_of(column.name), row.context):
                other = f"{row.alias}.{quoted(column.name)}"
                both = (source.sql, other) if what == "house_number" else (other, source.sql)
                return source.saying(f"nullif(concat_ws(' ', {', '.join(both)}), '')")
        return source

    @staticmethod
    def _likeness(name: str, form: str, column: Column, context: Collection[str]) -> float:
        words = words_of(column.name)
        if form == "keyOrNone":
            words = without_key_words(words)
        if form in {"amount", "instant", "flag"} or name == "duration":
            units = frozenset().union(*vocabulary().units.values())
            words = tuple(word for word in words if word not in units) or words
        # What a comment says of some values says nothing of the column.
        comment = () if column.codes else words_of(column.comment)
        return vocabulary().keys[name].likeness(words, context, comment) * usual(name, form, column)

    def parents(self, alias: str, table: Table) -> list[tuple[str, Table, ForeignKey]]:
        """Join the tables that a row refers to; return their aliases."""
        others = (self.reservation, self.customer, self.call)
        return [
            (self.joins.parent(key, parent, alias), parent, key)
            for key, parent in self.references(table)
            if parent not in others
            and not is_restaurant(parent)
            and not (parent.shards and parent.columns[key.to].type_ != "uuid")  # Each shard may have such a key.
        ]

    def labels_of_parents(self, name: str, alias: str, table: Table, context: Collection[str]) -> Iterator[Source]:
        """Yield the names of rows that a row refers to."""
        terms = vocabulary().keys[name]
        for parent_alias, parent, key in self.parents(alias, table):
            named = max(
                terms.likeness(without_key_words(words_of(key.column)), context),
                is_named(name, terms, parent) * 0.98,
            )
            if named:
                for label in self.labels(parent_alias):
                    yield label.weighted(named * (OF_PARENT if alias in {RESERVATION, CUSTOMER} else OF_GRANDPARENT))

    def labels(self, alias: str) -> list[Source]:
        """Return what names a row, the best first."""
        table, known = self.joins.table_of(alias), vocabulary()
        context, found = context_of(table), list[Source]()
        names: list[str] = []
        person = [self._of_person(table, f"customer.{key}") for key in ("firstname", "surname")]
        if None not in person:
            first, last = (f"{alias}.{quoted(column.name)}" for column in person if column is not None)
            names.append(f"nullif(trim(concat_ws(' ', {first}, {last})), '')")
        for column in table.columns.values():
            words = words_of(column.name)
            likeness = known.columns["label"].likeness(words, context)
            if [word for word in words if word not in common_words(table)] == [*words_of(table.name)[-1:]]:
                likeness = SURE  # The table of rooms has a column that is called room.
            if not likeness and column.name.casefold().endswith(("name", "bez")):
                likeness = TAKEN_FROM
            is_key = column.name == table.key and (column.type_ in INTEGERS or likeness <= SURE)
            if likeness >= TAKEN_FROM and column.type_ in TEXTS | INTEGERS and not is_key:
                found.append(self.column(alias, column, 0.97 + 0.02 * likeness))
        found.sort(key=lambda each: -each.likeness)
        texts = [column for column in table.columns.values() if column.type_ in TEXTS]
        others = [column for column in texts if column.name != table.key]
        if not found and (len(others) == 1 or (texts and not others)):
            found.append(self.column(alias, (others or texts)[0], 0.97))
        if names:
            person_name = self.column(alias, next(iter(table.columns.values())))
            names += [source.sql for source in found[:1] if source.column not in person]
            text = names[0] if len(names) == 1 else f"coalesce({', '.join(names)})"
            found.insert(0, person_name.saying(text))
        return found

    @staticmethod
    def _of_person(table: Table, key: str) -> Column | None:
        terms, context = vocabulary().keys[key], context_of(table, "staff", "customer")
        likely = [(terms.likeness(words_of(each.name), context), each) for each in table.columns.values()]
        likeness, column = max(likely, key=lambda each: each[0], default=(0.0, None))
        return column if likeness > SURE else None

    def by_itself(self, sql: str, likeness: float, *reads: Table) -> Source:
        """Return a source that reads tables by itself."""
        self.reads[sql] = reads
        return Source(sql, Column("", "text", "text"), likeness, ready=True)


def is_named(name: str, terms: Terms, table: Table) -> float:
    """Return how likely a table names what a key is about."""
    likeness = terms.likeness(name_words(table), prefixes_of(table))
    role = {"tables": "table", "taken_by": "staff"}.get(name)
    return likeness if role is None else max(likeness, OF_PARENT * is_called(role, table))


def usual(name: str, form: str, column: Column) -> float:
    """Return how usual a type is for a form; it decides between columns that are named alike."""
    type_ = column.type_
    match form:
        case "instant":
            return 1.0 if type_ in TIMES else 0.9
        case "amount":
            return 1.0 if type_ in {"numeric", "money"} else 0.97
        case "count":
            return 0.8 if type_ == "numeric" and name != "reference" else 1.0
        case "flag":
            return 1.0 if is_flag(column) else 0.95
        case "text":
            is_document = type_ in {"json", "jsonb"} and name.endswith("extras")
            return 0.5 if is_document else 1.0 if type_ in TEXTS or column.is_enum else 0.93
        case _:
            return 1.0


def _can_be(name: str, form: str, column: Column, likeness: float) -> bool:
    if form == "count":
        if column.type_ in {"interval", "time"}:
            return name == "duration"
        if column.type_ == "bool":
            return name in _FROM_BOOLEAN
        if name == "reference" and column.type_ not in WHOLE_NUMBERS:
            return False
    words = words_of(column.name)
    if form == "text" and (
        (column.type_ in WHOLE_NUMBERS | {"uuid"} and "id" in words)
        or (column.length == 1 and name.startswith("customer."))
        or (column.type_ in {"json", "jsonb"} and name not in _FROM_DOCUMENT)
    ):
        return False
    if form == "flag" and column.type_ in TEXTS and {"date", "time"} & set(words):
        return False
    return fits(form, column, exact=likeness > OF_PICKED_ROW)
