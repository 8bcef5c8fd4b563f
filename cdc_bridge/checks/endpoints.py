"""Checks of the endpoints' definitions."""

from __future__ import annotations

from cdc_bridge.checks.verdict import Check, Connection, failed, listed, ok, warning
from cdc_bridge.endpoints.options import endpoint_from
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.endpoints.store import list_endpoints
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import Settings

NO_ENDPOINT = "there is no endpoint, so nothing is delivered"
NO_ENDPOINT_REMEDY = "Set CDC_BRIDGE_ENDPOINT_URL, or: cdc-bridge endpoint add till https://till.example/reservations"


def how_to_resume(name: str) -> str:
    """Return the remedy for a disabled endpoint."""
    return f"When its owner wants deliveries again: cdc-bridge endpoint resume {name}"


def check_declared_endpoint(settings: Settings) -> Check:
    """The settings declare no endpoint, or one that can be used."""
    name = "settings"
    try:
        endpoint = settings.endpoint()
    except SettingsError as error:
        return failed(name, error.problem, error.remedy)
    if endpoint is None:
        return ok(name, "declare no endpoint")
    if endpoint.secret is None:
        return warning(
            name,
            f"endpoint {endpoint.name}, {endpoint.shown_url}; requests are not signed",
            "Set CDC_BRIDGE_ENDPOINT_SECRET=whsec_...: "
            "python3 -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"",
        )
    return ok(name, f"endpoint {endpoint.name}, {endpoint.shown_url}")


async def check_endpoints(connection: Connection, settings: Settings) -> Check:
    """There is an endpoint, and the definition of each one can be used."""
    name = "endpoints"
    rows = await list_endpoints(connection)
    for row in rows:
        if not row["same_cluster"]:
            return failed(
                name, f"{row['name']} is invalid: {RESTORED_ELSEWHERE}", "As a DBA: select cdc_bridge.adopt();"
            )
        if row["disabled"]:
            return failed(name, f"{row['name']} is disabled: it responded with 410", how_to_resume(row["name"]))
        if not row["in_settings"]:
            try:
                endpoint_from(row["name"], row, allow_http=settings.allow_http)
            except ValueError as error:
                return failed(name, f"{row['name']} is invalid: {error}", f"cdc-bridge endpoint set {row['name']} ...")
    names = [row["name"] + ("" if row["paused_at"] is None else " (paused)") for row in rows]
    if names:
        return ok(name, listed(names))
    if settings.declares_endpoint:
        return ok(name, "the settings declare one that no daemon has added yet")
    return failed(name, NO_ENDPOINT, NO_ENDPOINT_REMEDY)
