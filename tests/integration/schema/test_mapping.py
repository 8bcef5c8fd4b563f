"""Installing a mapping: again, with other columns, under other roles and default privileges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from cdc_bridge.schema.sql_text import install_text, sql_folder
from tests.support.databases import Database

MAY_READ = "select has_table_privilege(%s, 'cdc_bridge.reservation_payload', 'select')"
COLUMNS = """
select attname::text from pg_attribute
where attrelid = 'cdc_bridge.reservation_payload'::regclass and attnum > 0 order by attnum
"""
OWNER = "select relowner::regrole::text from pg_class where oid = 'cdc_bridge.reservation_payload'::regclass"


def mapping() -> str:
    return (sql_folder() / "mapping.sql").read_text()


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    name = f"somebody_of_{database.name[-12:]}".replace("-", "_")
    database.execute(f"create role {name}")
    yield name
    database.execute(f"drop owned by {name} cascade; drop role {name}")


@pytest.mark.parametrize("again", [False, True])
def test_default_privileges_of_the_dba_give_nobody_the_view(
    database: Database, example_database: Database, role: str, *, again: bool
) -> None:
    fresh = database if again else example_database
    for grantee in (role, "public"):
        fresh.execute(f"alter default privileges grant select on tables to {grantee}")
    with psycopg.connect(fresh.url, autocommit=True) as connection:
        connection.execute(install_text().encode())
    assert not fresh.value(MAY_READ, (role,))
    assert fresh.value(MAY_READ, ("cdc_bridge",))
    assert fresh.value(OWNER) == "cdc_bridge_owner"
    if not again:
        fresh.execute(f"drop owned by {role}")


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("  r.notes,\n", ""),
        ("  r.notes,\n", "  r.notes,\n  r.adults + r.children as guests,\n"),
        ("  r.adults,\n  r.children,\n", "  r.children,\n  r.adults,\n"),
        ("  r.duration,\n", "  r.duration::text as duration,\n"),
    ],
)
def test_mapping_with_other_columns_replaces_the_one_before_and_is_replaced_by_it(
    line: str, instead: str, database: Database, tmp_path: Path
) -> None:
    shipped = database.execute(COLUMNS)
    (own := tmp_path / "own.sql").write_text(mapping().replace(line, instead))
    for file, same in ((own, "as duration" in instead), (None, True)):
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(install_text(file).encode())
        assert (database.execute(COLUMNS) == shipped) is same


def test_role_that_installs_is_the_same_afterwards_and_attaches(database: Database, role: str) -> None:
    """As after "set role dba" in psql, on a server where the DBA logs in as somebody else."""
    database.execute(f"grant cdc_bridge_owner to {role}")
    database.execute(f"alter table reservations owner to {role}; alter table customers owner to {role}")
    database.execute(f"alter table calls owner to {role}; alter schema public owner to {role}")
    database.execute("select cdc_bridge.detach('reservations')")
    with psycopg.connect(database.url) as connection:
        connection.execute(f"set role {role}".encode())
        connection.execute(mapping().encode())
        connection.commit()
        assert connection.execute("select current_user").fetchall() == [(role,)]
    assert database.value(OWNER) == "cdc_bridge_owner"
    assert database.value("select count(*) from pg_trigger where tgname like 'cdc_bridge%'") == 2


def test_view_that_somebody_built_upon_is_left_alone(database: Database) -> None:
    database.execute("create view public.on_it as select id from cdc_bridge.reservation_payload")
    with psycopg.connect(database.url) as connection, pytest.raises(errors.DependentObjectsStillExist):
        connection.execute(mapping().encode())
    assert database.value("select count(*) from public.on_it") == 0
