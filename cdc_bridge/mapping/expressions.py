"""Turns a source into SQL of the form that the contract wants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cdc_bridge.mapping.catalogue import Column
from cdc_bridge.mapping.words import vocabulary, words_of
from cdc_bridge.sql_names import literal

INTEGERS = frozenset({"int2", "int4", "int8"})
WHOLE_NUMBERS = INTEGERS | {"numeric"}
TEXTS = frozenset({"text", "varchar", "bpchar", "name", "citext"})
TIMES = frozenset({"timestamptz", "timestamp"})
RANGES = frozenset({"tstzrange", "tsrange"})
_PLAIN_TEXTS = frozenset({"text", "varchar", "name"})
_KEYS = _PLAIN_TEXTS | {"uuid", "bpchar"} | WHOLE_NUMBERS
_NO_TEXT = TIMES | RANGES | {"bytea", "bool", "date", "interval", "time", "money"}

_SHORT_FLAG = 6
_HEX_KEY = 32
_TRUE = frozenset(
    ["t", "true", "y", "yes", "1", "j", "ja", "s", "si", "sí", "o", "oui", "v", "vero", "x", "on", "w", "wahr", "sim"]
)
_FALSE = frozenset(["", "-", *["f", "false", "n", "no", "0", "nein", "non", "off", "nao", "não", "nee"]])
_TRUE_BEGINS = ("T", "Y", "1", "J", "S", "O", "V", "X")


@dataclass(frozen=True, slots=True)
class Source:
    """What a key may be read from."""

    sql: str
    column: Column
    likeness: float
    joins: tuple[str, ...] = ()
    """Aliases of the joins that it needs."""
    nullable: bool = True
    """Whether it may be null although its object is there."""
    ready: bool = False
    """Whether it has the form of the contract already."""
    hundredths: bool = False
    """Whether it counts pence."""
    doubt: str = ""
    """What a person should look at."""

    def weighted(self, factor: float) -> Source:
        """Return it with another likeness."""
        return replace(self, likeness=self.likeness * factor)

    def saying(
        self, sql: str, *, likeness: float | None = None, doubt: str = "", nullable: bool | None = None
    ) -> Source:
        """Return a source that says something else by the same column."""
        return replace(
            self,
            sql=sql,
            ready=True,
            doubt=doubt,
            likeness=self.likeness if likeness is None else likeness,
            nullable=self.nullable if nullable is None else nullable,
        )


def neutral(form: str, present: str | None) -> str:
    """Return the value of a key that has no source.

    Args:
        form: The form that the contract has for it.
        present: SQL that is null if the key's object is to be null; ``None``: it never is.
    """
    match form:
        case "text" | "key" | "keyOrNone":
            return "null::text"
        case "instant":
            return "null::timestamptz"
        case "flag":
            value = "'F'"
        case _:
            value = "0"
    return value if present is None else f"case when {present} is not null then {value} end"


def fits(form: str, column: Column, *, exact: bool) -> bool:
    """Return whether a column can be turned into a form.

    Args:
        form: The form that the contract has.
        column: The column.
        exact: Whether its name says what it is, so that its type may be an unusual one.
    """
    type_ = column.type_
    match form:
        case "key" | "keyOrNone":
            return type_ in _KEYS
        case "instant":
            return type_ in TIMES or type_ == "date" or (type_ in {"int8", "int4", "numeric"} and exact)
        case "count":
            return type_ in WHOLE_NUMBERS or type_ in {"float4", "float8", "interval", "time", "bool"}
        case "amount":
            return type_ in WHOLE_NUMBERS or type_ in {"float4", "float8", "money"}
        case "flag":
            return is_flag(column, exact=exact) or type_ in TIMES or type_ == "date"
        case _:
            return type_ not in _NO_TEXT


def is_flag(column: Column, *, exact: bool = True) -> bool:
    """Return whether a column says yes or no."""
    if column.type_ in {"bool", "int2"}:
        return True
    if column.values:
        return {value.casefold().strip() for value in column.values} <= _TRUE | _FALSE
    if column.type_ in WHOLE_NUMBERS | {"bit"}:
        return exact
    return column.type_ in TEXTS | {"char"} and exact and (column.length or _SHORT_FLAG + 1) <= _SHORT_FLAG


def in_form(form: str, source: Source, zone: str | None, present: str | None) -> str:
    """Return SQL for a source in a form of the contract.

    Args:
        form: The form.
        source: The source.
        zone: SQL for the time zone of local times.
        present: As for :func:`neutral`.
    """
    match form:
        case "key" | "keyOrNone":
            return source.sql if source.ready else _key(source)
        case "instant":
            return instant(source, zone)
        case "count":
            sql = source.sql if source.ready else _count(source)
        case "amount":
            sql = source.sql if source.ready else _amount(source)
        case "flag":
            sql = source.sql if source.ready else _flag(source)
        case _:
            return source.sql if source.ready else _text(source)
    return _completed(sql, form, source, present)


def _completed(sql: str, form: str, source: Source, present: str | None) -> str:
    """Replace null, which the contract does not allow, unless the whole object is to be null."""
    if form == "flag" and not source.ready and source.column.type_ in TIMES | {"date"}:
        return sql if present is None else f"case when {present} is not null then {sql} end"
    if not source.nullable:
        return sql
    completed = f"coalesce({sql}, {'false' if form == 'flag' and not _is_letter(source) else neutral(form, None)})"
    return completed if present is None else f"case when {present} is not null then {completed} end"


def _is_letter(source: Source) -> bool:
    return not source.ready and set(source.column.values) == {"T", "F"}


def _key(source: Source) -> str:
    # A key is 32 hexadecimal digits or a number. What is too short for that is made one.
    length = source.column.length
    if source.column.type_ in TEXTS and length is not None and length < _HEX_KEY:
        return f"upper(md5({source.sql}))"
    return source.sql


def instant(source: Source, zone: str | None) -> str:
    """Return SQL for a time with a time zone."""
    match source.column.type_:
        case "timestamp":
            return f"{source.sql} at time zone {zone}"
        case "date":
            return f"{source.sql}::timestamp at time zone {zone}"
        case "int4" | "int8" | "numeric":
            return f"to_timestamp({source.sql}{' / 1000.0' if says_unit(source.column, 'milliseconds') else ''})"
        case _:
            return source.sql


def needs_zone(form: str, source: Source) -> bool:
    """Return whether a source is a local time, which says nothing without its zone."""
    return form == "instant" and source.column.type_ in {"timestamp", "date"}


def says_unit(column: Column, unit: str) -> bool:
    """Return whether the name or the comment of a column names a unit."""
    return bool(vocabulary().units[unit] & {*words_of(column.name), *words_of(column.comment)})


def _count(source: Source) -> str:
    match source.column.type_:
        case "interval" | "time":
            return f"(extract(epoch from {source.sql}) / 60)::int"
        case "bool":
            return f"{source.sql}::int"
        case "int2" | "int4" | "int8":
            return source.sql
        case _:
            return f"round({source.sql})"


def _amount(source: Source) -> str:
    if source.column.type_ == "money":
        return f"{source.sql}::numeric"
    return f"{source.sql} / 100.0" if source.hundredths else source.sql


def _flag(source: Source) -> str:
    column, sql = source.column, source.sql
    if column.type_ == "bool":
        return sql
    if column.type_ in TIMES | {"date"}:
        return f"({sql} is not null)"
    if column.type_ in WHOLE_NUMBERS:
        return f"({sql} <> 0)"
    if set(column.values) == {"T", "F"}:
        return sql if column.type_ in _PLAIN_TEXTS else f"{sql}::text"
    if true := [value for value in column.values if value.casefold().strip() in _TRUE]:
        return one_of(sql, true)
    return f"(upper(left({sql}::text, 1)) in ({', '.join(map(literal, _TRUE_BEGINS))}))"


def _text(source: Source) -> str:
    column, sql = source.column, source.sql
    if column.type_ in WHOLE_NUMBERS and column.codes:
        return coded(sql, column.codes)
    if column.type_ in _PLAIN_TEXTS:
        return sql
    if column.type_ == "bpchar" and not column.is_enum:
        return sql if column.length in {None, 1} else f"rtrim({sql})"
    if column.type_.startswith("_"):
        return f"array_to_string({sql}, ', ')"
    if column.type_ in {"inet", "cidr"}:
        return f"host({sql})"
    return f"{sql}::text"


def coded(sql: str, codes: Mapping[str, str]) -> str:
    """Return what codes mean."""
    cases = " ".join(f"when {code} then {literal(text)}" for code, text in codes.items())
    return f"case {sql} {cases} end"


def one_of(sql: str, values: Sequence[str]) -> str:
    """Return a condition that holds for some values; PostgreSQL reads them in the column's type."""
    if len(values) == 1:
        return f"({sql} = {literal(values[0])})"
    return f"({sql} in ({', '.join(map(literal, values))}))"


def begins_with(sql: str, beginnings: Collection[str], *, within: bool = False) -> str:
    """Return a condition that holds for texts with one of some beginnings, or with one anywhere."""
    shortest = [
        each for each in beginnings if not any(each != other and each.startswith(other) for other in beginnings)
    ]
    patterns = ", ".join(literal(f"{'%' * within}{each}%") for each in dict.fromkeys(shortest))
    return f"({sql}::text ilike any (array[{patterns}]))"


def meaning(values: Sequence[str], beginnings: Collection[str]) -> list[str]:
    """Return the values that have one of some beginnings."""
    return [value for value in values if any(_folded(value).startswith(_folded(each)) for each in beginnings)]


def _folded(text: str) -> str:
    return "".join(words_of(text))
