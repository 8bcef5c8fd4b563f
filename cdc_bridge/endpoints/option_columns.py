"""Composes the parts of statements that name an option's column, so that no statement lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from psycopg import sql

from cdc_bridge.endpoints.options import OPTIONS

OF_ALL = [name for name in OPTIONS if name != "previous_secret_until"]
"""Columns read to deliver to an endpoint; the statements read the one that is left out within bounds."""

SHOWN = [option.name for option in OPTIONS.values() if option.json_key == option.name]
"""Columns shown as they are; the statement derives what may be shown of the others."""

_SETTABLE = [option.name for option in OPTIONS.values() if option.shown_as is not None and option.setters]
"""Columns that make an endpoint's revision; the secret of a rotation that ends in time is none of them."""


def with_columns(statement: LiteralString, names: Iterable[str]) -> sql.Composed:
    """Return a statement with columns in place of ``{columns}``, and parameters of their names for ``{values}``.

    ``{assignments}`` becomes ``column = parameter``, and ``{excluded}`` ``column = excluded.column``. ``{options}``
    becomes the columns that make a revision.
    """
    columns = {name: sql.Identifier(name) for name in names}
    values = {name: sql.Placeholder(name) for name in columns}
    comma = sql.SQL(", ")
    return sql.SQL(statement).format(
        columns=comma.join(columns.values()),
        values=comma.join(values.values()),
        assignments=comma.join(sql.SQL("{} = {}").format(columns[name], values[name]) for name in columns),
        options=comma.join(map(sql.Identifier, _SETTABLE)),
        excluded=comma.join(sql.SQL("{} = excluded.{}").format(column, column) for column in columns.values()),
    )
