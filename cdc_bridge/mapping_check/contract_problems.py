"""In what a payload breaks the contract, as the database has it: without its text."""

from __future__ import annotations

from cdc_bridge.payload.definition import PayloadDefinition
from cdc_bridge.vendor.contract import column_forms, is_written_in


def contract_problems(definition: PayloadDefinition) -> tuple[dict[str, str], dict[str, str]]:
    """Return everything in which a payload breaks the contract: missing keys and misfits, each by its key."""
    types, forms = definition.type_of, column_forms()
    missing = {key: f"{key} is missing" for key in forms if key not in types}
    misfits = {
        key: f"{key} is {types[key]}, not {form}"
        for key, form in forms.items()
        if key in types and not is_written_in(form, types[key])
    }
    present = [key for key in forms if key in types]
    for key, other in zip((key for key in types if key in forms), present, strict=True):
        if key != other:
            misfits[key] = f"{key} stands where the contract has {other}"
            break
    return missing, misfits
