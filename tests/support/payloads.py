"""Redefines the payload, as a DBA does with another mapping."""

from __future__ import annotations

from cdc_bridge.vendor.contract import column_names
from tests.support.databases import Database

PAYLOAD = "reservation"


def query_of(database: Database, payload: str = PAYLOAD) -> str:
    """Return a payload's SELECT."""
    text: str = database.value("select query from cdc_bridge.payload_definition where name = %s", (payload,))
    return text


def define_payload(database: Database, query: str, payload: str = PAYLOAD) -> None:
    """Define a payload."""
    database.execute("select cdc_bridge.define_payload(%s, %s)", (payload, query))


def replace_in_payload(database: Database, old: str, new: str) -> None:
    """Replace a part of the payload's SELECT."""
    query = query_of(database)
    assert old in query
    define_payload(database, query.replace(old, new))


def map_table(database: Database, table: str) -> None:
    """Make the payload of a table that has nothing but a key."""
    columns = ", ".join('b.id as "id"' if name == "id" else f'null::text as "{name}"' for name in column_names())
    database.execute(f"grant select on {table} to cdc_bridge_loader")
    define_payload(database, f"select {columns} from {table} b")
