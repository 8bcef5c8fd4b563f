"""Check of the doorbell."""

from __future__ import annotations

import asyncio
import secrets

import psycopg

from cdc_bridge.checks.verdict import Check, Connection, Verdict, ok, warning
from cdc_bridge.database import connect, problem_of
from cdc_bridge.queries import load_queries
from cdc_bridge.settings import Settings

_queries = load_queries("cdc_bridge.capture.listener")

_HEARD_WITHIN_SECONDS = 2.0


async def check_wake_up(connection: Connection, settings: Settings) -> Check:
    """A NOTIFY arrives through this way of connecting."""
    name = "doorbell"
    if settings.wake == "poll":
        return Check(
            name, Verdict.SKIPPED, f"not used (wake = poll); the log is read every {settings.poll_interval_seconds:g} s"
        )
    remedy = (
        "Connect to PostgreSQL directly or through a pooler in session mode; or set CDC_BRIDGE_WAKE=poll. "
        f"As it is, the log is read every {settings.poll_interval_seconds:g} s."
    )
    try:
        if await _hears_a_ring(connection, settings.database_url.get_secret_value()):
            return ok(name, "NOTIFY arrives")
    except psycopg.Error as error:
        return warning(name, f"LISTEN does not work: {problem_of(error)}", remedy)
    return warning(name, "NOTIFY does not arrive", remedy)


async def _hears_a_ring(connection: Connection, database_url: str) -> bool:
    words = secrets.token_hex(8)
    await connection.execute(_queries["listen"])
    async with await connect(database_url) as other:
        await other.execute(_queries["ring"], {"words": words})
    try:
        async with asyncio.timeout(_HEARD_WITHIN_SECONDS):
            async for ring in connection.notifies(timeout=_HEARD_WITHIN_SECONDS):
                if ring.payload == words:
                    return True
    except TimeoutError:
        pass
    return False
