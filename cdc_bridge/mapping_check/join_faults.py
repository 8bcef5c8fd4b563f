"""Joins after which a reservation may have several rows."""

from __future__ import annotations

from cdc_bridge.mapping_check.examined_payload import ExaminedPayload
from cdc_bridge.mapping_check.fault import Correction, Fault, Found
from cdc_bridge.mapping_check.joins import Joined, column_in
from cdc_bridge.mapping_check.source import Edit
from cdc_bridge.sql_names import quoted


async def join_faults(payload: ExaminedPayload) -> list[Found]:
    """Return the faults, each with a join that has one row at most."""
    return [_fault(payload, joined) for joined in payload.joined.values() if joined.multiplies]


def _fault(payload: ExaminedPayload, joined: Joined) -> Found:
    relation, table = joined.relation, joined.table
    name = table.name if table is not None else payload.text(relation.path)
    sides = [side for condition in relation.conditions for side in map(column_in, condition.sides or ())]
    own = dict.fromkeys(side[1] for side in sides if side is not None and side[0] == relation.alias)
    columns = ", ".join(map(quoted, own or relation.using))
    problem = f"the join of {name} can multiply rows: "
    problem += f"no unique index covers ({columns})" if columns else "no column of it is compared"
    note = f"if no two rows have the same: create unique index on {name} ({columns});" if columns else ""
    place = payload.query.source.place(relation.join_start)
    if relation.using:
        return Found(Fault(place, problem, name, rejected=False, text=note))
    alias = quoted(relation.alias)
    key = table.unique[0] if table is not None and table.unique else ()
    order = ", ".join(f"{alias}.{quoted(column)}" for column in key)
    clauses = [
        " ".join(["select", f"{alias}.*", "from", name, alias]),
        f"where {payload.text(relation.condition)}" if relation.condition else "",
        f"order by {order}" if order else "",
        "limit 1",
    ]
    lateral = f"join lateral ({' '.join(filter(None, clauses))}) {alias}"
    text = f"left {lateral} on true" if relation.kind == "left" else f"cross {lateral}"
    end = relation.condition[-1].end if relation.condition else relation.tokens[-1].end
    return Found(
        Fault(place, problem, name, rejected=False, correction=Correction.WRITE, text=note),
        (Edit(relation.join_start, end, text),),
    )
