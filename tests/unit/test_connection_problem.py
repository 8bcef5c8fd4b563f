from __future__ import annotations

import pytest

from cdc_bridge.connection_problem import connection_problem

SETTINGS = dict.fromkeys(
    ["user", "dbname", "host", "port", "password", "sslmode", "sslrootcert"], "CDC_BRIDGE_DATABASE_URL"
)
AT = 'connection failed: connection to server at "db.example" (192.0.2.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (f'{AT}FATAL:  Peer authentication failed for user "till"', "it admits role till to the user of this machine"),
        (f'{AT}FATAL:  Ident authentication failed for user "till"', "pg_hba.conf asks for ident"),
        (f"{AT}FATAL:  the database system is starting up", "it is starting up"),
        (f"{AT}SSL error: certificate verify failed", "its certificate cannot be verified"),
        ('root certificate file "/x/root.crt" does not exist', "its certificate cannot be verified"),
        (f"{AT}fe_sendauth: no password supplied", "it asks for a password, and none is set"),
        (
            f"{AT}FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "it has no connection left",
        ),
        ("connection timeout expired", "it does not respond in time"),
        (f"{AT}Connection refused\n\tIs the server running", "nothing listens at db.example, port 5432"),
        ('could not translate host name "x.example" to address', "the host x.example is not known"),
    ],
)
def test_cause_that_a_message_names(message: str, problem: str) -> None:
    found = connection_problem(message, "till", SETTINGS)
    assert found is not None
    assert found.problem.startswith(problem)
    assert found.remedy
    assert "{" not in found.problem + found.remedy


def test_unknown_message_names_none() -> None:
    assert (
        connection_problem(
            f"{AT}FATAL:  Passwort-Authentifizierung für Benutzer »till« fehlgeschlagen", "till", SETTINGS
        )
        is None
    )


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (SETTINGS, "host and port in CDC_BRIDGE_DATABASE_URL"),
        (SETTINGS | {"host": "PGHOST", "port": "PGPORT"}, "the host in PGHOST or the port in PGPORT"),
    ],
)
@pytest.mark.parametrize(
    "message",
    [
        f"{AT}Connection refused\n\tIs the server running",
        'connection to server on socket "/var/run/postgresql/.s.PGSQL.5433" failed: No such file or directory',
        "connection timeout expired",
    ],
)
def test_settings_of_host_and_port_are_both_named(message: str, settings: dict[str, str], address: str) -> None:
    found = connection_problem(message, "till", settings)
    assert found is not None
    assert address in found.remedy
