"""Runs a statement that may execute code of others: what the owner of e-Res's tables put behind their names.

The functions that read reservations run as ``cdc_bridge_loader``, which has no right on secrets. That alone is not
enough. Code that runs as that role in a session of ours could leave something behind for the role that the session has
logged in as: a search path that finds its functions first, a cursor or a deferred trigger that runs at the commit, a
changed function of the loader's, a prepared statement under the name of one of ours. So:

* The transaction is read-only and is always rolled back, with every setting and cursor made in it. What a rollback
  leaves, advisory locks and prepared statements, is released after it.
* The session runs nothing else, and prepares nothing by name (:data:`~cdc_bridge.database.LoadingConnection`).
* The statement names every function, type and operator with its schema.

It is sent in one message and takes one round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import AsyncClientCursor, errors
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from cdc_bridge.database import is_unavailable
from cdc_bridge.payload.formats import register_formats
from cdc_bridge.sessions import LoadingConnection

_END = b"rollback; deallocate all; select pg_catalog.pg_advisory_unlock_all()"

_with_formats: WeakSet[LoadingConnection] = WeakSet()


async def run_isolated(
    connection: LoadingConnection, statement: bytes, parameters: Mapping[str, Any], snapshot: str | None = None
) -> AsyncClientCursor[TupleRow]:
    """Run a statement in a transaction of its own; return the cursor at its result.

    Args:
        connection: Runs nothing else.
        statement: One statement with psycopg's named parameters.
        parameters: Their values.
        snapshot: A snapshot that another transaction exported, to read in; ``None``: a new one.
    """
    if snapshot is None:
        parts = [b"begin isolation level read committed, read only"]
    else:
        parts = [b"begin isolation level repeatable read, read only", b"set transaction snapshot %(snapshot)s"]
        parameters = {**parameters, "snapshot": snapshot}
    parts += [statement, _END]
    if connection not in _with_formats:
        register_formats(connection)
        _with_formats.add(connection)
    cursor = AsyncClientCursor(connection)
    try:
        await cursor.execute(b"; ".join(parts), parameters)
    finally:
        if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.execute(_END)
    for _ in parts[:-2]:
        cursor.nextset()
    return cursor


def may_pass(error: psycopg.Error, connection: LoadingConnection) -> bool:
    """Return whether trying the same again may help; otherwise the statement or one of its rows is at fault."""
    # The transaction is read-only on purpose, and the time is limited: a row that needs more is at fault itself.
    at_fault = isinstance(error, errors.ReadOnlySqlTransaction | errors.QueryCanceled)
    return connection.closed or (not at_fault and is_unavailable(error, connection))
