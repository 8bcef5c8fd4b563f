"""Makes a test call to an endpoint, as the daemon would make a call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from cdc_bridge.endpoints.details import find_endpoint, removed_meanwhile
from cdc_bridge.endpoints.store import definition_of
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import Endpoint
from cdc_bridge.queries import load_queries
from cdc_bridge.schema.session import command_session
from cdc_bridge.settings import NAME_IN_SETTINGS, PREFIX, Settings
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.outcome import Delivered, Failed
from cdc_bridge.vendor.test_message import compose_sample, compose_test_request, meaning_of

_queries = load_queries(__name__)


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of a test call."""

    name: str
    url: str
    """Without its query."""
    accepted: bool
    status: int | None
    milliseconds: int
    reason: str | None
    """Why it was refused, if it was."""
    meaning: str


async def send_test_request(settings: Settings, name: str, *, sample: bool = False) -> TestResult:
    """Make one test call. Nothing of it is recorded, and it has no consequence for deliveries.

    Args:
        settings: of this command.
        name: the endpoint's.
        sample: post the contract's example, which an endpoint that looks at the body alone takes for a booking.

    Raises:
        BridgeError: there is no such endpoint, it cannot be called from here, or the database cannot be used.
    """
    async with command_session(settings.database_url.get_secret_value()) as connection:
        endpoint = await _endpoint(connection, settings, name)
        source = settings.source or f"/cdc-bridge/{connection.info.dbname}"
    try:
        sender = HttpTransport(endpoint, may_send=lambda: True)
    except OSError as error:
        raise _cannot_be_called(name, str(error)) from error
    try:
        compose = compose_sample if sample else compose_test_request
        attempt = await sender.send(compose(datetime.now(UTC), source))
    finally:
        await sender.close()
    if attempt is None:  # Only a lease withholds a call, and there is none.
        raise BridgeError("the test call was not made")
    outcome = attempt.outcome
    return TestResult(
        name=name,
        url=endpoint.shown_url,
        accepted=isinstance(outcome, Delivered),
        status=outcome.status,
        milliseconds=round(attempt.duration_seconds * 1000),
        reason=outcome.reason if isinstance(outcome, Failed) else None,
        meaning=meaning_of(outcome, sample=sample),
    )


async def _endpoint(connection: AsyncConnection[TupleRow], settings: Settings, name: str) -> Endpoint:
    if name == NAME_IN_SETTINGS and (declared := settings.endpoint()) is not None:
        return declared
    facts = await find_endpoint(connection, name)
    if facts.in_settings:
        raise BridgeError(
            f"endpoint {name} is declared in a daemon's settings, and those of this command declare none",
            f"Run it with that daemon's: --config FILE, or {PREFIX}ENDPOINT_URL, {PREFIX}ENDPOINT_HEADER and so on.",
        )
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_queries["endpoint_row"], {"endpoint_id": facts.endpoint_id})
        row = await cursor.fetchone()
    if row is None:
        raise removed_meanwhile(name)
    try:
        return definition_of(row, allow_http=settings.allow_http)
    except ValueError as error:
        raise _cannot_be_called(name, str(error)) from None


def _cannot_be_called(name: str, problem: str) -> BridgeError:
    return BridgeError(
        f"endpoint {name} cannot be called from here: {problem}",
        "Files are those of the machine where this runs. On the daemon's machine, run it as the daemon's user.",
    )
