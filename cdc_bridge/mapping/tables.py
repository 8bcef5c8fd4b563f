"""Which tables hold reservations, customers and calls."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from cdc_bridge.mapping.catalogue import Catalogue, Column, ForeignKey, Table
from cdc_bridge.mapping.joins import is_between
from cdc_bridge.mapping.words import SURE, TAKEN_FROM, Words, stems, vocabulary, words_of

_A_COLUMN, _MOST_OF_COLUMNS, _ENOUGH_COLUMNS = 0.08, 0.5, 3
"""What each column that is recognised adds to the likeness of a table; what all add at most; what will do by itself."""
_NAMED_BY_COLUMNS, _MANY_COLUMNS = 0.3, 4
_A_ROW = 0.01
_FEW, _MOST = 3, 0.6
_NOT_THE_TABLE, _BETWEEN = 0.4, 0.3
_COLUMNS_OF = {
    "reservation": [
        "datetime",
        "adults",
        "children",
        "status",
        "duration",
        "reference",
        "notes",
        "tables",
        "deposit_due",
        "cancelled",
    ],
    "customer": [f"customer.{key}" for key in ["firstname", "surname", "email", "phone", "mobile", "vip", "postcode"]],
    "call": [f"call.{key}" for key in ["number", "ext_sid", "provider_sid"]],
}
_KEY_FAMILIES = (
    frozenset({"int2", "int4", "int8", "numeric"}),
    frozenset({"text", "varchar", "bpchar", "name", "citext"}),
    frozenset({"uuid"}),
)
_PREFIXES = stems("tbl table tb t app core main public")
_HUNGARIAN = stems("str int lng byt bln bol dtm dte mem cur sng dbl txt chr vch dec tlkp tbl")
_SUFFIXES = stems("mst master hdr header head data rec record mstr stamm")
_SAY_NOTHING = stems("id number code key name ref codigo codice kode cod cd kod koodi kennung")


def ranked(role: str, tables: Iterable[Table]) -> list[Table]:
    """Return the tables that may have a role, the likeliest first."""
    scored = sorted(((_likeness(table, role), table) for table in tables), key=lambda each: (-each[0], str(each[1])))
    return [table for likeness, table in scored if likeness > TAKEN_FROM]


def _likeness(table: Table, role: str) -> float:
    known, words = vocabulary(), name_words(table)
    named = known.tables[role].likeness(words, prefixes_of(table), words_of(table.comment))
    own = {*words, *known.context_of(role)}
    columns = [words_of(name) for name in table.columns]
    looked_for = [known.keys[key] for key in _COLUMNS_OF[role]]
    if role == "reservation":
        looked_for.append(known.other("adults", "total"))
    found = sum(any(terms.says(column, own) for column in columns) for terms in looked_for)
    if not named and found < _ENOUGH_COLUMNS:
        return 0.0
    if found >= _MANY_COLUMNS:
        named = max(named, _NAMED_BY_COLUMNS)
    score = named + min(_A_COLUMN * found, _MOST_OF_COLUMNS) + _A_ROW * math.log10(max(table.rows, 1))
    if is_between(table):
        score *= _BETWEEN
    is_another = known.not_the_table & set(words) - known.context_of(role) and named <= SURE
    return score * (_NOT_THE_TABLE if is_another else 1)


def name_words(table: Table) -> Words:
    """Return the words of a table's name, without those at its end that say nothing, as in guest_master."""
    words = words_of(table.name)
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words = words[:-1]
    return words


def prefixes_of(table: Table) -> frozenset[str]:
    """Return the words that may stand in front of a table's name and say nothing, as in tbl_guest, crm_contact."""
    return _PREFIXES | frozenset([*words_of(table.schema), *name_words(table)[:-1]])


def with_undeclared_keys(catalogue: Catalogue) -> Catalogue:
    """Add the foreign keys that nobody declared, where a column's name and type say which table it refers to."""
    keyed = _Keyed(catalogue.tables.values())
    tables = {
        oid: replace(table, foreign_keys=(*table.foreign_keys, *_undeclared(table, keyed)))
        for oid, table in catalogue.tables.items()
    }
    return replace(catalogue, tables=tables)


class _Keyed:
    """Finds tables that have a key by what a column may say of them."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.by_key: dict[str, list[Table]] = {}
        self.by_name: dict[Words, list[Table]] = {}
        self.by_last_word: dict[str, list[Table]] = {}
        self.by_role: dict[str, list[Table]] = {}
        for table in tables:
            if table.key is None:
                continue
            words = name_words(table)
            self.by_key.setdefault(table.key, []).append(table)
            self.by_name.setdefault(words, []).append(table)
            for word in words[-1:]:
                self.by_last_word.setdefault(word, []).append(table)
            for role in vocabulary().tables:
                if is_called(role, table):
                    self.by_role.setdefault(role, []).append(table)


def _undeclared(table: Table, keyed: _Keyed) -> list[ForeignKey]:
    declared = {column for key in table.foreign_keys for column in key.columns}
    own, found = {*words_of(table.name), *common_words(table)}, []
    for column in table.columns.values():
        if column.name in declared or (column.name,) in table.unique or column.name == table.key:
            continue
        for likely in _referred(column, own, keyed):
            candidates = [
                (other.schema == table.schema, other.rows, -other.oid, other, other.key)
                for other in likely
                if other is not table and other.key is not None and _same_family(column, other.columns[other.key])
            ]
            if candidates:
                *_, other, key = max(candidates, key=lambda each: each[:3])
                found.append(ForeignKey((column.name,), other.oid, (key,), declared=False))
                break
    return found


def _referred(column: Column, own: Collection[str], keyed: _Keyed) -> Iterator[Iterable[Table]]:
    """Yield the tables that a column may refer to, the likeliest first."""
    known, words = vocabulary(), words_of(column.name)
    if set(words) - _SAY_NOTHING:
        yield keyed.by_key.get(column.name, ())  # gst_no in the table of bookings is the key of guests.
    if known.keys["taken_by"].says(without_key_words(words)):
        yield keyed.by_role.get("staff", ())
        return
    named = tuple(word for word in words if word not in _SAY_NOTHING)
    said = tuple(word for word in named if word not in own) or (named if "id" in words else ())
    if not said or (not set(words) & _SAY_NOTHING and column.type_ != "uuid"):
        return
    yield keyed.by_name.get(said, ())
    yield [*keyed.by_last_word.get(said[-1], ()), *keyed.by_last_word.get("".join(said), ())]
    # The column is named after the same thing, in another word: cust_id and guests.
    roles = [role for role, terms in known.tables.items() if role != "reservation" and terms.says(said)]
    yield [other for role in roles for other in keyed.by_role.get(role, ())]


def polymorphic(table: Table, to: Table) -> ForeignKey | None:
    """Return the reference to a table that Rails writes in two columns, such as phoneable_type and phoneable_id."""
    name = to.name[:-3] + "y" if to.name.endswith("ies") else to.name.removesuffix("s")
    kind = "".join(word.capitalize() for word in name.split("_"))
    for column in table.columns:
        if column.endswith("_type") and f"{column.removesuffix('_type')}_id" in table.columns and to.key is not None:
            return ForeignKey((f"{column.removesuffix('_type')}_id",), to.oid, (to.key,), False, (column, kind))
    return None


def without_key_words(words: Words) -> Words:
    """Return the words of a name without those that only say that it is a key."""
    return tuple(word for word in words if word not in _SAY_NOTHING) or words


def _same_family(one: Column, other: Column) -> bool:
    return any(one.type_ in family and other.type_ in family for family in _KEY_FAMILIES)


def common_words(table: Table) -> frozenset[str]:
    """Return the word that most columns of a table begin with, such as bk in bk_id, bk_date."""
    firsts = [words[0] for words in map(words_of, table.columns) if len(words) > 1]
    enough = max(_FEW, _MOST * len(table.columns))
    if sum(word in _HUNGARIAN for word in firsts) >= enough:
        return _HUNGARIAN
    return frozenset(word for word in set(firsts) if firsts.count(word) >= enough)


def context_of(table: Table, *roles: str) -> frozenset[str]:
    """Return the words that columns of a table may begin with and that say nothing."""
    of_roles = [vocabulary().context_of(role) for role in roles]
    return frozenset(words_of(table.name)).union(common_words(table), *of_roles)


def related(catalogue: Catalogue, reservation: Table) -> list[Table]:
    """Return the tables that can be joined to the reservations with one row, the nearest first."""
    children = catalogue.children(reservation)
    near = [
        *(key.table for key in reservation.foreign_keys),
        *(child.oid for child, _ in children),
        *(key.table for child, own in children for key in child.foreign_keys if key is not own),
    ]
    return [catalogue.tables[oid] for oid in dict.fromkeys(near) if oid in catalogue.tables and oid != reservation.oid]


def with_shards(catalogue: Catalogue, reservation: Table) -> Catalogue:
    """Take tables of one name and form in several schemas, such as one for each restaurant, for one table.

    That is so if there are several tables of reservations; then the tables beside them are taken together as well.
    """
    schemas = [reservation.schema, *(other.schema for other in _twins(catalogue, reservation))]
    if len(schemas) == 1:
        return catalogue
    found: dict[int, Table] = {}
    for oid, table in catalogue.tables.items():
        beside = [other.schema for other in _twins(catalogue, table)] if table.schema == reservation.schema else []
        shards = (table.schema, *beside) if set(schemas) == {table.schema, *beside} else ()
        found[oid] = replace(table, shards=shards)
    return replace(catalogue, tables=found)


def _twins(catalogue: Catalogue, table: Table) -> list[Table]:
    shape = [(column.name, column.shown_type) for column in table.columns.values()]
    return [
        other
        for other in catalogue.tables.values()
        if other is not table
        and other.name == table.name
        and [(column.name, column.shown_type.rpartition(".")[2]) for column in other.columns.values()]
        == [(name, type_.rpartition(".")[2]) for name, type_ in shape]
    ]


def is_called(role: str, table: Table) -> bool:
    """Return whether a table's name is that of a role."""
    return vocabulary().tables[role].says(name_words(table), prefixes_of(table))


def is_restaurant(table: Table) -> bool:
    """Return whether a table holds restaurants: by its name, or as each row has a time zone and is nobody's."""
    context, zone = context_of(table, "restaurant"), vocabulary().columns["time_zone"]
    return is_called("restaurant", table) or (
        any(zone.says(words_of(name), context) for name in table.columns)
        and not any(is_called(role, table) for role in ("reservation", "customer", "staff", "call"))
    )


def is_address(table: Table) -> bool:
    """Return whether a table holds addresses."""
    keys = [vocabulary().keys[f"customer.{key}"] for key in ("address1", "city", "postcode")]
    context = context_of(table)
    return sum(any(terms.likeness(words_of(name), context) > SURE for name in table.columns) for terms in keys) > 1
