"""Check of the payload."""

from __future__ import annotations

from cdc_bridge.checks.verdict import Check, failed, listed, ok, warning
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.definition import RESERVATION, PayloadDefinition, payload_definition
from cdc_bridge.payload.formats import TEXT_TYPES
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection
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


async def check_mapping(connection: LoadingConnection) -> Check:
    """The payload can be loaded, and has every column of the contract, in types that are written in its forms."""
    try:
        await ReservationLoader().require_valid(connection)
        return await check_contract(connection)
    except PayloadInvalid as error:
        return invalid(error)


def invalid(error: PayloadInvalid) -> Check:
    """Return the failed check of a payload that cannot be loaded."""
    return failed(_NAME, error.problem, error.remedy)


async def check_contract(connection: LoadingConnection) -> Check:
    """The payload, which can be loaded, has every column of the contract, in types that are written in its forms.

    Raises:
        PayloadInvalid: It is not defined.
    """
    definition = await payload_definition(connection, RESERVATION)
    types = definition.type_of
    if missing := [column for column in column_names() if column not in types]:
        return failed(
            _NAME,
            f"the payload lacks {listed(missing)}",
            "Add them to the mapping and run: cdc-bridge install --mapping FILE",
        )
    if (problem := _check_forms(types) or await _check_code(connection, definition)) is not None:
        return problem
    extra = len(types) - len(column_forms())
    return ok(_NAME, f"{len(types)} columns" + (f", {extra} beyond the contract" if extra else ""))


async def _check_code(connection: LoadingConnection, definition: PayloadDefinition) -> Check | None:
    """Name what runs when reservations are loaded, and is not PostgreSQL's own."""
    cursor = await connection.execute(_queries["views_read"], {"names": list(definition.reads)})
    views = [view for (view,) in await cursor.fetchall()]
    if not (code := [*definition.functions, *views]):
        return None
    return ok(_NAME, f"{len(definition.columns)} columns; runs code of e-Res as cdc_bridge_loader: {listed(code)}")


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
