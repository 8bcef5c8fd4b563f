"""Where a connection leads, as whom, and which setting says so: for the error when it cannot be made.

A conninfo need not say everything. What it leaves out libpq takes from a service file, from its variables (PGHOST,
PGUSER and so on) or from its defaults; so the setting to correct is another one for each part.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Literal, Self

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

URL_VARIABLE = "CDC_BRIDGE_DATABASE_URL"

Part = Literal["user", "dbname", "host", "port"]
_DEFAULTS: dict[Part, str] = {
    "user": "the user of this machine",
    "dbname": "the role's name",
    "host": "default",
    "port": "default",
}
_VARIABLES = {
    "user": "PGUSER",
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "port": "PGPORT",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}


class DatabaseUrl(str):
    """A libpq conninfo, and the setting that it was read from."""

    __slots__ = ("source",)
    source: str

    def __new__(cls, conninfo: str, source: str) -> Self:
        """Join both."""
        url = super().__new__(cls, conninfo)
        url.source = source
        return url


@dataclass(frozen=True, slots=True)
class ConnectionOrigin:
    """Role, database and address of a connection, and what each was read from."""

    values: dict[Part, str]
    sources: dict[Part, str]
    settings: dict[str, str]
    """The setting in which each parameter is corrected: where it stands, or where it would."""

    def __str__(self) -> str:
        """Return it as a part of a sentence."""
        at = "at " if self.values["host"] else "on this machine"
        told = {
            "user": f"role {self.values['user']}",
            "dbname": f"database {self.values['dbname']}",
            "host": f"{at}{self.values['host']}",
            "port": f"port {self.values['port']}",
        }
        # Those that one setting says have it once, behind the last of them.
        return ", ".join(
            f"{', '.join(told[part] for part, _ in parts)} ({source})"
            for source, parts in groupby(self.sources.items(), key=itemgetter(1))
        )

    def url_of(self, role: str) -> str:
        """Return the URL of the same database for another role, without a password."""
        host, port, database = self.values["host"], self.values["port"], self.values["dbname"]
        if not host or host.startswith("/"):
            return f"postgresql://{role}@/{database}?{f'host={host}&' if host else ''}port={port}"
        return f"postgresql://{role}@{f'[{host}]' if ':' in host else host}:{port}/{database}"


def connection_origin(database_url: str, error: psycopg.Error | None = None) -> ConnectionOrigin:
    """Return where a connection leads.

    Args:
        database_url: Its conninfo.
        error: Why it could not be made, which may know what libpq has made of it.
    """
    given = {name: str(value) for name, value in conninfo_to_dict(database_url).items() if value}
    source = getattr(database_url, "source", URL_VARIABLE)
    service = given.get("service") or os.environ.get("PGSERVICE")
    tried = None if error is None else error.pgconn
    found = {"user": tried.user, "dbname": tried.db, "host": tried.host, "port": tried.port} if tried else {}
    defaults = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults()}

    def value(name: str) -> str:
        raw = found.get(name) or defaults.get(name) or b""
        return given.get(name) or raw.decode(errors="replace")

    values: dict[Part, str] = {part: value(part) for part in _DEFAULTS}
    values["host"] = given.get("host") or given.get("hostaddr") or values["host"]
    values["dbname"] = values["dbname"] or values["user"]
    by_url = bool(given.keys() & {*_DEFAULTS, "hostaddr"})
    sources: dict[Part, str] = {}
    settings: dict[str, str] = {}
    for name, variable in _VARIABLES.items():
        if name in given or (name == "host" and "hostaddr" in given):
            settings[name] = source
        elif service:
            settings[name] = f"service {service}"
        else:
            settings[name] = source if by_url and not os.environ.get(variable) else variable
    for part, default in _DEFAULTS.items():
        is_given = part in given or (part == "host" and "hostaddr" in given)
        is_set = is_given or service or os.environ.get(_VARIABLES[part])
        sources[part] = settings[part] if is_set else default
    return ConnectionOrigin(values, sources, settings)
