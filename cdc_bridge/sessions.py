"""Sessions of PostgreSQL: every one of them, of the daemon, the commands and the dashboard, is opened here.

Whatever a session depends on is set here. What the role, the database, the environment or libpq's service file say of
it must not matter: they are set for others, and change without notice.

A session also knows which :class:`ServerIncarnation` it leads to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NewType

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from cdc_bridge.queries import load_queries
from cdc_bridge.text_arrays import TextListDumper

_queries = load_queries(__name__)

_DEFAULTS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "cdc-bridge",
}
_FIXED = {"client_encoding": "UTF8"}

_HAS_TRANSACTION_TIMEOUT = 170000


@dataclass(frozen=True, slots=True)
class ServerIncarnation:
    """One run of one PostgreSQL server: what is known in memory is true of no other one.

    After a restart, a crash, a fail-over or a restore the server may have lost what a daemon has read or written.
    """

    system_identifier: int
    """Of the cluster; a standby has its primary's."""
    timeline: str
    """Grows with each promotion and each point-in-time recovery; empty while the server is a standby."""
    started_at: datetime
    recovered_at: datetime
    """When its statistics began, as they do after a crash of one session, which ends all others."""
    database_oid: int
    endpoint_table: int
    """OID of ``cdc_bridge.endpoint``, 0 where it is not installed: a restored dump has another."""

    def __str__(self) -> str:
        times = "-".join(f"{at.astimezone(UTC):%Y%m%dT%H%M%S.%f}" for at in (self.started_at, self.recovered_at))
        return f"{self.system_identifier}-{self.timeline}-{times}-{self.database_oid}-{self.endpoint_table}"

    def difference(self, earlier: ServerIncarnation) -> str:
        """Return what tells it from an earlier one."""
        if self.system_identifier != earlier.system_identifier:
            return "another cluster"
        if self.timeline != earlier.timeline:
            return "fail-over, or point-in-time recovery"
        if self.started_at != earlier.started_at:
            return "server restarted"
        if (self.database_oid, self.endpoint_table) != (earlier.database_oid, earlier.endpoint_table):
            return "database restored"
        return "server recovered from a crash, or its statistics were reset"


class Session(AsyncConnection[TupleRow]):
    """An autocommit connection whose settings are ours."""

    incarnation: ServerIncarnation
    """The server that it leads to."""


LoadingConnection = NewType("LoadingConnection", Session)
"""A session that loads reservations and runs nothing else: see :mod:`cdc_bridge.payload.isolated`."""


def session_parameters(database_url: str) -> dict[str, Any]:
    """Return psycopg's parameters of a session, completed by our defaults.

    Raises:
        psycopg.ProgrammingError: The conninfo cannot be parsed.
    """
    return _DEFAULTS | conninfo_to_dict(database_url) | _FIXED | {"autocommit": True}


def loading_parameters(database_url: str) -> dict[str, Any]:
    """Return those of a session that loads reservations: it prepares nothing by name."""
    return session_parameters(database_url) | {"prepare_threshold": None}


async def set_up(session: Session) -> None:
    """Set everything that a session depends on; read which server it leads to."""
    session.adapters.register_dumper(list, TextListDumper)
    # Time limits come first, and all in one message: they can end the very next statement.
    parts = ["set statement_timeout to 0", "set idle_session_timeout to 0"]
    if session.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        parts.append("set transaction_timeout to 0")
    # With this path an unqualified name is PostgreSQL's own, whatever others have put into public.
    parts += ["set search_path to pg_catalog, pg_temp", _queries["set_up_session"]]
    await session.execute("; ".join(parts).encode())
    cursor = await session.execute(_queries["server_incarnation"])
    ((system_identifier, timeline, *others),) = await cursor.fetchall()
    session.incarnation = ServerIncarnation(int(system_identifier), timeline, *others)


async def connect(database_url: str) -> Session:
    """Open one session."""
    session = await Session.connect(**session_parameters(database_url))
    await set_up(session)
    return session


async def connect_to_load(database_url: str) -> LoadingConnection:
    """Open one session to load reservations."""
    session = await Session.connect(**loading_parameters(database_url))
    await set_up(session)
    return LoadingConnection(session)
