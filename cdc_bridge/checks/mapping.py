"""Check of the payload."""

from __future__ import annotations

from cdc_bridge.checks.verdict import Check, Connection, failed, listed, ok, warning
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.definition import RESERVATION, PayloadDefinition, payload_definition
from cdc_bridge.payload.formats import TEXT_TYPES
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection
from cdc_bridge.vendor.contract import column_forms

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
    missing, misfits = contract_problems(definition)
    if missing:
        return failed(
            _NAME,
            "; ".join([*missing.values(), *misfits.values()]),
            "Add them to the mapping and run: cdc-bridge install --mapping FILE",
        )
    if misfits:
        return warning(
            _NAME,
            "; ".join(misfits.values()),
            "Correct the mapping, or tell your vendor. See cdc-bridge contract schema",
        )
    if (runs := await _check_code(connection, definition)) is not None:
        return runs
    extra = len(definition.columns) - len(column_forms())
    return ok(_NAME, f"{len(definition.columns)} columns" + (f", {extra} beyond the contract" if extra else ""))


def contract_problems(definition: PayloadDefinition) -> tuple[dict[str, str], dict[str, str]]:
    """Return everything in which a payload breaks the contract: missing keys and misfits, each by its key."""
    types, forms = definition.type_of, column_forms()
    missing = {key: f"{key} is missing" for key in forms if key not in types}
    misfits = {
        key: f"{key} is {types[key]}, not {form}"
        for key, form in forms.items()
        if key in types and types[key] not in _FITTING[form]
    }
    present = [key for key in forms if key in types]
    for key, other in zip((key for key in types if key in forms), present, strict=True):
        if key != other:
            misfits[key] = f"{key} stands where the contract has {other}"
            break
    return missing, misfits


async def reservation_problems(connection: Connection) -> dict[str, str]:
    """Return everything in which the payload of reservations breaks the contract, by key.

    Raises:
        PayloadInvalid: It is not defined.
    """
    missing, misfits = contract_problems(await payload_definition(connection, RESERVATION))
    return missing | misfits


async def _check_code(connection: LoadingConnection, definition: PayloadDefinition) -> Check | None:
    """Name what runs when reservations are loaded, and is not PostgreSQL's own."""
    cursor = await connection.execute(_queries["views_read"], {"names": list(definition.reads)})
    views = [view for (view,) in await cursor.fetchall()]
    if not (code := [*definition.functions, *views]):
        return None
    return ok(_NAME, f"{len(definition.columns)} columns; runs code of e-Res as cdc_bridge_loader: {listed(code)}")
