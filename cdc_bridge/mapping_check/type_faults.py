"""Columns of a payload of types that cannot be written as JSON, or not in the contract's form."""

from __future__ import annotations

from cdc_bridge.mapping_check.examined_payload import ExaminedPayload, fits, misfit
from cdc_bridge.mapping_check.fault import Found


async def type_faults(payload: ExaminedPayload) -> list[Found]:
    """Return the faults, each with a cast."""
    found: list[Found] = []
    for item, column in payload:
        form = payload.forms.get(column.name)
        if not fits(column, form):
            value = await payload.cast(form, column.type_, payload.text(item.expression))
            allowable = column.can_be_sent
            found.append(payload.rewritten(item, column, misfit(column, form), value, allowable=allowable))
    return found
