"""Writes a draft as a mapping file."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import count

from cdc_bridge.escaping import escaped
from cdc_bridge.mapping.draft import Draft, Line
from cdc_bridge.mapping.joins import CALL, CUSTOMER, RESERVATION, names_of, written
from cdc_bridge.sql_names import literal, quoted
from cdc_bridge.vendor.contract import schema

_WIDTH = 120


def text_of(draft: Draft) -> str:
    """Return the mapping file."""
    schemas = dict.fromkeys(quoted(each) for table in draft.reads for each in table.shards or (table.schema,))
    tables = list(dict.fromkeys(name for table in draft.reads for name in names_of(table)))
    meanings = _meanings()
    columns = [_column(line, meanings.get(line.key, ""), last=line is draft.lines[-1]) for line in draft.lines]
    query = [
        "select",
        *columns,
        f"from {written(draft.reservation)} {RESERVATION}",
        *(join.text for join in draft.joins),
    ]
    quotes = _dollar_quotes("\n".join(query))
    attached = [
        f"select cdc_bridge.attach({literal(name)}, {literal(draft.key)});" for name in names_of(draft.reservation)
    ]
    return "\n".join(
        [
            "-- The mapping, drafted from the catalogue. A proposal: look at each line, at those with TODO first.",
            "-- Then: cdc-bridge mapping check FILE; cdc-bridge install --mapping FILE. See cdc-bridge guide mapping.",
            *_unread(draft, "\n".join(query)),
            "",
            "-- Reservations are loaded as cdc_bridge_loader. No other role of ours has a right on e-Res's tables.",
            f"grant usage on schema {', '.join(schemas)} to cdc_bridge_loader;",
            *_wrapped("grant select on ", tables, " to cdc_bridge_loader;"),
            "",
            f"select cdc_bridge.define_payload('reservation', {quotes}",
            *query,
            f"{quotes});",
            "",
            *attached,
            *_related(draft),
            "",
        ]
    )


def _unread(draft: Draft, query: str) -> list[str]:
    """Return comments with the columns beside that a query does not name, for the keys that have no source."""
    tables = [(RESERVATION, draft.reservation), (CUSTOMER, draft.customer), (CALL, draft.call)]
    found = []
    for alias, table in tables:
        if table is None:
            continue
        joined = {each for key in table.foreign_keys if key.table == draft.reservation.oid for each in key.columns}
        names = [f"{alias}.{quoted(column)}" for column in table.columns if column not in joined]
        left = [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", query)]
        if left:
            found += textwrap.wrap(escaped(", ".join(left)), _WIDTH, initial_indent="--   ", subsequent_indent="--   ")
    return ["-- Columns that no key is read from:", *found] if found else []


def _related(draft: Draft) -> list[str]:
    """Return the statements that capture the tables which the reservations are put together from, as comments."""
    reservation, found = draft.reservation, list[str]()
    if reservation.shards:
        return []
    for table in dict.fromkeys(draft.reads):
        for key in table.foreign_keys:
            if key.table == reservation.oid and key.pairs == [(key.column, draft.key)]:
                found.append(f"{literal(names_of(table)[0])}, reservation_key => {literal(key.column)}")
    for key in reservation.foreign_keys:
        if draft.customer is not None and key.table == draft.customer.oid and len(key.columns) == 1:
            name = literal(names_of(draft.customer)[0])
            found.append(f"{name}, key => {literal(key.to)}, via => {literal(key.column)}")
    if not found:
        return []
    return [
        "",
        "-- A change of these tables alone sends nothing. Uncomment a line to send it as a change of the reservation.",
        *(f"-- select cdc_bridge.attach_related({escaped(each)});" for each in found),
    ]


def _dollar_quotes(text: str) -> str:
    """Return quotes that do not stand in a text, as in the name of a column."""
    quotes = (f"$query{number or ''}$" for number in count())
    return next(each for each in quotes if each not in text)


def _wrapped(first: str, names: Sequence[str], last: str) -> list[str]:
    """Return a statement with a list of names, in lines that are not too long."""
    lines = [first]
    for number, name in enumerate(names):
        text = name + (last if number == len(names) - 1 else ", ")
        if len(lines[-1]) + len(text) > _WIDTH:
            lines[-1] = lines[-1].rstrip()
            lines.append("  ")
        lines[-1] += text
    return lines


def _column(line: Line, meaning: str, *, last: bool) -> str:
    alias, _, column = line.sql.partition(".")
    name = f'"{line.key}"' if "." in line.key or line.key.startswith("@") else line.key
    selected = line.sql if alias.isidentifier() and column == line.key else f"{line.sql} as {name}"
    text = f"  {selected}{'' if last else ','}"
    notes = []
    if not line.found:
        notes.append(f"TODO no source found. {meaning}")
    elif line.doubt:
        notes.append(f"TODO {line.doubt}")
    notes += [f"or: {other}" for other in line.alternatives]
    if not notes:
        return text
    # Names may have line breaks, behind which there is no comment.
    first, *others = map(escaped, notes)
    if len(text) + len(first) + 5 <= _WIDTH:
        text += f"  -- {first}"
    else:
        text = f"  -- {first}\n{text}"
    return "\n".join([text, *(f"  -- {other}" for other in others)])


def _meanings() -> dict[str, str]:
    found = {}
    for key, value in schema()["properties"].items():
        inner = (
            {f"{key}.{name}": each for name, each in value["properties"].items()}
            if "properties" in value
            else {key: value}
        )
        for name, each in inner.items():
            title, description = each.get("title", ""), each.get("description", "")
            found[name] = f"{title}: {description}" if description else title
    return found
