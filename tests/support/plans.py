"""The plans of statements that the product sends, as PostgreSQL itself tells them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from cdc_bridge.queries import all_queries


async def explained(connection: AsyncConnection[TupleRow], *, as_daemon: bool = False) -> list[str]:
    """Return a list that grows by the plan of each statement run on a superuser's connection from now on.

    Args:
        connection: the connection.
        as_daemon: plan as the sessions do in which deliveries are made.
    """
    if as_daemon:
        await connection.execute(all_queries()["plan_once"])
    plans: list[str] = []
    connection.add_notice_handler(lambda diagnostic: plans.append(diagnostic.message_primary or ""))
    try:
        await connection.execute("load 'auto_explain'")
    except errors.UndefinedFile:
        pytest.skip("these programs come without auto_explain")
    await connection.execute("set auto_explain.log_min_duration = 0; set client_min_messages = log")
    plans.clear()
    return plans


async def plans_of(
    connection: AsyncConnection[TupleRow], statement: str, parameters: dict[str, Any], *, as_daemon: bool
) -> list[str]:
    """Run a statement, roll it back, and return the plans of everything that it ran."""
    plans = await explained(connection, as_daemon=as_daemon)
    await connection.execute("set auto_explain.log_analyze = on; set auto_explain.log_nested_statements = on")
    await connection.set_autocommit(False)
    plans.clear()
    await connection.execute(statement.encode(), parameters or None)
    await connection.execute("set local application_name = 'ends the statement before'")  # only then is its plan logged
    found = list(plans)
    await connection.rollback()
    return found


def most_rows_seen(plan: str) -> int:
    """Return how many rows the busiest step of a plan has seen, told with ``auto_explain.log_analyze``."""
    seen = [round(float(rows) * int(loops)) for rows, loops in re.findall(r"actual .*?rows=([\d.]+) loops=(\d+)", plan)]
    removed = [int(rows) for rows in re.findall(r"Rows Removed by [\w ]+: (\d+)", plan)]
    assert seen, plan
    return max(seen + removed)
