"""Why PostgreSQL cannot be reached, each cause in one sentence, with what to do about it.

While a connection is being made, the only thing that tells causes apart is the message: libpq passes no SQLSTATE on. A
server whose messages are in another language than English (``lc_messages``) has its own words shown.

A remedy names the setting that the part at fault was read from, and a statement in it can be run as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_OURS = "cdc_bridge"
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
        "Correct it in {password_setting} or ~/.pgpass; or have a DBA set it in psql: \\password {user_identifier}",
    ),
    (
        "no password supplied",
        "it asks for a password, and none is set",
        "Set it in {password_setting} or in ~/.pgpass.",
    ),
    (
        f"[Pp]eer authentication failed for user {_USER}",
        "it admits role {user} to the user of this machine that has the same name only (peer)",
        "Run as that user, or connect over TCP with a password: host=localhost.",
    ),
    (
        f"Ident authentication failed for user {_USER}",
        "pg_hba.conf asks for ident, which does not admit role {user}",
        "Have a DBA change that line to scram-sha-256, or to peer with a map, and reload: select pg_reload_conf();",
    ),
    (
        f"role {_USER} does not exist",
        "it has no role {user}",
        "Correct the user in {user_setting}. Role cdc_bridge is created by: cdc-bridge install",
    ),
    (
        f"role {_USER} is not permitted to log in",
        "role {user} may not log in",
        "Run as a DBA: alter role {user_identifier} login;",
    ),
    (
        f"database {_DATABASE} does not exist",
        "it has no database {database}",
        "Correct the database's name in {dbname_setting}; to list them: psql -l",
    ),
    (
        f"permission denied for database {_DATABASE}",
        "the role may not connect to database {database}",
        "Run as a DBA: grant connect on database {database_identifier} to {role_identifier};",
    ),
    (
        f"no pg_hba.conf entry for host {_HOST}, user {_USER}, database {_DATABASE}, no encryption",
        "it does not admit role {user} to database {database} from {host} without TLS (pg_hba.conf)",
        "Set sslmode=require in {sslmode_setting}; if that is not enough, have a DBA add a line to pg_hba.conf.",
    ),
    (
        f"(no pg_hba.conf entry|pg_hba.conf rejects connection) for host {_HOST}, user {_USER}, database {_DATABASE}",
        "it does not admit role {user} to database {database} from {host} (pg_hba.conf)",
        "Have a DBA add a line to pg_hba.conf for it, and reload: select pg_reload_conf();",
    ),
    (
        "server does not support SSL, but SSL was required",
        "it offers no TLS, which {sslmode_setting} requires (sslmode)",
        "Have a DBA set ssl = on; or remove sslmode, if the way to it is trusted.",
    ),
    (
        "certificate verify failed|root certificate file .* does not exist|does not match host name",
        "its certificate cannot be verified",
        "Name the CA's file (sslrootcert) and the host that the certificate is for in {sslrootcert_setting}.",
    ),
    (
        "sorry, too many clients already|remaining connection slots are reserved",
        "it has no connection left",
        "Have other programs use fewer, or have a DBA raise max_connections.",
    ),
    (
        f"too many connections for role {_USER}",
        "role {user} has as many connections as it may",
        "Run as a DBA: alter role {user_identifier} connection limit -1;",
    ),
    (
        f"too many connections for database {_DATABASE}",
        "database {database} has as many connections as it may",
        "Run as a DBA: alter database {database_identifier} connection limit -1;",
    ),
    (
        "the database system is (?P<state>starting up|shutting down|in recovery mode)",
        "it is {state}",
        "Wait until it is done.",
    ),
    (
        "failed to resolve host '(?P<host>[^']*)'|could not translate host name \"(?P<name>[^\"]*)\"",
        "the host {host} is not known",
        "Correct the host's name in {host_setting}; to look it up: getent hosts {host}",
    ),
    (
        f"at {_HOST}.*?, port (?P<port>[0-9]+) failed: Connection refused",
        "nothing listens at {host}, port {port}",
        "Start PostgreSQL, or correct {address_setting}; listen_addresses has to include that address.",
    ),
    (
        'on socket "(?P<socket>[^"]*)" failed: (No such file or directory|Connection refused)',
        "no server on this machine listens at {socket}",
        "Start PostgreSQL, or correct {address_setting}: the host is that folder, and the port the last number.",
    ),
    (
        "timeout expired|timed out",
        "it does not respond in time",
        "Check {address_setting}, and the firewalls on the way.",
    ),
)


def connection_problem(message: str, role: str, settings: Mapping[str, str]) -> ConnectionProblem | None:
    """Return the cause that a failed connection's message names; ``None``: none that is known.

    Args:
        message: All of it, in libpq's and the server's words.
        role: Who was to log in.
        settings: The setting to correct for each parameter that a remedy may be about.
    """
    for pattern, problem, remedy in _CAUSES:
        if (found := re.search(pattern, message)) is not None:
            named = {name: value for name, value in found.groupdict().items() if value is not None}
            named.setdefault("host", named.get("name", ""))
            named |= {f"{name}_identifier": _identifier(value) for name, value in named.items()}
            named |= {f"{part}_setting": setting for part, setting in settings.items()}
            named["address_setting"] = (
                f"host and port in {settings['host']}"
                if settings["host"] == settings["port"]
                else f"the host in {settings['host']} or the port in {settings['port']}"
            )
            named["role_identifier"] = _identifier(role)
            return ConnectionProblem(problem.format_map(named), remedy.format_map(named))
    return None


def _identifier(name: str) -> str:
    """Return a name as SQL has it. Any name may be a reserved word, so all but ours are quoted."""
    return name if name == _OURS else '"' + name.replace('"', '""') + '"'
