"""Sources that stand in several rows of another table: tables of a reservation, telephone numbers of a guest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from cdc_bridge.mapping.catalogue import Column, ForeignKey, Table
from cdc_bridge.mapping.expressions import INTEGERS, TEXTS, Source, begins_with, meaning, one_of
from cdc_bridge.mapping.joins import (
    CUSTOMER,
    FIRST,
    SECOND,
    Join,
    Joins,
    first_in,
    first_of,
    following,
    leading_to,
    written,
)
from cdc_bridge.mapping.near import OF_PARENT, OF_SEVERAL_ROWS, Near, is_named
from cdc_bridge.mapping.tables import (
    context_of,
    prefixes_of,
)
from cdc_bridge.mapping.words import TAKEN_FROM, vocabulary, words_of
from cdc_bridge.sql_names import quoted

SEVERAL = frozenset({"tables", "allergies", "codes", "vouchers", "promotion", "extras", "notes"})
"""Keys of text that may name several rows of another table."""
KINDS = {
    "customer.mobile": "mobile",
    "customer.work_phone": "work_phone",
    "customer.email": "email",
    "customer.phone": "phone",
}
"""Keys whose values may stand in rows of their own, with the kind that says which."""


def of_several_rows(near: Near, name: str, of: str, children: Sequence[tuple[Table, ForeignKey]]) -> Iterator[Source]:
    """Yield texts that are put together from rows that refer to a reservation or a customer, whose alias is ``of``."""
    terms, known = vocabulary().keys[name], (near.reservation, near.customer, near.call)
    context = context_of(near.joins.table_of(of), "customer" if of == CUSTOMER else "reservation")
    for child, own in children:
        if child in known:
            continue
        where = following(own, FIRST, of)
        references = [(key, table) for key, table in near.references(child) if not set(key.columns) & set(own.columns)]
        for key, named in references:
            likeness = is_named(name, terms, named)
            if named not in known and likeness >= TAKEN_FROM:
                yield from _names_of_rows(near, (child, key, named), where, likeness * OF_SEVERAL_ROWS)
        but = {child.key, *own.columns, *(key.column for key, _ in references)}
        texts = [each for each in child.columns.values() if each.type_ in TEXTS | INTEGERS and each.name not in but]
        yield from _texts_of_rows(near, name, (child, texts, context), where)


def _names_of_rows(near: Near, way: tuple[Table, ForeignKey, Table], where: str, likeness: float) -> Iterator[Source]:
    child, key, named = way
    names = Joins(near.reservation)
    names.add(Join(SECOND, named, "", (named,), optional=False))
    labels = Near(near.catalogue, near.reservation, None, None, names).labels(SECOND) if named.columns else []
    if labels:
        label = labels[0].sql
        sql = (
            f"(select string_agg({label}::text, ', ' order by {label}) from {written(child)} {FIRST} "
            f"join {written(named)} {SECOND} on {leading_to(key, SECOND, FIRST)} where {where})"
        )
        yield near.by_itself(sql, likeness, child, named)


def _texts_of_rows(
    near: Near, name: str, rows: tuple[Table, Sequence[Column], Collection[str]], where: str
) -> Iterator[Source]:
    child, texts, of = rows
    terms, context, words = vocabulary().keys[name], context_of(child), words_of(child.name)
    of_table = terms.likeness(tuple(word for word in words if word not in of) or words, prefixes_of(child))
    for column in texts:
        is_label = vocabulary().columns["label"].likeness(words_of(column.name), context) > TAKEN_FROM
        likeness = max(terms.likeness(words_of(column.name), context), of_table * is_label)
        if likeness >= TAKEN_FROM:
            text = f"{FIRST}.{quoted(column.name)}"
            order = ", ".join(first_of(child, FIRST)) if name.endswith("notes") else text
            put = f"string_agg({text}::text, ', ' order by {order})"
            sql = f"(select {put} from {written(child)} {FIRST} where {where})"
            yield near.by_itself(sql, likeness * OF_SEVERAL_ROWS * OF_PARENT, child)


def of_contacts(near: Near, name: str, child: Table, own: ForeignKey) -> Iterator[Source]:
    """Yield a telephone number or an e-mail address that stands in a row of its own, with its kind or without."""
    of = "" if near.customer is None else near.customer.name
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
    value = f"{FIRST}.{quoted(values[0].name)}"
    sql = (
        f"(select {value} from {written(child)} {FIRST} where {where} {first_in(first_of(child, FIRST, own.columns))})"
    )
    yield near.by_itself(sql, OF_SEVERAL_ROWS, child)


def _of_kind(name: str, kind: Column, *, is_general: bool) -> str | None:
    """Return the condition on the kind of a contact; ``None``: none of the kinds is meant."""
    known, sql = vocabulary().values, f"{FIRST}.{quoted(kind.name)}"
    rest = [each for key, what in KINDS.items() if key != "customer.phone" for each in known[what]]
    if kind.codes:
        texts = {text: code for code, text in kind.codes.items()}
        found = [texts[text] for text in meaning(list(texts), known[KINDS[name]])]
        return one_of(sql, found) if found else None
    if not kind.values:
        if name != "customer.phone" or is_general:
            return begins_with(sql, known[KINDS[name]])
        return f"not {begins_with(sql, rest)}"
    if name == "customer.phone" and not is_general:
        found = [value for value in kind.values if value not in meaning(kind.values, rest)]
    else:
        found = meaning(kind.values, known[KINDS[name]])
    return one_of(sql, found) if found else None
