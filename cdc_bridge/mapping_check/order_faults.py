"""Keys of the contract that a payload lacks, or has in another place."""

from __future__ import annotations

from cdc_bridge.mapping_check.arrangement_edits import arrangement_edits
from cdc_bridge.mapping_check.examined_payload import ExaminedPayload, fits
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.order import arrangement
from cdc_bridge.mapping_check.trial import Rejection
from cdc_bridge.mapping_check.values import guarded, neutral, without_null
from cdc_bridge.sql_names import quoted


async def order_faults(payload: ExaminedPayload) -> list[Found]:
    """Return the faults; the edits of all of them are with the first one."""
    items = {column.name: item for item, column in payload if column.name in payload.forms}
    arranged = arrangement(list(items), list(payload.forms))
    missing = {key: await _column_for(payload, key) for key in arranged.behind if key not in items}
    faults: list[Fault] = []
    for key, before in arranged.behind.items():
        anchor = before
        while anchor is not None and anchor in arranged.behind:
            anchor = arranged.behind[anchor]
        if key in items:
            place = payload.query.source.place(items[key].start)
            text = f"behind {before}" if before is not None else "in front of all others"
            faults.append(Fault(place, misplaced(key, before), key, False, Correction.MOVE, text))
        elif anchor is not None:
            place = payload.query.source.place(items[anchor].start)
            comma = items[anchor].comma
            below = payload.query.rest_is_blank(comma.end if comma is not None else items[anchor].end)
            correction = Correction.BELOW if below else Correction.BEHIND
            text = f"{missing[key]},"
            faults.append(Fault(place, f"{key} is missing", key, False, correction, text, before or ""))
        else:
            place = payload.query.source.place(payload.parts.items[0].start)
            faults.append(Fault(place, f"{key} is missing", key, False, Correction.ABOVE, f"{missing[key]},"))
    edits = arrangement_edits(payload.query, payload.parts, items, arranged.behind, missing) if faults else []
    return [Found(fault, edits if not number else ()) for number, fault in enumerate(faults)]


def misplaced(key: str, before: str | None) -> str:
    """Return the words for a key in another place than in the contract."""
    return f"{key} is in the wrong place: it " + (f"follows {before}" if before is not None else "is the first")


async def _column_for(payload: ExaminedPayload, key: str) -> str:
    """Return the column to add for a key: one of the same name, or what stands for none."""
    form, (object_, _, name) = payload.forms[key], key.rpartition(".")
    guard = payload.guard(key)
    for alias in _likely_aliases(payload, object_):
        joined = payload.joined.get(alias)
        if joined is None or joined.table is None or name not in joined.table.columns:
            continue
        column = f"{quoted(alias)}.{quoted(name)}"
        probe = await payload.probe(column)
        if isinstance(probe, Rejection):
            continue
        type_ = probe.columns[0].type_
        value = column if fits(probe.columns[0], form) else await payload.cast(form, type_, column)
        if value is None:
            continue
        if joined.table.is_table and not joined.table.columns[name]:
            safe = without_null(form, type_, value)
            if safe is not None:
                value = guarded(guard, safe) if guard else safe
        return value if value == column and name == key else f"{value} as {quoted(key)}"
    in_object = bool(object_) and (bool(guard) or payload.has_no_source(key))
    return f"{neutral(form, guard, in_object=in_object)} as {quoted(key)}"


def _likely_aliases(payload: ExaminedPayload, object_: str) -> list[str]:
    """Return the tables that the columns beside a missing one come from."""
    beside = {
        item.column[0]: None
        for item in payload.parts.items
        if item.column is not None and (item.name or "").rpartition(".")[0] == object_
    }
    if not object_ and payload.parts.relations:
        beside[payload.parts.relations[0].alias] = None
    return list(beside)
