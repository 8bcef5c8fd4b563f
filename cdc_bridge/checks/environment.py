"""Checks of the daemon's environment: its settings files, the endpoints' servers and the clocks."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cdc_bridge.checks.verdict import Check, Connection, Verdict, failed, ok, record, warning
from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS
from cdc_bridge.endpoints.store import endpoint_of_row, list_endpoints
from cdc_bridge.errors import SettingsError
from cdc_bridge.own_files import user_name
from cdc_bridge.settings import ExposedFile, Settings
from cdc_bridge.settings_sources import CREDENTIALS_FOLDER, DEFAULT_CONFIG
from cdc_bridge.transport.reach import Unreached, reach
from cdc_bridge.transport.reasons import remedy_of

_MOST_TRIED = 20
"""Servers of endpoints that are tried, all at once."""
_CERTIFICATE_EXPIRES_SOON = timedelta(days=21)
_CLOCKS_DIFFER_SECONDS = 5.0
_CLOCKS_FAR_APART_SECONDS = 120.0  # receivers of Standard Webhooks reject what is five minutes old


def check_settings_files(settings: Settings) -> Check:
    """Nobody but its owner can read a file of the settings with a secret in it."""
    if settings.exposed:
        files = ", ".join(map(str, settings.exposed))
        return warning("secrets", f"others than the owner can read {files}", exposed_remedy(settings.exposed))
    return ok("secrets", "no file with a secret can be read by others than its owner")


def exposed_remedy(files: Sequence[ExposedFile]) -> str:
    """Return how others' rights to secrets are withdrawn so that whoever has to read them still can."""
    moved = [_moved(file) for file in files if file.path == DEFAULT_CONFIG]
    return " ".join(filter(None, [*moved, _closed([file.path for file in files if file.path != DEFAULT_CONFIG])]))


def _moved(file: ExposedFile) -> str:
    """Return the remedy for the service's settings file: its user is not the owner, and has to read it."""
    it, a_new_one = ("it", "a new one") if len(file.names) == 1 else ("them", "new ones")
    return (
        f"Move {', '.join(file.names)} out of {file.path}, into "
        f"{', '.join(str(CREDENTIALS_FOLDER / name) for name in file.names)}, and make {a_new_one}: who may have read "
        f"{it} knows {it}."
    )


def _closed(paths: Sequence[Path]) -> str:
    if not paths:
        return ""
    commands = [shlex.join(["chmod", "g-r,o-r", *map(str, paths)])]
    if others := [str(path) for path in paths if path.stat().st_uid != os.geteuid()]:
        commands.insert(0, shlex.join(["chown", user_name(), *others]))
    return f"Run: {' && '.join(commands)}. Who may have read them knows the secrets: change them."


async def check_reachability(connection: Connection, settings: Settings) -> list[Check]:
    """Each active endpoint accepts a connection and its certificate stays valid; one check for each.

    Of many endpoints one of each server is tried, and some servers of many.
    """
    endpoints = await _active_endpoints(connection, settings)
    alike: dict[tuple[object, ...], list[Endpoint]] = {}
    for endpoint in endpoints:
        way = _way_of(endpoint) if len(endpoints) > _MOST_TRIED else (endpoint.name,)
        alike.setdefault(way, []).append(endpoint)
    tried = list(alike.values())[:_MOST_TRIED]
    checks = list(await asyncio.gather(*(_check_one(*endpoints) for endpoints in tried)))
    if left_out := len(alike) - len(tried):
        told = f"{left_out:,} other servers of endpoints were not tried"
        checks.append(Check("reach", Verdict.SKIPPED, told, "To try one: cdc-bridge endpoint test NAME"))
    return checks


def _way_of(endpoint: Endpoint) -> tuple[object, ...]:
    """Return what endpoints have in common that are reached alike."""
    url = urlsplit(endpoint.url)
    return url.scheme, url.hostname, url.port, endpoint.proxy, *endpoint.files


async def _active_endpoints(connection: Connection, settings: Settings) -> list[Endpoint]:
    found: list[Endpoint] = []
    rows = await list_endpoints(connection)
    declared: Endpoint | None = None
    cipher = NO_KEYS
    with suppress(SettingsError):  # Checks before have reported it.
        declared = settings.endpoint()
    with suppress(SettingsError):
        cipher = settings.secrets_cipher()
    if declared is not None and not any(row["name"] == declared.name and row["paused_at"] for row in rows):
        found.append(declared)
    for row in rows:
        if row["in_settings"] or row["paused_at"] or row["disabled"]:
            continue
        try:
            found.append(endpoint_of_row(row, cipher, allow_http=settings.allow_http))
        except ValueError:
            continue  # The check of the endpoints reports it.
    return found


async def _check_one(endpoint: Endpoint, *alike: Endpoint) -> Check:
    """Check an endpoint, and with it those that are reached alike."""
    name = f"reach {endpoint.name}"
    try:
        reached = await reach(endpoint)
    except OSError as error:  # of a certificate's file
        return failed(name, f"certificate file cannot be read: {error.strerror or error}", "Check its permissions.")
    except ValueError as error:  # of the environment's proxy
        return failed(name, str(error), f"Correct it, or: cdc-bridge endpoint set {endpoint.name} --proxy ...")
    if isinstance(reached, Unreached):
        reason = reached.reason if reached.route.proxy else f"{reached.reason} ({reached.route})"
        then = f"When that is fixed: cdc-bridge endpoint test {endpoint.name}"
        return failed(name, reason, f"{remedy_of(reason)} {then}".lstrip())
    way = f"{reached.address}, {reached.route}"
    if alike:
        way += f", as {len(alike):,} other endpoint{'' if len(alike) == 1 else 's'}"
    if reached.certificate_ends_at is None:
        return ok(name, f"{way}, without TLS")
    left, day = reached.certificate_ends_at - datetime.now(UTC), f"{reached.certificate_ends_at:%Y-%m-%d}"
    if left < _CERTIFICATE_EXPIRES_SOON:
        return warning(
            name,
            f"{way}; certificate expires on {day}, in {max(left.days, 0)} days",
            "Have its owner renew it: no request succeeds once it has expired.",
        )
    return ok(name, f"{way}; certificate verified, valid until {day}")


async def check_clock(connection: Connection) -> Check:
    """The clocks of this machine and of the database agree."""
    name = "clock"
    before = datetime.now(UTC)
    (there,) = await record(connection, "clock")
    after = datetime.now(UTC)
    seconds = (there - (before + (after - before) / 2)).total_seconds()
    if abs(seconds) < _CLOCKS_DIFFER_SECONDS:
        return ok(name, f"{abs(seconds):.1f} s apart from the database's")
    judge = failed if abs(seconds) >= _CLOCKS_FAR_APART_SECONDS else warning
    return judge(
        name,
        f"the database's is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's; "
        "lag is measured wrong by that, and receivers reject requests whose timestamp is five minutes off",
        "Synchronise both by NTP: timedatectl set-ntp true",
    )
