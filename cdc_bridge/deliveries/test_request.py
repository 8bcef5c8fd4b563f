"""Sends a test request to an endpoint, as the daemon sends its requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.audit.actor import Actor
from cdc_bridge.audit.log import Action, record
from cdc_bridge.endpoints.lookup import just_removed, resolve_endpoint
from cdc_bridge.endpoints.options import NAME_IN_SETTINGS, OPTIONS, Endpoint
from cdc_bridge.endpoints.overview import endpoint_overviews
from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.store import endpoint_of_row, list_endpoints
from cdc_bridge.errors import BridgeError
from cdc_bridge.schema.session import command_session
from cdc_bridge.settings import Settings
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Delivered, Failed
from cdc_bridge.transport.reasons import remedy_of
from cdc_bridge.vendor.test_message import compose_sample, compose_test_request, meaning_of, told_flaw


@dataclass(frozen=True, slots=True)
class TestResult:
    """The response to a test request."""

    name: str
    url: str
    """Without its query."""
    route: str
    """How the request went: directly, or through which proxy, and which environment variable said so."""
    delivered: bool
    status: int | None
    milliseconds: int
    reason: str | None
    """Why it failed, if it did."""
    flaw: str | None
    """What is wrong with the form of the response; ``None``: nothing."""
    meaning: str


async def send_test_request(settings: Settings, name: str, *, by: Actor, sample: bool = False) -> TestResult:
    """Send one test request. It is not in the delivery log, and has no consequence for deliveries.

    Args:
        settings: Those of this command.
        name: The endpoint's.
        by: Who sends it.
        sample: Post the contract's example, which an endpoint that looks at the body alone takes for a booking.

    Raises:
        BridgeError: There is no such endpoint, it cannot be used from here, or the database cannot be used.
    """
    async with command_session(settings.database_url.get_secret_value()) as connection:
        endpoint = await _endpoint(connection, settings, name)
        source = settings.source or f"/cdc-bridge/{connection.info.dbname}"
        accepts = await _accepts_deliveries(connection, name)
        await record(connection, by, Action.ENDPOINT_TESTED, name, sample=sample or None)
    try:
        transport = HttpTransport(endpoint, may_send=lambda: True)
    except (OSError, ValueError) as error:
        raise _unusable_here(name, str(error)) from error
    try:
        compose = compose_sample if sample else compose_test_request
        attempt = await transport.send(compose(datetime.now(UTC), source))
    finally:
        await transport.close()
    if attempt is None:  # Only a lease withholds a request, and there is none.
        raise BridgeError("the test request was not sent")
    outcome = attempt.outcome
    reason = outcome.reason if isinstance(outcome, Failed) else None
    meaning = meaning_of(outcome, sample=sample, accepts=accepts) + told_flaw(attempt.flaw)
    return TestResult(
        name=name,
        url=endpoint.shown_url,
        route=str(transport.route),
        delivered=isinstance(outcome, Delivered),
        status=outcome.status,
        milliseconds=round(attempt.duration_seconds * 1000),
        reason=reason,
        flaw=attempt.flaw,
        meaning=f"{meaning} {remedy_of(reason or '')}".rstrip(),
    )


async def _endpoint(connection: AsyncConnection[TupleRow], settings: Settings, name: str) -> Endpoint:
    if name == NAME_IN_SETTINGS and (declared := settings.endpoint()) is not None:
        return declared
    endpoint = await resolve_endpoint(connection, name)
    if endpoint.in_settings:
        raise BridgeError(
            f"endpoint {name} is declared in a daemon's settings, and those of this command declare none",
            f"Run it with that daemon's: --config FILE, or {OPTIONS['url'].variable}, {OPTIONS['headers'].variable} "
            "and so on.",
        )
    rows = await list_endpoints(connection, endpoint.endpoint_id)
    if not rows:
        raise just_removed(endpoint)
    try:
        return endpoint_of_row(rows[0], settings.secrets_cipher(), allow_http=settings.allow_http)
    except ValueError as error:
        raise _unusable_here(name, str(error)) from None


async def _accepts_deliveries(connection: AsyncConnection[TupleRow], name: str) -> bool | None:
    """Return whether the endpoint accepts deliveries at present; ``None``: none succeeded yet."""
    for endpoint in await endpoint_overviews(connection, name):
        if endpoint.status is EndpointStatus.FAILING:
            return False
        if endpoint.last_success_at is not None:
            return True
    return None


def _unusable_here(name: str, problem: str) -> BridgeError:
    return BridgeError(
        f"endpoint {name} cannot be used from here: {problem}",
        "Files and environment are those of the machine where this runs. On the daemon's machine, run it as the "
        "daemon's user.",
    )
