"""What each key of the contract may be read from: columns that are named like it, near the reservations."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from cdc_bridge.mapping.catalogue import Catalogue, Column, ForeignKey, Table
from cdc_bridge.mapping.expressions import (
    INTEGERS,
    RANGES,
    TEXTS,
    TIMES,
    WHOLE_NUMBERS,
    Source,
    begins_with,
    fits,
    in_form,
    is_flag,
    meaning,
    one_of,
    quoted,
    says_unit,
)
from cdc_bridge.mapping.joins import (
    CALL,
    CUSTOMER,
    FIRST,
    RESERVATION,
    SECOND,
    Join,
    Joins,
    first_of,
    following,
    join_to,
    leading_to,
    written,
)
from cdc_bridge.mapping.tables import (
    common_words,
    context_of,
    is_address,
    is_called,
    polymorphic,
    prefixes_of,
    without_key_words,
)
from cdc_bridge.mapping.words import SURE, TAKEN_FROM, Terms, Words, slug, stems, vocabulary, words_of

KEYS = frozenset({"id", "cust_id", "customer.id", "call.call_id"})
"""Keys of the tables, whose sources are known with the tables."""

_OF_PARENT, _OF_GRANDPARENT, _OF_SEVERAL_ROWS, _OF_ONE_ROW, _OF_PICKED_ROW, _REPEATED = 0.97, 0.85, 0.9, 0.9, 0.8, 0.75
_FLAG_OF_PARENT = 0.85
_TOTAL = 0.96
_PAIR = 0.05
_SEVERAL = frozenset({"tables", "allergies", "codes", "vouchers", "promotion", "extras", "notes"})
"""Keys of text that may name several rows of another table."""
_FROM_DOCUMENT = frozenset({"name_values", "extras", "customer.extras", "allergies", "codes", "notes"})
_FROM_BOOLEAN = frozenset({"high_chair", "wheelchair"})
_OF_EITHER = frozenset(
    f"customer.{key}"
    for key in ["notes", "created", "updated", "extras", "title", "visits", "terms_agreed", "terms_agreed_ip", "suite"]
)
"""Keys of a customer that a column of reservations has only if its name says so."""
_KINDS = {
    "customer.mobile": "mobile",
    "customer.work_phone": "work_phone",
    "customer.email": "email",
    "customer.phone": "phone",
}
_SHORT_TIME = 8
_LENGTHS_OF_DATES = {8, 10}
_OF_RAILS = "ar_internal_metadata"
_OF_DURATION = stems("minute min mins")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that is joined, and how its columns are looked at."""

    alias: str
    table: Table
    context: frozenset[str]
    factor: float = 1.0
    only_sure: bool = False


@dataclass
class Sources:
    """Finds sources. A join that one needs is added to ``joins``."""

    catalogue: Catalogue
    reservation: Table
    customer: Table | None
    call: Table | None
    joins: Joins
    reads: dict[str, tuple[Table, ...]] = field(default_factory=dict)
    """Tables that a source reads by itself, by its SQL."""

    def __post_init__(self) -> None:
        """Find the rows that are near."""
        own = _Row(RESERVATION, self.reservation, context_of(self.reservation, "reservation"))
        self._own = own
        self._inline = _Row(RESERVATION, self.reservation, context_of(self.reservation, "reservation", "customer"))
        self._customers = [] if self.customer is None else list(self._rows_of_customer(self.customer))
        self._parents_of_own = self._parents(RESERVATION, self.reservation)

    def of(self, name: str, form: str) -> list[Source]:
        """Return what a key may be read from, whatever its likeness."""
        if name in KEYS:
            return []
        role, _, _ = name.rpartition(".")
        find = {"customer": self._of_customer, "call": self._of_call}.get(role, self._of_reservation)
        return [source for source in find(name, form) if source.likeness > 0]

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

    # Columns of a row.

    def _columns(self, name: str, form: str, row: _Row) -> Iterator[Source]:
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

    def _completed(self, name: str, row: _Row, source: Source) -> Source:
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
            units = frozenset().union(*vocabulary().units.values(), _OF_DURATION)
            words = tuple(word for word in words if word not in units) or words
        return vocabulary().keys[name].likeness(words, context, words_of(column.comment)) * _usual(name, form, column)

    def _parents(self, alias: str, table: Table) -> list[tuple[str, Table, ForeignKey]]:
        """Join the tables that a row refers to; return their aliases."""
        others = (self.reservation, self.customer, self.call)
        return [
            (self.joins.parent(key, parent, alias), parent, key)
            for key, parent in self.references(table)
            if parent not in others and not is_called("restaurant", parent)
        ]

    def _labels_of_parents(self, name: str, alias: str, table: Table, context: Collection[str]) -> Iterator[Source]:
        """Yield the names of rows that a row refers to."""
        terms = vocabulary().keys[name]
        for parent_alias, parent, key in self._parents(alias, table):
            named = max(
                terms.likeness(without_key_words(words_of(key.column)), context),
                _is_named(name, terms, parent) * 0.98,
            )
            if named:
                for label in self.labels(parent_alias):
                    yield label.weighted(named * (_OF_PARENT if alias in {RESERVATION, CUSTOMER} else _OF_GRANDPARENT))

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
            is_key = column.name == table.key and column.type_ in INTEGERS
            if likeness >= TAKEN_FROM and column.type_ in TEXTS | INTEGERS and not is_key:
                found.append(self.column(alias, column, 0.97 + 0.02 * likeness))
        found.sort(key=lambda each: -each.likeness)
        texts = [column for column in table.columns.values() if column.type_ in TEXTS and column.name != table.key]
        if not found and len(texts) == 1:
            found.append(self.column(alias, texts[0], 0.97))
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

    # Of reservations.

    def _of_reservation(self, name: str, form: str) -> Iterator[Source]:
        yield from (each for each in self._columns(name, form, self._own) if not self._is_customers(each.column))
        if form == "text":
            yield from self._labels_of_parents(name, RESERVATION, self.reservation, self._own.context)
        for alias, parent, _ in self._parents_of_own:
            yield from self._of_parent(name, form, alias, parent)
        if form == "instant":
            yield from self._date_and_time(name, self._own)
        if name in _SEVERAL:
            yield from self._of_several_rows(name)
        special = {
            "datetime": self._beginnings, "adults": self._totals, "deleted": self._inactive, "tables": self._numbered
        }  # fmt: skip
        if name in special:
            yield from special[name]()

    def _of_parent(self, name: str, form: str, alias: str, parent: Table) -> Iterator[Source]:
        context = context_of(parent)
        if form == "text":
            yield from self._labels_of_parents(name, alias, parent, context)
        elif form == "flag":
            yield from self._columns(name, form, _Row(alias, parent, context, _FLAG_OF_PARENT, only_sure=True))
        elif form == "keyOrNone":
            yield from self._columns(name, form, _Row(alias, parent, context, _OF_GRANDPARENT))

    def _is_customers(self, column: Column) -> bool:
        """Return whether a column of reservations is about the customer, as guest_notes is if there are no guests."""
        words = words_of(column.name)
        if self.customer is not None or len(words) == 1 or words[0] not in vocabulary().context_of("customer"):
            return False
        return any(vocabulary().keys[key].likeness(words[1:]) > SURE for key in _OF_EITHER)

    def _date_and_time(self, name: str, row: _Row) -> Iterator[Source]:
        """Yield a date and a time of day that stand in two columns."""
        terms, ends = vocabulary().keys[name], vocabulary().other("duration", "ends")
        times = [
            column
            for column in row.table.columns.values()
            if is_time_of_day(column) and ends.likeness(words_of(column.name), row.context) <= SURE
        ]
        for date in row.table.columns.values():
            if not is_date(date) or not (likeness := terms.likeness(words_of(date.name), row.context)):
                continue
            alike = [time for time in times if _without_clock(time) == _without_clock(date)]
            likely = alike or (
                sorted(times, key=lambda each: -terms.likeness(words_of(each.name), row.context))
                if name == "datetime"
                else []
            )
            if likely:
                yield self._at(row.alias, date, likely[0], max(likeness, TAKEN_FROM) + _PAIR)

    def _at(self, alias: str, date: Column, time: Column, likeness: float) -> Source:
        day = f"{alias}.{quoted(date.name)}{'' if date.type_ == 'date' else '::date'}"
        sql = f"({day} + {time_of_day(alias, time)})"
        column = Column(date.name, "timestamp", "timestamp", not_null=date.not_null and time.not_null)
        return Source(sql, column, likeness, self.joins.with_those_needed(alias), nullable=not column.not_null)

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

    def _totals(self) -> Iterator[Source]:
        terms = vocabulary().other("adults", "total")
        for column in self.reservation.columns.values():
            if column.type_ in WHOLE_NUMBERS:
                likeness = terms.likeness(words_of(column.name), self._own.context, words_of(column.comment))
                yield self.column(RESERVATION, column, likeness * _TOTAL * _usual("adults", "count", column))

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

    def _of_several_rows(self, name: str) -> Iterator[Source]:
        """Yield texts that are put together from rows that refer to a reservation."""
        terms = vocabulary().keys[name]
        for child, own in self.catalogue.children(self.reservation):
            if child in (self.customer, self.call):
                continue
            where = following(own, FIRST, RESERVATION)
            references = [
                (key, table) for key, table in self.references(child) if not set(key.columns) & set(own.columns)
            ]
            for key, named in references:
                likeness = _is_named(name, terms, named)
                if named not in (self.reservation, self.customer, self.call) and likeness >= TAKEN_FROM:
                    yield from self._names_of_rows(child, key, named, where, likeness * _OF_SEVERAL_ROWS)
            yield from self._texts_of_rows(name, child, own, where, {key.column for key, _ in references})

    def _names_of_rows(
        self, child: Table, key: ForeignKey, named: Table, where: str, likeness: float
    ) -> Iterator[Source]:
        names = Joins(self.reservation)
        names.add(Join(SECOND, named, "", (named,), optional=False))
        labels = Sources(self.catalogue, self.reservation, None, None, names).labels(SECOND) if named.columns else []
        if labels:
            label = labels[0].sql
            sql = (
                f"(select string_agg({label}::text, ', ' order by {label}) from {written(child)} {FIRST} "
                f"join {written(named)} {SECOND} on {leading_to(key, SECOND, FIRST)} where {where})"
            )
            yield self._by_itself(sql, likeness, child, named)

    def _texts_of_rows(
        self, name: str, child: Table, own: ForeignKey, where: str, references: Collection[str]
    ) -> Iterator[Source]:
        terms, context = vocabulary().keys[name], context_of(child)
        words = tuple(word for word in words_of(child.name) if word not in self._own.context) or words_of(child.name)
        of_table = terms.likeness(words, prefixes_of(child))
        for column in child.columns.values():
            is_key = column.name in {*own.columns, *references, child.key}
            if is_key or column.type_ not in TEXTS | INTEGERS:
                continue
            is_label = vocabulary().columns["label"].likeness(words_of(column.name), context) > TAKEN_FROM
            likeness = max(terms.likeness(words_of(column.name), context), of_table * is_label)
            if likeness >= TAKEN_FROM:
                text = f"{FIRST}.{quoted(column.name)}"
                order = ", ".join(first_of(child, FIRST, own.columns)) if name == "notes" else text
                put = f"string_agg({text}::text, ', ' order by {order})"
                sql = f"(select {put} from {written(child)} {FIRST} where {where})"
                yield self._by_itself(sql, likeness * _OF_SEVERAL_ROWS * _OF_PARENT, child)

    def _by_itself(self, sql: str, likeness: float, *reads: Table) -> Source:
        """Return a source that reads tables by itself."""
        self.reads[sql] = reads
        return Source(sql, Column("", "text", "text"), likeness, ready=True)

    # Of the customer.

    def _rows_of_customer(self, table: Table) -> Iterator[_Row]:
        yield _Row(CUSTOMER, table, context_of(table, "customer"))
        for alias, parent, _ in self._parents(CUSTOMER, table):
            yield _Row(alias, parent, context_of(parent), _FLAG_OF_PARENT, only_sure=True)
        for child, own in self._children_of_customer(table):
            alias = f"{slug(child.name)}_of_{CUSTOMER}"
            join = join_to(self.catalogue, alias, child, table, CUSTOMER, by=own)
            if join is None or (join.picks and not is_address(child)):
                continue
            self.joins.add(
                Join(alias, child, join.text, join.reads, optional=True, needs=(CUSTOMER,), picks=join.picks)
            )
            factor = _OF_PICKED_ROW if join.picks else _OF_ONE_ROW
            yield _Row(alias, child, context_of(child, "customer"), factor, only_sure=True)

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
            yield from self._columns(name, form, row)
            if form == "instant":
                yield from self._date_and_time(name, row)
            if name == "customer.mailing":
                yield from self._unwanted(name, form, row)
            if (
                form == "text"
                and row.factor >= _OF_PICKED_ROW
                and not (row.only_sure and row.factor == _FLAG_OF_PARENT)
            ):
                yield from self._labels_of_parents(name, row.alias, row.table, row.context)
        if self.customer is not None and name in _KINDS:
            for child, own in self._children_of_customer(self.customer):
                yield from self._of_contacts(name, child, own)
        # What a reservation says of its customer, or repeats of it.
        for source in self._columns(name, form, self._inline):
            words = words_of(source.column.name)
            if name not in _OF_EITHER or (len(words) > 1 and words[0] in vocabulary().context_of("customer")):
                yield source if self.customer is None else source.weighted(_REPEATED)

    def _unwanted(self, name: str, form: str, row: _Row) -> Iterator[Source]:
        """Yield a column that says that a guest wants no mailings."""
        terms = vocabulary().other(name, "inverse")
        for column in row.table.columns.values():
            if terms.says(words_of(column.name), row.context) and fits(form, column, exact=True):
                source = self.column(row.alias, column, 1.0)
                yield source.saying(f"(not {in_form(form, replace(source, nullable=False), None, None)})")

    def _of_contacts(self, name: str, child: Table, own: ForeignKey) -> Iterator[Source]:
        """Yield a telephone number or an e-mail address that stands in a row of its own, with its kind or without."""
        of = "" if self.customer is None else self.customer.name
        known, words, context = (
            vocabulary(),
            words_of(child.name.removeprefix(of)),
            context_of(child, "customer") | {"phone", "email"},
        )
        about = "customer.email" if name == "customer.email" else "customer.phone"
        is_about = known.keys[about].likeness(words, prefixes_of(child)) > TAKEN_FROM
        kinds = [
            column
            for column in child.columns.values()
            if known.columns["kind"].says(words_of(column.name), context) and (column.type_ in TEXTS or column.is_enum)
        ]
        is_general = bool(kinds) and known.tables["contact"].likeness(words, prefixes_of(child)) > TAKEN_FROM
        values = [
            column
            for column in child.columns.values()
            if column.type_ in TEXTS
            and column not in kinds
            and (
                known.keys[about].says(words_of(column.name), context)
                or known.columns["contact"].says(words_of(column.name), context)
            )
        ]
        if not values or not (is_about or is_general):
            return
        where = following(own, FIRST, CUSTOMER)
        if kinds:
            of_kind = _of_kind(name, kinds[0], is_general=not is_about)
            if of_kind is None:
                return
            where += f" and {of_kind}"
        elif name != about:
            return
        order = ", ".join(first_of(child, FIRST, own.columns))
        value = f"{FIRST}.{quoted(values[0].name)}"
        sql = f"(select {value} from {written(child)} {FIRST} where {where} order by {order} limit 1)"
        yield self._by_itself(sql, _OF_SEVERAL_ROWS, child)

    # Of the call.

    def _of_call(self, name: str, form: str) -> Iterator[Source]:
        if not self.call:
            return
        row = _Row(CALL, self.call, context_of(self.call, "call"))
        if name == "call.restaurant_id":
            yield from self._restaurants_of_call(row)
            return
        yield from self._columns(name, form, row)
        if form == "instant":
            yield from self._date_and_time(name, row)
        if name in {"call.ext_sid", "call.provider_sid"}:
            references = {key.column for key, _ in self.references(self.call)}
            for column in self.call.columns.values():
                is_key = column.name == self.call.key or column.name in references
                if (
                    not is_key
                    and column.type_ in TEXTS | {"uuid"}
                    and {"id", "sid", "ref"} & set(words_of(column.name))
                ):
                    yield self.column(CALL, column, TAKEN_FROM + 0.01)

    def _restaurants_of_call(self, row: _Row) -> Iterator[Source]:
        terms = vocabulary().tables["restaurant"]
        for column in row.table.columns.values():
            said = without_key_words(words_of(column.name))
            if column.name != row.table.key and fits("keyOrNone", column, exact=True):
                yield self.column(CALL, column, terms.likeness(said, row.context))


def is_date(column: Column) -> bool:
    """Return whether a column holds a date, perhaps as a text such as 20260912 or 2026-09-12."""
    return column.type_ == "date" or (column.type_ in TEXTS and column.length in _LENGTHS_OF_DATES)


def is_time_of_day(column: Column) -> bool:
    """Return whether a column holds a time of day."""
    if column.type_ == "time":
        return True
    return (
        column.type_ in TEXTS and (column.length or _SHORT_TIME + 1) <= _SHORT_TIME and "time" in words_of(column.name)
    )


def time_of_day(alias: str, column: Column) -> str:
    """Return SQL for a time of day."""
    return f"{alias}.{quoted(column.name)}{'' if column.type_ == 'time' else '::time'}"


def _without_clock(column: Column) -> Words:
    return tuple(word for word in words_of(column.name) if word not in {"date", "time"})


def _is_named(name: str, terms: Terms, table: Table) -> float:
    """Return how likely a table names what a key is about."""
    likeness = terms.likeness(words_of(table.name), prefixes_of(table))
    role = {"tables": "table", "taken_by": "staff"}.get(name)
    return likeness if role is None else max(likeness, _OF_PARENT * is_called(role, table))


def _usual(name: str, form: str, column: Column) -> float:
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
    return fits(form, column, exact=likeness > _OF_PICKED_ROW)


def _of_kind(name: str, kind: Column, *, is_general: bool) -> str | None:
    """Return the condition on the kind of a contact; ``None``: none of the kinds is meant."""
    known, sql = vocabulary().values, f"{FIRST}.{quoted(kind.name)}"
    rest = [each for key, what in _KINDS.items() if key != "customer.phone" for each in known[what]]
    if kind.codes:
        texts = {text: code for code, text in kind.codes.items()}
        found = [texts[text] for text in meaning(list(texts), known[_KINDS[name]])]
        return one_of(sql, found) if found else None
    if not kind.values:
        if name != "customer.phone" or is_general:
            return begins_with(sql, known[_KINDS[name]])
        return f"not {begins_with(sql, rest)}"
    if name == "customer.phone" and not is_general:
        found = [value for value in kind.values if value not in meaning(kind.values, rest)]
    else:
        found = meaning(kind.values, known[_KINDS[name]])
    return one_of(sql, found) if found else None
