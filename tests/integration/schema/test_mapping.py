"""Installing a mapping: again, with other columns, under other roles and default privileges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from cdc_bridge.schema.sql_text import install_text, sql_folder
from tests.support.databases import Database

LOADER = "cdc_bridge.load_reservation(text[], bigint)"
MAY_LOAD = f"select has_function_privilege(%s, '{LOADER}', 'execute')"
COLUMNS = "select columns from cdc_bridge.payload_definition where name = 'reservation'"
OWNER = f"select proowner::regrole::text from pg_proc where oid = '{LOADER}'::regprocedure"


def mapping() -> str:
    return (sql_folder() / "mapping.sql").read_text()


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    name = f"somebody_of_{database.name[-12:]}".replace("-", "_")
    database.execute(f"create role {name}")
    yield name
    database.execute(f"drop owned by {name} cascade; drop role {name}")


@pytest.mark.parametrize("again", [False, True])
def test_default_privileges_of_the_dba_give_nobody_the_loader(
    database: Database, example_database: Database, role: str, *, again: bool
) -> None:
    fresh = database if again else example_database
    for grantee in (role, "public"):
        fresh.execute(f"alter default privileges grant execute on functions to {grantee}")
    with psycopg.connect(fresh.url, autocommit=True) as connection:
        connection.execute(install_text().encode())
    assert not fresh.value(MAY_LOAD, (role,))
    assert fresh.value(MAY_LOAD, ("cdc_bridge",))
    assert fresh.value(OWNER) == "cdc_bridge_loader"
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
    for file, same in ((own, "as duration" in instead), (sql_folder() / "mapping.sql", True)):
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
    assert database.value(OWNER) == "cdc_bridge_loader"
    assert database.value("select count(*) from pg_trigger where tgname like 'cdc_bridge%'") == 2


def test_mapping_that_loses_a_right_says_how_to_grant_it_and_changes_nothing(database: Database) -> None:
    before = database.execute("select query from cdc_bridge.payload_definition")
    database.execute("revoke select on public.calls from cdc_bridge_loader")
    without_grant = "".join(line for line in mapping().splitlines(keepends=True) if not line.startswith("grant"))
    with (
        psycopg.connect(database.url, autocommit=True) as connection,
        pytest.raises(errors.InsufficientPrivilege, match=r"may not read public\.calls") as raised,
    ):
        connection.execute(without_grant.replace("r.notes", "upper(r.notes) as notes").encode())
    remedy = (raised.value.diag.message_hint or "").partition(":\n")[2]
    assert "grant select on public.calls to cdc_bridge_loader;" in remedy
    assert database.execute("select query from cdc_bridge.payload_definition") == before
    database.execute(remedy)
    database.execute(without_grant)


UPGRADES = [
    "alter table reservations alter column notes type varchar(4000)",
    "alter table reservations drop column notes",
    "alter table reservations rename column notes to remarks",
    "alter table customers rename to guests",
    "drop table calls cascade",
    "alter table reservations rename to old; create table reservations (like old including all); drop table old",
    "alter table reservations set schema information_schema",
    "alter table reservations alter column id type varchar(64)",
    "alter table reservations rename column id to number",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_upgrade_of_e_res_is_not_blocked(upgrade: str, database: Database, role: str) -> None:
    """As the tables' owner, who has no right on anything of ours."""
    database.execute(f"grant all on schema public, information_schema to {role}")
    for table in ("reservations", "customers", "calls"):
        database.execute(f"alter table {table} owner to {role}")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"set role {role}; {upgrade}".encode())
    database.execute("revoke all on schema information_schema from " + role)
