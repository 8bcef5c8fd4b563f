"""What a column says indirectly: a status that the reservation is cancelled, an end how long it lasts."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace

from cdc_bridge.mapping.catalogue import Column
from cdc_bridge.mapping.expressions import (
    INTEGERS,
    TEXTS,
    TIMES,
    WHOLE_NUMBERS,
    Source,
    begins_with,
    in_form,
    meaning,
    one_of,
    says_unit,
)
from cdc_bridge.mapping.joins import RESERVATION, names_of
from cdc_bridge.mapping.sources import Sources
from cdc_bridge.mapping.tables import context_of, prefixes_of, without_key_words
from cdc_bridge.mapping.times import is_time_of_day, time_of_day
from cdc_bridge.mapping.words import SURE, TAKEN_FROM, vocabulary, words_of
from cdc_bridge.sql_names import quoted

Chosen = MutableMapping[str, Source]
"""Sources by the key of the contract."""

_SAID, _GUESSED = 0.62, 0.55
_A_CODE = 3
"""The longest text that is a code, and says nothing by how it begins."""
_MINUTES_A_DAY = 24 * 60
_TOO_SHORT = frozenset({"site", "app", "here", "sat"})
"""To be looked for in a text."""


def derive(chosen: Chosen, sources: Sources) -> None:
    """Add the sources of keys that are said indirectly."""
    _derive_flags(chosen, sources)
    _derive_duration(chosen, sources)
    _derive_deposit(chosen, sources)
    _derive_adults(chosen, sources)
    key = sources.reservation.columns[sources.reservation.key or ""]
    if "reference" not in chosen and key.type_ in WHOLE_NUMBERS:
        chosen["reference"] = sources.column(RESERVATION, key)


# Flags, from a status, a type or a channel.


def _derive_flags(chosen: Chosen, sources: Sources) -> None:
    channels = list(_channels(sources))
    status, kind = ([chosen[name]] if name in chosen else [] for name in ("status", "type"))
    for name, of, meanings in (
        ("cancelled", status, ("cancelled",)),
        ("arrived", status, ("arrived", "departed")),
        ("departed", status, ("departed",)),
        ("deleted", status, ("deleted",)),
        ("walkin", [*channels, *kind, *status], ("walkin",)),
        ("web", [*channels, *kind], ("web",)),
    ):
        if name in chosen:
            continue
        if (found := _flag(name, of, meanings, guess=name != "deleted", kind=kind)) is not None:
            table = sources.joins.table_of(found.joins[-1] if found.joins else RESERVATION)
            see = f"; see: select distinct {quoted(found.column.name)} from {names_of(table)[0]}"
            chosen[name] = replace(found, doubt=found.doubt + see) if found.doubt else found


def _flag(
    name: str, of: Sequence[Source], meanings: Sequence[str], *, guess: bool, kind: Sequence[Source]
) -> Source | None:
    beginnings = [each for one in meanings for each in vocabulary().values[one]]
    for source in of:
        codes = {text: code for code, text in source.column.codes.items()}
        if codes:
            if said := meaning(list(codes), beginnings):
                return source.saying(one_of(source.sql, [codes[text] for text in said]), likeness=_SAID)
        elif source.column.values:
            if said := meaning(source.column.values, beginnings):
                return source.saying(one_of(source.sql, said), likeness=_SAID)
        elif guess and (source.column.length or _A_CODE + 1) <= _A_CODE and not source.ready:
            return source.saying(one_of(source.sql, ["?"]), likeness=_GUESSED, doubt="write its codes in place of ?")
        elif guess and _is_text(source) and not (source in kind and name == "web"):
            doubt = f"guessed from {source.column.name}, whose values the catalogue does not name"
            known = [each for each in beginnings if each not in _TOO_SHORT]
            return source.saying(begins_with(source.sql, known, within=name == "web"), likeness=_GUESSED, doubt=doubt)
    return None


def _is_text(source: Source) -> bool:
    return source.column.type_ in TEXTS or source.ready


def _channels(sources: Sources) -> Iterator[Source]:
    """Yield what says where a reservation came from."""
    terms, table = vocabulary().other("web", "source"), sources.reservation
    context = context_of(table, "reservation")
    for key, parent in sources.references(table):
        said = without_key_words(words_of(key.column))
        if terms.says(said, context) or terms.says(words_of(parent.name), prefixes_of(parent)):
            yield from sources.labels(sources.joins.parent(key, parent, RESERVATION))[:1]
    for column in table.columns.values():
        if (column.type_ in TEXTS or column.is_enum or column.codes) and terms.says(words_of(column.name), context):
            yield sources.column(RESERVATION, column)


# Duration, from its unit or from the end.


def _derive_duration(chosen: Chosen, sources: Sources) -> None:
    if (found := chosen.get("duration")) is not None:
        if found.column.type_ in WHOLE_NUMBERS:
            if says_unit(found.column, "hours"):
                chosen["duration"] = found.saying(f"({found.sql} * 60)::int")
            elif says_unit(found.column, "seconds"):
                chosen["duration"] = found.saying(f"{found.sql} / 60")
        return
    start = chosen.get("datetime")
    if start is None:
        return
    if start.sql.startswith("lower("):
        end = f"upper({start.sql.removeprefix('lower(')}"
        chosen["duration"] = start.saying(f"(extract(epoch from {end} - {start.sql}) / 60)::int", nullable=True)
        return
    terms, context = vocabulary().other("duration", "ends"), context_of(sources.reservation, "reservation")
    likely = [(terms.likeness(words_of(each.name), context), each) for each in sources.reservation.columns.values()]
    for likeness, column in sorted(likely, key=lambda each: -each[0]):
        if likeness >= TAKEN_FROM and (sql := _until(column, start)) is not None:
            end_source = sources.column(RESERVATION, column)
            chosen["duration"] = end_source.saying(
                sql, likeness=likeness, nullable=start.nullable or not column.not_null
            )
            return


def _until(end: Column, start: Source) -> str | None:
    """Return SQL for the minutes between a beginning and an end."""
    sql = f"{RESERVATION}.{quoted(end.name)}"
    if is_time_of_day(end) or (end.type_ in TEXTS and " + " in start.sql):
        began = start.sql.removesuffix(")").rpartition(" + ")[2] if " + " in start.sql else f"{start.sql}::time"
        minutes = f"(extract(epoch from {time_of_day(RESERVATION, end)} - {began}) / 60)::int"
        return f"({minutes} + {_MINUTES_A_DAY}) % {_MINUTES_A_DAY}"
    if end.type_ != start.column.type_:
        return None
    if end.type_ in TIMES:
        return f"(extract(epoch from {sql} - {start.sql}) / 60)::int"
    if end.type_ in INTEGERS:
        return f"({sql} - {start.sql}) / {60000 if says_unit(end, 'milliseconds') else 60}"
    return None


# Deposit and covers.


def _derive_deposit(chosen: Chosen, sources: Sources) -> None:
    due = chosen.get("deposit_due")
    if due is None or "deposit_paid" in chosen:
        return
    terms, context = vocabulary().keys["deposit_paid"], context_of(sources.reservation, "reservation")
    for column in sources.reservation.columns.values():
        if (column.type_ == "bool" or column.type_ in TIMES) and terms.likeness(words_of(column.name), context) > SURE:
            condition = f"{RESERVATION}.{quoted(column.name)}{' is not null' if column.type_ in TIMES else ''}"
            sql = f"case when {condition} then {in_form('amount', due, None, None)} else 0 end"
            chosen["deposit_paid"] = due.saying(sql, nullable=False)
            return


def _derive_adults(chosen: Chosen, sources: Sources) -> None:
    """Take the children from the number of all, if that is what stands there."""
    adults, children = chosen.get("adults"), chosen.get("children")
    if adults is None or children is None:
        return
    context, words = context_of(sources.reservation, "reservation"), words_of(adults.column.name)
    own = vocabulary().keys["adults"].likeness(words, context, words_of(adults.column.comment))
    total = vocabulary().other("adults", "total").likeness(words, context, words_of(adults.column.comment))
    if own > TAKEN_FROM or total <= own:
        return
    number = f"coalesce({children.sql}, 0)" if children.nullable else children.sql
    doubt = f"assumes that {adults.column.name} counts the children too"
    chosen["adults"] = adults.saying(f"{adults.sql} - {number}", doubt=doubt)
