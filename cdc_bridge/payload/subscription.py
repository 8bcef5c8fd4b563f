"""What an endpoint gets of the reservations: a payload, and conditions that a reservation has to meet.

Values are compared in the type of each column (``sql/functions/payload_condition.sql``). A reservation that is not in
the payload, or does not meet the conditions, is *filtered*.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from cdc_bridge.payload.definition import RESERVATION


@dataclass(frozen=True, slots=True)
class Condition:
    """A column of a payload, and the values of which it has to have one."""

    column: str
    values: Sequence[str]

    def __str__(self) -> str:
        """Return it as :func:`parse_condition` reads it."""
        return f"{self.column}={','.join(map(_quoted, self.values))}"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What an endpoint gets of the reservations."""

    payload: str = RESERVATION
    conditions: Sequence[Condition] = ()

    def __str__(self) -> str:
        """Return it for people."""
        only = f", only {' and '.join(map(str, self.conditions))}" if self.conditions else ""
        return f'payload "{self.payload}"{only}'

    @property
    def parameters(self) -> dict[str, object]:
        """Parameters of statements that read what is subscribed to."""
        conditions = {condition.column: list(condition.values) for condition in self.conditions}
        return {"payload": self.payload, "conditions": orjson.dumps(conditions).decode()}


EVERYTHING = Subscription()
"""Every reservation, with the payload that the contract describes."""


def parse_condition(text: str) -> Condition:
    """Return a condition from ``column=value,value``; a value that has a comma stands in double quotes.

    Raises:
        ValueError: It is not one. The words follow the option's name.
    """
    column, equals, listed = text.partition("=")
    column = column.strip()
    if not equals or not column:
        raise ValueError("has to be COLUMN=VALUE or COLUMN=VALUE,VALUE")
    if any(not character.isprintable() for character in listed):
        raise ValueError(f"has a character that cannot be printed in a value of {column}")
    try:
        rows = list(csv.reader([listed], skipinitialspace=True, strict=True))
    except csv.Error:
        raise ValueError(
            f'has a double quote out of place in the values of {column}: write "Bar, Terrace",Restaurant'
        ) from None
    values = tuple(rows[0]) if rows and rows[0] else ("",)
    return Condition(column, tuple(dict.fromkeys(values)))


def parse_conditions(texts: Iterable[object]) -> tuple[Condition, ...]:
    """Return the conditions of an endpoint.

    Raises:
        ValueError: One is not a condition, or two are about the same column, which no reservation could meet.
    """
    conditions = []
    for text in texts:
        if not isinstance(text, str):
            raise ValueError("has to be a list of texts, none of them null")  # noqa: TRY004 - the words of an option
        conditions.append(parse_condition(text))
    columns = [condition.column for condition in conditions]
    for column in columns:
        if columns.count(column) > 1:
            raise ValueError(f"names {column} twice; give its values together: {column}=VALUE,VALUE")
    return tuple(conditions)


def _quoted(value: str) -> str:
    if value == value.strip() and not {",", '"'} & set(value):
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'
