"""Dates and times of day, which may stand in two columns, and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cdc_bridge.mapping.catalogue import Column
from cdc_bridge.mapping.expressions import TEXTS, TIMES, Source
from cdc_bridge.mapping.near import Near, Row
from cdc_bridge.mapping.words import SURE, TAKEN_FROM, Words, vocabulary, words_of
from cdc_bridge.sql_names import quoted

_SHORT_TIME = 8
_LENGTHS_OF_DATES = {8, 10}
_OTHER_TIMES = ("created", "updated", "cancelled", "arrived", "departed", "deleted")
_PAIR = 0.05
"""How much likelier a pair of date and time is than a date alone."""


def date_and_time(near: Near, name: str, row: Row) -> Iterator[Source]:
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
            yield _at(near, row.alias, date, likely[0], max(likeness, TAKEN_FROM) + _PAIR)


def by_kind(near: Near, row: Row, likeness: float) -> Iterator[Source]:
    """Yield the time that a row cannot be without, whatever its name, unless it is known to be another one."""
    others = [vocabulary().keys[key] for key in _OTHER_TIMES]
    known = [
        column
        for column in row.table.columns.values()
        if column.not_null
        and not column.stamped
        and not any(terms.says(words_of(column.name), row.context) for terms in others)
    ]
    dates = [column for column in known if column.type_ == "date"]
    clocks = [column for column in known if column.type_ == "time"]
    found = [_at(near, row.alias, dates[0], clocks[0], likeness)] if dates and clocks else []
    found += [near.column(row.alias, column, likeness) for column in known if column.type_ in TIMES]
    for source in found[:1]:
        yield replace(source, doubt="guessed, as it is a time that is never null")


def _at(near: Near, alias: str, date: Column, time: Column, likeness: float) -> Source:
    day = f"{alias}.{quoted(date.name)}{'' if date.type_ == 'date' else '::date'}"
    sql = f"({day} + {time_of_day(alias, time)})"
    column = Column(date.name, "timestamp", "timestamp", not_null=date.not_null and time.not_null)
    return Source(sql, column, likeness, near.joins.with_those_needed(alias), nullable=not column.not_null)


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
