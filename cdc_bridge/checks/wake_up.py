"""Check of the wake-up by NOTIFY."""

from __future__ import annotations

import asyncio
import secrets

import psycopg

from cdc_bridge.checks.verdict import Check, Connection, Verdict, ok, warning
from cdc_bridge.database import connect, problem_of
from cdc_bridge.queries import load_queries
from cdc_bridge.settings import Settings

_queries = load_queries("cdc_bridge.capture.listener")

_RECEIVED_WITHIN_SECONDS = 2.0


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
        if await _receives_notification(connection, settings.database_url.get_secret_value()):
            return ok(name, "notifications arrive")
    except psycopg.Error as error:
        return warning(name, f"LISTEN does not work: {problem_of(error)}", remedy)
    return warning(name, "notifications do not arrive", remedy)


async def _receives_notification(connection: Connection, database_url: str) -> bool:
    words = secrets.token_hex(8)
    await connection.execute(_queries["listen"])
    async with await connect(database_url) as other:
        await other.execute(_queries["ring"], {"words": words})
    try:
        async with asyncio.timeout(_RECEIVED_WITHIN_SECONDS):
            async for notification in connection.notifies(timeout=_RECEIVED_WITHIN_SECONDS):
                if notification.payload == words:
                    return True
    except TimeoutError:
        pass
    return False
