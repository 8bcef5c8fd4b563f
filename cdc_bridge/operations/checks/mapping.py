"""Checks of the payload view."""

from __future__ import annotations

import psycopg

from cdc_bridge.contract import column_forms
from cdc_bridge.database import problem_of
from cdc_bridge.operations.checks.verdict import INSTALL, Check, Connection, failed, listed, ok, records, warning
from cdc_bridge.payload.formats import SUPPORTED_TYPES, TEXT_TYPES
from cdc_bridge.queries import queries


_WHOLE_NUMBERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _WHOLE_NUMBERS | {"numeric", "float4", "float8"}
_ANYTHING = frozenset({"json", "jsonb"})  # what it is written as, only its values tell

_FITTING = {
    "text": TEXT_TYPES | {"uuid", "date", "timestamptz", "bool"},
    "key": TEXT_TYPES | {"uuid"} | _WHOLE_NUMBERS,
    "keyOrNone": TEXT_TYPES | {"uuid"} | _WHOLE_NUMBERS,
    "flag": TEXT_TYPES | {"bool"},
    "instant": TEXT_TYPES | {"timestamptz"},
    "instantOrNull": TEXT_TYPES | {"timestamptz"},
    "count": _NUMBERS,
    "amount": _NUMBERS,
}
"""Types of columns that are written as each form of the contract's schema asks, or may be."""


async def check_mapping(connection: Connection) -> Check:
    """The payload view has every column of the contract, in types that can be written."""
    name = "mapping"
    types: dict[str, str] = dict(await records(connection, "view_columns"))
    if not types:
        return failed(
            name,
            "the view cdc_bridge.reservation_payload is not there",
            f"Run as a DBA: {INSTALL}, or {INSTALL} --mapping FILE for a mapping of your own",
        )
    forms = column_forms()
    contract = list(forms)
    if missing := [column for column in contract if column not in types]:
        return failed(
            name,
            f"the view lacks {listed(missing)}",
            "Add them to the mapping and run: cdc-bridge install --mapping FILE",
        )
    if strange := [f"{column} ({type_})" for column, type_ in types.items() if type_ not in SUPPORTED_TYPES]:
        return failed(
            name,
            f"the view has columns of types that cannot be written: {listed(strange)}",
            "Cast them in the mapping; a timestamp without time zone: x at time zone 'Europe/London'",
        )
    misfits = [
        f"{column} ({types[column]}, not {form})"
        for column, form in forms.items()
        if types[column] not in _FITTING[form] | _ANYTHING
    ]
    if misfits:
        return warning(
            name,
            f"columns are not written as the contract has them: {listed(misfits)}",
            "Cast them in the mapping, or tell your vendor. The forms: cdc-bridge contract schema",
        )
    if [column for column in types if column in contract] != contract:
        return warning(
            name,
            "the columns stand in another order than the contract's keys",
            "Order them in the mapping.",
        )
    if (problem := await _check_reading(connection, name)) is not None:
        return problem
    extra = len(types) - len(contract)
    return ok(name, f"{len(types)} columns" + (f", {extra} beyond the contract" if extra else ""))


async def _check_reading(connection: Connection, name: str) -> Check | None:
    try:
        await connection.execute(queries["read_nothing_through_view"])
    except psycopg.Error as error:
        return failed(
            name,
            f"the view cannot be read: {problem_of(error)}",
            "Run in psql, for each of its tables: grant select on TABLE to cdc_bridge_owner;",
        )
    if hidden := await records(connection, "hidden_by_row_security"):
        found = listed([f"on {table} from {reader}" for table, reader in hidden])
        policies = [
            f"create policy cdc_bridge on {table} for select to {reader} using (true);" for table, reader in hidden
        ]
        return warning(
            name,
            f"row security may hide rows {found}, and what is hidden counts as deleted",
            f"Run as a DBA: {' '.join(policies)}",
        )
    return None
