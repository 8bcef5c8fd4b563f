"""Checks of what the daemon has around it: the endpoints' servers, and the clocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from cdc_bridge.checks.verdict import Check, Connection, failed, ok, record, warning
from cdc_bridge.endpoints.options import Endpoint, endpoint_from
from cdc_bridge.endpoints.store import list_endpoints
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import Settings
from cdc_bridge.transport.reach import Unreached, reach

_CERTIFICATE_ENDS_SOON = timedelta(days=21)
_CLOCKS_DIFFER_SECONDS = 5.0
_CLOCKS_FAR_APART_SECONDS = 120.0  # receivers of Standard Webhooks refuse what is five minutes old


async def check_reachability(connection: Connection, settings: Settings) -> list[Check]:
    """Each active endpoint can be connected to, and its certificate lasts; a check for each of them."""
    endpoints = await _callable_endpoints(connection, settings)
    return list(await asyncio.gather(*(_check_one(endpoint) for endpoint in endpoints)))


async def _callable_endpoints(connection: Connection, settings: Settings) -> list[Endpoint]:
    found: list[Endpoint] = []
    rows = await list_endpoints(connection)
    try:
        declared = settings.endpoint()
    except SettingsError:
        declared = None
    if declared is not None and not any(row["name"] == declared.name and row["paused_at"] for row in rows):
        found.append(declared)
    for row in rows:
        if row["in_settings"] or row["paused_at"] or row["disabled"]:
            continue
        try:
            found.append(endpoint_from(row["name"], row, allow_http=settings.allow_http))
        except ValueError:
            continue  # That is told by the check of the endpoints.
    return found


async def _check_one(endpoint: Endpoint) -> Check:
    name = f"reach {endpoint.name}"
    try:
        reached = await reach(endpoint)
    except OSError as error:  # of a certificate's file
        return failed(name, f"a certificate's file cannot be read: {error.strerror or error}", "See its rights.")
    if isinstance(reached, Unreached):
        return failed(name, reached.reason, f"When that is mended: cdc-bridge endpoint test {endpoint.name}")
    if reached.certificate_ends_at is None:
        return ok(name, f"{reached.address}, without TLS")
    left, day = reached.certificate_ends_at - datetime.now(UTC), f"{reached.certificate_ends_at:%Y-%m-%d}"
    if left < _CERTIFICATE_ENDS_SOON:
        return warning(
            name,
            f"{reached.address}; its certificate ends on {day}, in {max(left.days, 0)} days",
            "Have its owner renew it: when it has ended, nothing is called any more.",
        )
    return ok(name, f"{reached.address}; its certificate is verified and lasts until {day}")


async def check_clock(connection: Connection) -> Check:
    """This machine's clock and the database's agree."""
    name = "clock"
    before = datetime.now(UTC)
    (there,) = await record(connection, "clock")
    after = datetime.now(UTC)
    seconds = (there - (before + (after - before) / 2)).total_seconds()
    if abs(seconds) < _CLOCKS_DIFFER_SECONDS:
        return ok(name, f"the database's differs by {abs(seconds):.1f} s")
    judge = failed if abs(seconds) >= _CLOCKS_FAR_APART_SECONDS else warning
    return judge(
        name,
        f"the database's is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's; "
        "lag is told wrong by that, and receivers refuse calls whose time is five minutes off",
        "Have both set by NTP: timedatectl set-ntp true",
    )
