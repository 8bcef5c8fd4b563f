"""What ``status`` shows: capture, endpoints, and the transaction that holds anything back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.capture.older_writers import Writer, oldest_writer
from cdc_bridge.checks.capture import check_capture
from cdc_bridge.checks.encryption import check_encryption
from cdc_bridge.checks.environment import check_settings_files
from cdc_bridge.checks.verdict import Check, Verdict, records
from cdc_bridge.endpoints.overview import EndpointOverview, endpoint_overviews
from cdc_bridge.endpoints.survey import EndpointSurvey, survey
from cdc_bridge.errors import SettingsError
from cdc_bridge.settings import Settings

_FEW = 50
"""Up to so many endpoints are shown one by one."""


@dataclass(frozen=True, slots=True)
class LiveDaemon:
    """A daemon that delivers to endpoints."""

    name: str
    listening: bool
    """Whether it gets notifications; if not, it polls."""
    endpoints: int


@dataclass(frozen=True, slots=True)
class FailingAlert:
    """An alert that could not be sent."""

    problem: str
    daemon: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """State of the whole bridge."""

    at: datetime
    database: str
    capture: Check
    secrets: Sequence[Check]
    """What is wrong with the secrets in settings files, and with those in the database."""
    daemons: Sequence[LiveDaemon]
    survey: EndpointSurvey
    endpoints: Sequence[EndpointOverview]
    """All by name; of many those in trouble, the worst first."""
    alert: FailingAlert | None
    """An alert that could not be sent; ``None``: nothing failed."""
    writer: Writer | None
    """The oldest open transaction that has written; its changes arrive when it commits."""

    @property
    def left_out(self) -> int:
        """How many of the endpoints in trouble are not shown."""
        shows_all = len(self.endpoints) >= self.survey.number
        return 0 if shows_all else max(0, self.survey.number_in_trouble - len(self.endpoints))


async def read_status(connection: AsyncConnection[TupleRow], settings: Settings, *, all_endpoints: bool) -> Status:
    """Read the state of the whole bridge.

    Args:
        connection: To the database. A reader's rights suffice.
        settings: Those of this command.
        all_endpoints: Whether to read all endpoints, however many there are.
    """
    writer = await oldest_writer(connection)  # First, so that none of the statements below counts.
    surveyed = await survey(connection, settings.max_lag_seconds)
    secrets = [check_settings_files(settings)]
    with suppress(SettingsError):  # Who looks at the status need not be able to read the keys.
        if settings.secrets_cipher().newest is not None:
            secrets.append(await check_encryption(connection, settings))
    return Status(
        at=datetime.now(UTC),
        database=connection.info.dbname,
        capture=await check_capture(connection),
        secrets=[check for check in secrets if check.verdict is not Verdict.OK],
        daemons=[LiveDaemon(*row) for row in await records(connection, "live_daemons")],
        survey=surveyed,
        endpoints=await endpoint_overviews(connection)
        if all_endpoints or surveyed.number <= _FEW
        else surveyed.in_trouble,
        alert=next((FailingAlert(*row) for row in await records(connection, "failing_alert")), None),
        writer=writer,
    )
