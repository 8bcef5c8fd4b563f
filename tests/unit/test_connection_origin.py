from __future__ import annotations

import os

import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc_bridge.connection_origin import DatabaseUrl, connection_origin

URL = "CDC_BRIDGE_DATABASE_URL"


@pytest.fixture(autouse=True)
def _no_variables_of_psql(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)


def test_url_that_says_everything_is_the_source_of_all() -> None:
    origin = connection_origin(DatabaseUrl("postgresql://till:secret@db.example:6432/eres", "--database-url"))
    assert str(origin) == "role till, database eres, at db.example, port 6432 (--database-url)"
    assert set(origin.settings.values()) == {"--database-url"}


def test_each_part_has_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "dba")
    origin = connection_origin("host=db.example")
    assert str(origin) == (
        f"role dba (PGUSER), database dba (the role's name), at db.example ({URL}), port 5432 (default)"
    )
    assert origin.settings["user"] == "PGUSER"
    assert origin.settings["dbname"] == URL


def test_what_nothing_says_is_set_where_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGDATABASE", "eres")
    origin = connection_origin("application_name=cdc-bridge")
    assert "database eres (PGDATABASE)" in str(origin)
    assert "(the user of this machine)" in str(origin)
    assert (origin.settings["user"], origin.settings["password"]) == ("PGUSER", "PGPASSWORD")


def test_service_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = connection_origin("service=eres user=till")
    assert (origin.sources["user"], origin.sources["host"]) == (URL, "service eres")
    assert origin.settings["password"] == "service eres"


def test_no_password_is_in_it() -> None:
    origin = connection_origin("postgresql://till:top-secret@db.example/eres")
    assert "top-secret" not in f"{origin} {origin!r}"


def test_host_and_port_have_settings_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "db.example", "PGPORT": "5433", "PGDATABASE": "eres", "PGUSER": "dba"}.items():
        monkeypatch.setenv(name, value)
    origin = connection_origin("application_name=cdc-bridge")
    assert str(origin) == ("role dba (PGUSER), database eres (PGDATABASE), at db.example (PGHOST), port 5433 (PGPORT)")
    assert (origin.settings["host"], origin.settings["port"]) == ("PGHOST", "PGPORT")
    assert origin.url_of("cdc_bridge") == "postgresql://cdc_bridge@db.example:5433/eres"


@pytest.mark.parametrize(
    ("conninfo", "url"),
    [
        ("host=/run/postgresql port=5433 dbname=eres", "postgresql://dba@/eres?host=/run/postgresql&port=5433"),
        ("host=::1 dbname=eres", "postgresql://dba@[::1]:5432/eres"),
    ],
)
def test_url_of_another_role_is_one_that_libpq_takes(conninfo: str, url: str) -> None:
    assert connection_origin(conninfo).url_of("dba") == url
    given = conninfo_to_dict(conninfo)
    assert conninfo_to_dict(url) == {"user": "dba", "port": "5432"} | given
