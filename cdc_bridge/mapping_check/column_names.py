"""Names of a payload's columns that cannot be keys of its JSON."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.payload_query import PayloadQuery
from cdc_bridge.mapping_check.query_text import Item, QueryText
from cdc_bridge.mapping_check.source import Edit


def repeated_names(query: PayloadQuery, parts: QueryText) -> list[Found]:
    """Return the columns whose names have occurred before."""
    known: set[str] = set()
    found: list[Found] = []
    for number, item in enumerate(parts.items):
        if item.name is not None and item.name in known:
            fault = Fault(
                query.source.place(item.start), f"{item.name} is selected twice", correction=Correction.REMOVE
            )
            found.append(Found(fault, (_removal(query, parts, number),)))
        known.add(item.name or "")
    return found


def _removal(query: PayloadQuery, parts: QueryText, number: int) -> Edit:
    item = parts.items[number]
    if item.comma is not None:
        return query.removal(item)
    before = parts.items[number - 1].comma
    return Edit(item.start if before is None else before.start, item.end, "")


def name_faults(query: PayloadQuery, names: Sequence[str]) -> list[Found]:
    """Return the columns whose names have no place in an object."""
    found: list[Found] = []
    for number, name in enumerate(names):
        problem = _problem(name, names)
        if not problem:
            continue
        item = query.item(number, len(names))
        if item is None:
            found.append(Found(Fault(query.source.place(0), problem, text="Give it another name.")))
        elif ".@" in name:
            found.append(_renamed(query, item, "@" + name.replace(".@", "."), problem, Correction.WRITE))
        else:
            found.append(_renamed(query, item, f"@{number}", problem, Correction.NONE))
    return found


def _renamed(query: PayloadQuery, item: Item, name: str, problem: str, correction: Correction) -> Found:
    text = "" if correction is Correction.WRITE else "Give it another name."
    fault = Fault(query.source.place(item.start), problem, correction=correction, text=text)
    return Found(fault, (Edit(item.start, item.end, f'{query.text_of(item.expression)} as "{name}"'),))


def _problem(name: str, names: Sequence[str]) -> str:
    if inner := next((other for other in names if other.startswith(f"{name}.")), None):
        return f'"{name}" is a value and has keys of its own, as "{inner}"'
    if "" in name.split("."):
        return f'column "{name}" has an empty key'
    if name.startswith("cdc_bridge_"):
        return f'column "{name}" has a name that is ours'
    if not name.startswith("@") and ".@" in name:
        return f'column "{name}" would be sent: metadata has its @ in front'
    return ""
