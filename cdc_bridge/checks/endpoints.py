"""Checks of the endpoints' definitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cdc_bridge.checks.verdict import Check, Connection, Verdict, failed, failed_by, listed, ok, record, warning
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE, EndpointStatus
from cdc_bridge.endpoints.store import endpoint_of_row, list_endpoints
from cdc_bridge.endpoints.survey import EndpointSurvey, survey
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import Settings
from cdc_bridge.settings_sources import secrets_are_elsewhere

_NAME = "endpoints"
_MOST_NAMED = 5

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
        return failed_by(name, error)
    if endpoint is None:
        return ok(name, "declare no endpoint")
    if endpoint.secret is None and secrets_are_elsewhere():
        told = f"endpoint {endpoint.name}, {endpoint.shown_url}; its secrets are the service's, and not known here"
        return Check(name, Verdict.SKIPPED, told, "As root: cdc-bridge systemd exec check")
    if endpoint.secret is None:
        return warning(
            name,
            f"endpoint {endpoint.name}, {endpoint.shown_url}; requests are not signed",
            'Set CDC_BRIDGE_ENDPOINT_SECRET, to what this prints: echo "whsec_$(openssl rand -base64 32)"',
        )
    told = f"endpoint {endpoint.name}, {endpoint.shown_url}"
    if endpoint.previous_secret is not None:
        told += "; a rotation is in progress: requests are signed with the previous secret as well"
    return ok(name, told)


async def check_endpoints(connection: Connection, settings: Settings, earlier: Collection[Check] = ()) -> Check:
    """There is an endpoint, and the definition of each one can be used.

    Args:
        connection: To the database.
        settings: Those of this command.
        earlier: What other checks have found: what makes an endpoint invalid may have its remedy there.
    """
    found = await survey(connection, settings.max_lag_seconds)
    (no_capture,) = await record(connection, "problem_of_capture")
    causes = {check.detail: check.name for check in earlier if check.verdict is Verdict.FAILED}
    if no_capture is not None:
        causes[no_capture] = "capture"
    for endpoint in found.in_trouble:
        if stopped := _stopped_or_invalid(endpoint, found, causes):
            return stopped
    rows = await list_endpoints(connection)
    if unusable := await _unusable_here(connection, rows, settings):
        return unusable
    if len(rows) > _MOST_NAMED:
        return ok(_NAME, f"{found.number:,}: {found.counted}")
    if rows:
        stopped_too = [row["name"] + (" (paused)" if row["paused_at"] or row["disabled"] else "") for row in rows]
        return ok(_NAME, listed(sorted(stopped_too)))
    if settings.declares_endpoint:
        return ok(_NAME, "the settings declare one that no daemon has added yet")
    return failed(_NAME, NO_ENDPOINT, NO_ENDPOINT_REMEDY)


def _stopped_or_invalid(endpoint: EndpointOverview, found: EndpointSurvey, causes: Mapping[str, str]) -> Check | None:
    """Return a failed check if the endpoint gets nothing though no operator paused it."""
    name, told = endpoint.name, f"{endpoint.name} is {endpoint.status}: {endpoint.reason}"
    if (more := found.by_status.get(endpoint.status, 0) - 1) > 0:
        told += f"; {more:,} more are {endpoint.status}: cdc-bridge endpoint list --status {endpoint.status}"
    if endpoint.status is EndpointStatus.DISABLED:
        return failed(_NAME, told, how_to_resume(name))
    if endpoint.status is EndpointStatus.INVALID:
        if endpoint.reason == RESTORED_ELSEWHERE:
            return failed(_NAME, told, "As a DBA: select cdc_bridge.adopt();")
        cause = next((check for detail, check in causes.items() if endpoint.reason and endpoint.reason in detail), None)
        return failed(_NAME, told, _how_to_change(name) if cause is None else f"See {cause} above.")
    return None


async def _unusable_here(connection: Connection, rows: Sequence[dict[str, Any]], settings: Settings) -> Check | None:
    """Return a check of the definitions that this machine cannot use; it failed if no daemon uses one either."""
    try:
        cipher = settings.secrets_cipher()
    except SettingsError:  # The check of the encryption reports it.
        cipher = SecretsCipher(without_keys="the keys in secrets_key_file cannot be used here")
    problems = {row["name"]: problem for row in rows if (problem := _problem_here(row, settings, cipher)) is not None}
    for name, problem in list(problems.items())[:_MOST_NAMED]:
        for endpoint in await endpoint_overviews(connection, name):
            if endpoint.status is EndpointStatus.UNASSIGNED:
                return failed(_NAME, f"{name} cannot be used: {problem}", _how_to_change(name))
    if not problems:
        return None
    told = [f"{name} cannot be checked here: {problem}" for name, problem in problems.items()]
    return warning(_NAME, listed(told), "Run check on the daemon's machine.")


def _problem_here(row: dict[str, Any], settings: Settings, cipher: SecretsCipher) -> str | None:
    """Return why this machine cannot use a definition of the database; its files may be on the daemon's only."""
    if row["in_settings"]:
        return None
    try:
        endpoint_of_row(row, cipher, allow_http=settings.allow_http)
    except ValueError as error:
        return str(error)
    return None


def _how_to_change(name: str) -> str:
    return f"cdc-bridge endpoint set {name} ..."
