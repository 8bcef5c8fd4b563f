"""Check of the wake-up by NOTIFY."""

from __future__ import annotations

import psycopg

from cdc_bridge.capture.wake_up import QUEUE_REMEDY, connections_notify, queue_fills_up
from cdc_bridge.checks.verdict import Check, Connection, Verdict, ok, warning
from cdc_bridge.database import problem_of
from cdc_bridge.sessions import connect
from cdc_bridge.settings import Settings

_ARRIVES_WITHIN_SECONDS = 2.0


async def check_wake_up(connection: Connection, settings: Settings) -> Check:
    """A notification arrives over a connection made by the settings."""
    name = "wake-up"
    if settings.wake == "poll":
        return Check(
            name,
            Verdict.SKIPPED,
            f"off (wake = poll); the change log is read every {settings.poll_interval_seconds:g} s",
        )
    remedy = (
        "Connect to PostgreSQL directly or through a pooler in session mode; or set CDC_BRIDGE_WAKE=poll. "
        f"Until then the change log is read every {settings.poll_interval_seconds:g} s."
    )
    try:
        async with await connect(settings.database_url.get_secret_value()) as other:
            if (usage := await queue_fills_up(other)) is not None:
                return warning(name, f"PostgreSQL's queue of notifications is {usage:.0%} full", QUEUE_REMEDY)
            if await connections_notify(connection, other, _ARRIVES_WITHIN_SECONDS):
                return ok(name, "NOTIFY arrives")
    except psycopg.Error as error:
        return warning(name, f"LISTEN does not work: {problem_of(error)}", remedy)
    return warning(name, "NOTIFY does not arrive", remedy)
