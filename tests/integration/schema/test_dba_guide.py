"""The DBA guide: its blocks are run in their order, and what it says of rights, locks and dumps is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.dumps import run_psql, schema_of

GUIDE = guide_text(Guide.DBA)
BLOCKS = re.findall(r"^```(sql|sh)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def environment(database: Database, programs: Path, **more: str) -> dict[str, str]:
    """Return what a DBA's shell knows."""
    server = {name: str(value) for name, value in conninfo_to_dict(database.url).items()}
    return os.environ | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PGHOST": server["host"],
        "PGPORT": server["port"],
        "PGUSER": server["user"],
        "PGPASSWORD": server["password"],
        **more,
    }


def run_shell(script: str, database: Database, programs: Path, folder: Path, **more: str) -> str:
    """Run a block of commands in a folder with a copy of sql."""
    for word in ("-d ", "PGDATABASE="):
        script = script.replace(f"{word}eres", f"{word}{database.name}")
    ran = subprocess.run(
        ["sh", "-eu", "-c", script],
        env=environment(database, programs, **more), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, f"{script}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder that a DBA works in, with a mapping and a copy of sql."""
    (tmp_path / "sql").symlink_to(sql_folder())
    (tmp_path / "my-mapping.sql").write_text((sql_folder() / "mapping.sql").read_text())
    return tmp_path


def test_every_block_runs_in_order_and_the_schema_ends_as_it_began(
    example_database: Database, programs: Path, folder: Path
) -> None:
    example_database.execute((sql_folder() / "example" / "data.sql").read_text())
    before = schema_of(example_database, programs)
    changes = "select count(*) from cdc_bridge.change"
    exported = ""
    try:
        for language, block in BLOCKS:
            if language == "sh":
                run_shell(exported + block, example_database, programs, folder)
                exported += "".join(re.findall(r"^export .*\n", block, flags=re.MULTILINE))
                continue
            run_psql(example_database, programs, script=block)
            if "session_replication_role" in block:
                assert example_database.value(changes) == 0
    finally:
        with psycopg.connect(example_database.url, autocommit=True) as connection:
            connection.execute(f"alter role cdc_bridge password '{BRIDGE_PASSWORD}'".encode())
            connection.execute("drop role if exists night_watch")
    assert schema_of(example_database, programs) == before
    assert (folder / "install.sql").read_text().startswith("-- Installs")
    assert "cdc_bridge" not in (folder / "without-ours.sql").read_text().replace(
        "cdc_bridge.capture_by_id", ""
    ).replace("cdc_bridge_insert", "").replace("cdc_bridge_update", "").replace("cdc_bridge_loader", "")


def test_cost_of_a_write_is_measured_as_it_stands_there(database: Database, programs: Path) -> None:
    database.execute((sql_folder() / "example" / "data.sql").read_text())
    (block,) = (text for language, text in BLOCKS if language == "sql" and "explain" in text)
    before = database.value("select count(*) from cdc_bridge.change")
    with psycopg.connect(database.url, autocommit=True) as connection:
        for statement in filter(None, map(str.strip, block.split(";"))):
            cursor = connection.execute(statement.encode())
            if statement.startswith("explain"):
                assert any(line.startswith("Trigger cdc_bridge_update: time=") for (line,) in cursor.fetchall())
    assert database.value("select count(*) from cdc_bridge.change") == before


def test_every_script_for_operations_is_named_and_runs_as_the_reader(
    database: Database, programs: Path, folder: Path
) -> None:
    scripts = sorted(file.name for file in (sql_folder() / "ops").glob("*.sql"))
    assert sorted(re.findall(r"-f sql/ops/(\S+)", GUIDE)) == scripts
    for script in scripts:
        as_reader = {"PGOPTIONS": "-c role=cdc_bridge_reader"}
        run_shell(f"psql -v ON_ERROR_STOP=1 -d eres -f sql/ops/{script}", database, programs, folder, **as_reader)


def test_all_that_is_ours_is_named_with_its_owner(database: Database) -> None:
    table = GUIDE.partition("\n## Objects\n")[2].partition("\n## ")[0]
    names = set(re.findall(r"`([a-z_]+)(?:\.\.\.)?`", table))
    ours = database.execute(
        "select relname::text, pg_get_userbyid(relowner)::text from pg_class "
        "where relnamespace = 'cdc_bridge'::regnamespace and relkind in ('r', 'v') union "
        "select proname::text, pg_get_userbyid(proowner)::text from pg_proc "
        "where pronamespace = 'cdc_bridge'::regnamespace"
    )
    assert {owner for name, owner in ours if name.startswith(("load_", "payload_"))} - {"cdc_bridge_owner"} == {
        "cdc_bridge_loader"
    }
    for name, owner in ours:
        rows = [
            row
            for row in table.splitlines()
            if re.search(rf"`{name}`", row)
            or any(name.startswith(prefix) for prefix in re.findall(r"`([a-z_]+)\.\.\.`", row))
        ]
        assert [row for row in rows if f"| `{owner}` |" in row], f"{name} belongs to {owner}"
    assert [name for name, _ in ours if not any(name == known or name.startswith(known) for known in names)] == []


def test_dump_by_a_role_without_rights_on_ours_needs_to_leave_it_out(database: Database, programs: Path) -> None:
    role = f"dumps_{database.name}"
    database.execute(f"create role {role} login password 'of-a-dump'")
    try:
        for table in ("reservations", "customers", "calls"):
            database.execute(f"grant select on {table} to {role}")
        url = database.server.url_for(database.name, user=role, password="of-a-dump")
        dump = [str(programs / "pg_dump"), "--dbname", url]
        failed = subprocess.run(dump, capture_output=True, text=True, check=False)
        assert failed.returncode != 0
        assert "permission denied for" in failed.stderr
        subprocess.run([*dump, "--exclude-schema=cdc_bridge"], capture_output=True, check=True)
    finally:
        database.execute(f"drop owned by {role}; drop role {role}")


def test_prepared_transaction_fails_only_while_a_daemon_sleeps(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    booking = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
    with psycopg.connect(database.url) as e_res, psycopg.connect(database.url, autocommit=True) as sleeper:
        e_res.execute(booking, ("A",))
        e_res.execute("prepare transaction 'awake'")
        e_res.rollback()
        database.execute("commit prepared 'awake'")
        sleeper.execute("select pg_advisory_lock(52683, 1)")
        e_res.execute(booking, ("B",))
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            e_res.execute("prepare transaction 'asleep'")


LOCKS = """
select mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation' and relation = 'reservations'::regclass
"""


@pytest.mark.parametrize(
    ("statements", "locks"),
    [
        ("select cdc_bridge.detach('reservations')", {"AccessExclusiveLock"}),
        ("select cdc_bridge.attach('reservations', 'id')", set()),
        ("select cdc_bridge.disable_capture()", set()),
        ("select cdc_bridge.disable_capture(); select cdc_bridge.enable_capture()", set()),
        ("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)", {"RowExclusiveLock"}),
    ],
)
def test_locks_are_those_that_the_guide_names(statements: str, locks: set[str], database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    with psycopg.connect(database.url) as connection:
        for statement in statements.split("; "):
            connection.execute(statement.encode())
        taken = {mode for (mode,) in connection.execute(LOCKS)}
    assert taken - {"AccessShareLock", "RowShareLock"} == locks


def test_attaching_anew_takes_the_lock_that_the_guide_names(database: Database) -> None:
    database.execute("select cdc_bridge.detach('reservations')")
    with psycopg.connect(database.url) as connection:
        connection.execute("select cdc_bridge.attach('reservations', 'id')")
        taken = {mode for (mode,) in connection.execute(LOCKS)}
    assert taken - {"AccessShareLock"} == {"ShareRowExclusiveLock"}
