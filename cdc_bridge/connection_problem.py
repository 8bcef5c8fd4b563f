"""Why PostgreSQL cannot be reached, each cause in one sentence, with what to do about it.

While a connection is being made, the only thing that tells causes apart is the message: libpq passes no SQLSTATE on. A
server whose messages are in another language than English (``lc_messages``) has its own words shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_URL = "CDC_BRIDGE_DATABASE_URL"
_QUOTED = r'"(?P<{}>[^"]*)"'
_USER, _DATABASE, _HOST = (_QUOTED.format(name) for name in ("user", "database", "host"))


@dataclass(frozen=True, slots=True)
class ConnectionProblem:
    """A cause and its remedy."""

    problem: str
    remedy: str


_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        f"password authentication failed for user {_USER}",
        "it rejects the password of role {user}, or has no such role",
        f"Correct it in {_URL}, ~/.pgpass or the credential; or have a DBA set it in psql: \\password {{user}}",
    ),
    (
        "no password supplied",
        "it asks for a password, and none is set",
        f"Set it in {_URL}, in ~/.pgpass or in the credential database_url.",
    ),
    (
        f"[Pp]eer authentication failed for user {_USER}",
        "it admits role {user} to the user of this machine that has the same name only (peer)",
        "Run as that user, or connect over TCP with a password: host=localhost.",
    ),
    (
        f"role {_USER} does not exist",
        "it has no role {user}",
        f"Correct the user in {_URL}. Role cdc_bridge is created by: cdc-bridge install",
    ),
    (
        f"role {_USER} is not permitted to log in",
        "role {user} may not log in",
        "Run as a DBA: alter role {user} login;",
    ),
    (
        f"database {_DATABASE} does not exist",
        "it has no database {database}",
        f"Correct the database's name in {_URL}; to list them: psql -l",
    ),
    (
        f"permission denied for database {_DATABASE}",
        "the role may not connect to database {database}",
        "Run as a DBA: grant connect on database {database} to cdc_bridge;",
    ),
    (
        f"no pg_hba.conf entry for host {_HOST}, user {_USER}, database {_DATABASE}, no encryption",
        "it does not admit role {user} to database {database} from {host} without TLS (pg_hba.conf)",
        f"Add sslmode=require to {_URL}; if that does not help, have a DBA add a line to pg_hba.conf and reload it.",
    ),
    (
        f"(no pg_hba.conf entry|pg_hba.conf rejects connection) for host {_HOST}, user {_USER}, database {_DATABASE}",
        "it does not admit role {user} to database {database} from {host} (pg_hba.conf)",
        "Have a DBA add a line to pg_hba.conf for it, and reload: select pg_reload_conf();",
    ),
    (
        "server does not support SSL, but SSL was required",
        f"it offers no TLS, which {_URL} requires (sslmode)",
        "Have a DBA set ssl = on; or remove sslmode, if the way to it is trusted.",
    ),
    (
        "certificate verify failed|root certificate file .* does not exist|does not match host name",
        "its certificate cannot be verified",
        f"Name the CA's file (sslrootcert) and the host that the certificate is for in {_URL}.",
    ),
    (
        "sorry, too many clients already|remaining connection slots are reserved",
        "it has no connection left",
        "Have other programs use fewer, or have a DBA raise max_connections.",
    ),
    (
        f"too many connections for role {_USER}",
        "role {user} has as many connections as it may",
        "Run as a DBA: alter role {user} connection limit -1;",
    ),
    (
        f"too many connections for database {_DATABASE}",
        "database {database} has as many connections as it may",
        "Run as a DBA: alter database {database} connection limit -1;",
    ),
    (
        "the database system is (?P<state>starting up|shutting down|in recovery mode)",
        "it is {state}",
        "Wait until it is done.",
    ),
    (
        "failed to resolve host '(?P<host>[^']*)'|could not translate host name \"(?P<name>[^\"]*)\"",
        "the host {host} is not known",
        f"Correct the host's name in {_URL}; to look it up: getent hosts {{host}}",
    ),
    (
        f"at {_HOST}.*?, port (?P<port>[0-9]+) failed: Connection refused",
        "nothing listens at {host}, port {port}",
        f"Start PostgreSQL, or correct host and port in {_URL}; listen_addresses has to include that address.",
    ),
    (
        'on socket "(?P<socket>[^"]*)" failed: (No such file or directory|Connection refused)',
        "no server on this machine listens at {socket}",
        f"Start PostgreSQL, or correct the host, which is that folder, in {_URL}.",
    ),
    (
        "timeout expired|timed out",
        "it does not respond in time",
        f"Check host and port in {_URL}, and the firewalls on the way.",
    ),
)


def connection_problem(message: str) -> ConnectionProblem | None:
    """Return the cause that a failed connection's message names; ``None``: none that is known.

    Args:
        message: All of it, in libpq's and the server's words.
    """
    for pattern, problem, remedy in _CAUSES:
        if (found := re.search(pattern, message)) is not None:
            named = {name: value for name, value in found.groupdict().items() if value is not None}
            named.setdefault("host", named.get("name", ""))
            return ConnectionProblem(problem.format_map(named), remedy.format_map(named))
    return None
