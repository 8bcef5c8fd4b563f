from __future__ import annotations

import os

import pytest

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
    assert str(origin) == (f"role dba (PGUSER), database dba (the role's name), at db.example, port 5432 ({URL})")
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
