"""Redefines the payload, as a DBA does with another mapping, and loads reservations as a daemon does."""

from __future__ import annotations

from collections import defaultdict

from cdc_bridge.database import ServerDatabase
from cdc_bridge.errors import PayloadInvalid
from cdc_bridge.payload.shared_loader import SharedReservations
from cdc_bridge.payload.subscription import Subscription
from cdc_bridge.payload.suspects import SuspectReservations
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


def shared_reservations(
    served: ServerDatabase,
    *,
    daemon_id: int | None = None,
    max_body_bytes: int = 1_000_000,
    suspects: SuspectReservations | None = None,
    invalid: list[tuple[Subscription, PayloadInvalid]] | None = None,
) -> SharedReservations:
    """Return the reservations for all endpoints of a daemon.

    Args:
        served: The database.
        daemon_id: The daemon's.
        max_body_bytes: Size of a body that is not sent any more.
        suspects: Those of each payload.
        invalid: Gets what was found invalid.
    """
    found: list[tuple[Subscription, PayloadInvalid]] = [] if invalid is None else invalid
    return SharedReservations(
        served,
        daemon_id=daemon_id,
        max_body_bytes=max_body_bytes,
        suspects=defaultdict(SuspectReservations if suspects is None else lambda: suspects),
        found_invalid=lambda subscription, error: found.append((subscription, error)),
    )
