"""The plans of statements that the product sends, as PostgreSQL itself tells them."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg.rows import TupleRow


async def explained(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Return a list that grows by the plan of each statement run on a superuser's connection from now on."""
    plans: list[str] = []
    connection.add_notice_handler(lambda diagnostic: plans.append(diagnostic.message_primary or ""))
    await connection.execute(
        "load 'auto_explain'; set auto_explain.log_min_duration = 0; set client_min_messages = log"
    )
    plans.clear()
    return plans
