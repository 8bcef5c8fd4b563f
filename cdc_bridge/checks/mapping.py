"""Check of the payload view."""

from __future__ import annotations

import psycopg

from cdc_bridge.checks.verdict import Check, Connection, failed, listed, ok, records, warning
from cdc_bridge.database import problem_of
from cdc_bridge.payload.formats import SUPPORTED_TYPES, TEXT_TYPES
from cdc_bridge.payload.loader import payload_columns
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.version import INSTALL
from cdc_bridge.vendor.contract import column_forms, column_names

_queries = load_queries(__name__)

_NAME = "mapping"

_WHOLE_NUMBERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _WHOLE_NUMBERS | {"numeric", "float4", "float8"}
_JSON = frozenset({"json", "jsonb"})  # only their values say what they are written as

_FITTING = {
    form: types | _JSON
    for form, types in {
        "text": TEXT_TYPES | {"uuid", "date", "timestamptz", "bool"},
        "key": TEXT_TYPES | {"uuid"} | _WHOLE_NUMBERS,
        "keyOrNone": TEXT_TYPES | {"uuid"} | _WHOLE_NUMBERS,
        "flag": TEXT_TYPES | {"bool"},
        "instant": frozenset({"timestamptz"}),
        "instantOrNull": frozenset({"timestamptz"}),
        "count": _NUMBERS,
        "amount": _NUMBERS,
    }.items()
}
"""By form of the contract's schema: column types that are, or may be, written in it."""


async def check_mapping(connection: Connection) -> Check:
    """The payload view has every column of the contract, in types that are written in the contract's forms."""
    types = await payload_columns(connection)
    problem = _check_columns(types) or await _check_reading(connection) or _check_forms(types)
    if problem is not None:
        return problem
    extra = len(types) - len(column_forms())
    return ok(_NAME, f"{len(types)} columns" + (f", {extra} beyond the contract" if extra else ""))


def _check_columns(types: dict[str, str]) -> Check | None:
    if not types:
        return failed(
            _NAME,
            "the view cdc_bridge.reservation_payload is missing",
            f"Run as a DBA: {INSTALL}, or {INSTALL} --mapping FILE for your own mapping",
        )
    if missing := [column for column in column_names() if column not in types]:
        return failed(
            _NAME,
            f"the view lacks {listed(missing)}",
            "Add them to the mapping and run: cdc-bridge install --mapping FILE",
        )
    if unsupported := [f"{column} ({type_})" for column, type_ in types.items() if type_ not in SUPPORTED_TYPES]:
        return failed(
            _NAME,
            f"the view has columns of types that cannot be written: {listed(unsupported)}",
            "Cast them in the mapping; a timestamp without time zone: x at time zone 'Europe/London'",
        )
    return None


async def _check_reading(connection: Connection) -> Check | None:
    try:
        await connection.execute(_queries["read_nothing_through_view"])
    except psycopg.Error as error:
        return failed(
            _NAME,
            f"the view cannot be read: {problem_of(error)}",
            "Run in psql, for each of its tables: grant select on TABLE to cdc_bridge_owner;",
        )
    if hidden := await records(connection, "hidden_by_row_security"):
        found = listed([f"on {table} from {reader}" for table, reader in hidden])
        policies = [
            f"create policy cdc_bridge on {table} for select to {reader} using (true);" for table, reader in hidden
        ]
        return warning(
            _NAME,
            f"row security may hide rows {found}, and what is hidden counts as deleted",
            f"Run as a DBA: {' '.join(policies)}",
        )
    return None


def _check_forms(types: dict[str, str]) -> Check | None:
    forms = column_forms()
    misfits = [(column, form) for column, form in forms.items() if types[column] not in _FITTING[form]]
    if misfits:
        found = listed([f"{column} ({types[column]}, not {form})" for column, form in misfits])
        return warning(
            _NAME,
            f"columns are not written in the contract's forms: {found}",
            "Cast them in the mapping, or tell your vendor. See cdc-bridge contract schema",
        )
    if [column for column in types if column in forms] != list(forms):
        return warning(
            _NAME,
            "the columns are not in the order of the contract's keys",
            "Reorder them in the mapping.",
        )
    return None
