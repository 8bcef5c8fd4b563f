"""Check of the payloads that endpoints get."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from cdc_bridge.checks.verdict import Check, Verdict, failed, listed, ok, warning
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.mapping_check.contract_problems import contract_problems
from cdc_bridge.payload.conditions import unfitting
from cdc_bridge.payload.definition import INSTALL_MAPPING, RESERVATION, PayloadDefinition, payload_definition
from cdc_bridge.payload.keys import ReservationKeys
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.queries import load_queries
from cdc_bridge.sessions import LoadingConnection
from cdc_bridge.vendor.contract import column_forms

_queries = load_queries(__name__)

_NAME = "mapping"
_ROWS_LOOKED_AT = 5000


async def check_mapping(connection: LoadingConnection, in_use: Collection[Subscription]) -> Check:
    """The payloads in use can be loaded, with one row for each reservation, and keep the contract."""
    payloads = {subscription.payload for subscription in in_use}
    invalid: list[PayloadInvalid] = []
    # Ten thousand endpoints may have conditions of their own: no reservation is read for each.
    for payload in sorted(payloads):
        try:
            await ReservationLoader(Subscription(payload)).require_valid(connection)
            await _require_single_rows(connection, payload)
        except PayloadInvalid as error:
            invalid.append(error)
    invalid += (await unfitting(connection, in_use)).values()
    definitions: dict[str, PayloadDefinition] = {}
    for payload in sorted(payloads):
        with suppress(PayloadInvalid):  # Then it is among the invalid ones.
            definitions[payload] = await payload_definition(connection, payload)
    found = judge_contract(definitions, invalid)
    told_code = await _told_code(connection, definitions.values()) if found.verdict is Verdict.OK else ""
    return replace(found, detail=found.detail + told_code)


async def _require_single_rows(connection: LoadingConnection, payload: str) -> None:
    """Make sure that no reservation has several rows, among the first ones.

    Raises:
        PayloadInvalid: One has.
    """
    page = await ReservationKeys(None, Subscription(payload)).next_page(connection, _ROWS_LOOKED_AT)
    for key, following in pairwise(page):
        if key == following:
            raise PayloadInvalid(
                f'the payload "{payload}" has several rows for reservation {key}; a join has more than one match',
                f"Correct the mapping and run as a DBA: {INSTALL_MAPPING}",
            )


def judge_contract(definitions: Mapping[str, PayloadDefinition], invalid: Iterable[PayloadInvalid] = ()) -> Check:
    """The payload that the contract describes has every column of it, in types that are written in its forms.

    Args:
        definitions: Those in use, by their names. The contract is about one of them only.
        invalid: Why others, or conditions on them, cannot be used.
    """
    if problems := {error.problem: error.remedy for error in invalid}:
        return failed(_NAME, listed(list(problems)), next(iter(problems.values())))
    others = sorted(set(definitions) - {RESERVATION})
    definition = definitions.get(RESERVATION)
    if definition is None:
        return ok(_NAME, f"payloads in use: {listed(others)}")
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
    extra = len(sent := [column for column in definition.columns if not column.startswith("@")]) - len(column_forms())
    told = f"{len(sent)} columns" + (f", {extra} beyond the contract" if extra else "")
    if others:
        told += f"; payloads in use beside it: {listed(others)}"
    return ok(_NAME, told)


async def _told_code(connection: LoadingConnection, definitions: Iterable[PayloadDefinition]) -> str:
    """Say what runs when reservations are loaded, and is not PostgreSQL's own."""
    code: dict[str, None] = {}
    for definition in definitions:
        cursor = await connection.execute(_queries["views_read"], {"names": list(definition.reads)})
        code |= dict.fromkeys([*definition.functions, *(view for (view,) in await cursor.fetchall())])
    return f"; runs code of e-Res as cdc_bridge_loader: {listed(list(code))}" if code else ""
