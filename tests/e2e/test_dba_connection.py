"""How the commands of a DBA find the database: as psql does, unless a setting names it. All others need the setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import run_command
from tests.support.databases import Database

RESERVATION = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)
MAPPING = str(sql_folder() / "mapping.sql")
OF_A_DBA = [
    ("install", "--dry-run"),
    ("install",),
    ("mapping", "draft", "--time-zone", "Europe/London"),
    ("mapping", "check", MAPPING),
    ("payload", "R"),
    ("contract", "schema", "--payload", "reservation"),
    ("uninstall", "--yes"),
]


def variables(database: Database, **other: str) -> dict[str, str]:
    """Return what psql takes."""
    server: Mapping[str, str] = {name: str(value) for name, value in conninfo_to_dict(database.url).items()}
    return {
        "PGHOST": server["host"],
        "PGPORT": server["port"],
        "PGUSER": server["user"],
        "PGPASSWORD": server["password"],
        "PGDATABASE": server["dbname"],
    } | other


@pytest.mark.parametrize("command", OF_A_DBA, ids=" ".join)
async def test_command_of_a_dba_connects_as_psql_does(command: tuple[str, ...], database: Database) -> None:
    database.execute(RESERVATION)
    code, _, errors = await run_command(*command, **variables(database))
    assert code == 0, errors


async def test_service_file_and_password_file_do_as_well(example_database: Database, tmp_path: Path) -> None:
    known = variables(example_database)
    address = f"{known['PGHOST']}:{known['PGPORT']}"
    services, passwords = tmp_path / "services", tmp_path / "passwords"
    services.write_text(
        f"[eres]\nhost={known['PGHOST']}\nport={known['PGPORT']}\nuser={known['PGUSER']}\ndbname={example_database.name}\n"
    )
    passwords.write_text(f"{address}:*:*:{known['PGPASSWORD']}\n")
    passwords.chmod(0o600)
    settings = {"PGSERVICE": "eres", "PGSERVICEFILE": str(services), "PGPASSFILE": str(passwords)}
    code, output, errors = await run_command("install", "--dry-run", **settings)
    assert (code, errors) == (0, ""), output
    passwords.write_text(f"{address}:*:*:wrong\n")
    code, _, errors = await run_command("install", "--dry-run", **settings)
    assert code == 1
    assert f"Tried as role postgres, database {example_database.name}, at {known['PGHOST']}" in errors
    assert "(service eres)." in errors


async def test_setting_comes_before_what_psql_takes(database: Database) -> None:
    database.execute(RESERVATION)
    nowhere = variables(database, PGHOST="nowhere.invalid", PGDATABASE="none", PGUSER="nobody", PGPASSWORD="wrong")
    code, output, _ = await run_command("payload", "R", CDC_BRIDGE_DATABASE_URL=database.bridge_url, **nowhere)
    assert (code, json.loads(output)["id"]) == (0, "R")
    named = {name: value for name, value in variables(database).items() if name == "PGPASSWORD"}
    given = {name: str(value) for name, value in conninfo_to_dict(database.url).items() if name != "password"}
    url = make_conninfo("", **given)
    code, output, _ = await run_command(
        "payload", "R", "--database-url", url, **nowhere | named, CDC_BRIDGE_DATABASE_URL="host=nowhere.invalid"
    )
    assert (code, json.loads(output)["id"]) == (0, "R")


@pytest.mark.parametrize(
    "command",
    [("run",), ("check",), ("status",), ("endpoint", "list"), ("deliveries",)],
    ids=" ".join,
)
async def test_daemon_and_commands_of_an_operator_connect_as_nobody_by_accident(
    command: tuple[str, ...], database: Database
) -> None:
    code, output, errors = await run_command(*command, **variables(database))
    assert (code, output) == (78, "")
    assert "CDC_BRIDGE_DATABASE_URL is not set" in errors
    assert "as role cdc_bridge" in errors
    known = variables(database)
    example = f"postgresql://cdc_bridge:PASSWORD@{known['PGHOST']}:{known['PGPORT']}/{database.name}"
    assert f"PG variables are not used here. For example: CDC_BRIDGE_DATABASE_URL='{example}'" in errors
    _, _, errors = await run_command(*command)
    assert "CDC_BRIDGE_DATABASE_URL is not set" in errors
    assert "PG variables" not in errors


async def test_port_is_corrected_in_its_own_setting(database: Database) -> None:
    known = variables(database, PGPORT="1")
    code, _, errors = await run_command("install", **known)
    assert code == 1
    assert "correct the host in PGHOST or the port in PGPORT" in errors


@pytest.mark.parametrize("command", [("install",), ("uninstall", "--yes"), ("payload", "R")], ids=" ".join)
async def test_database_has_to_be_named(command: tuple[str, ...], database: Database) -> None:
    known = {name: value for name, value in variables(database).items() if name != "PGDATABASE"}
    code, output, errors = await run_command(*command, **known)
    assert (code, output) == (78, "")
    assert "no database is named" in errors
    assert "PGDATABASE=eres" in errors
    assert "cdc_bridge" not in errors


async def test_error_says_where_the_connection_led_as_whom_and_which_setting_says_so(
    example_database: Database, tmp_path: Path
) -> None:
    known = variables(example_database, PGPASSWORD="wrong")
    _, _, errors = await run_command("install", **known)
    assert (
        f"Tried as role postgres (PGUSER), database {example_database.name} (PGDATABASE), at {known['PGHOST']} "
        f"(PGHOST), port {known['PGPORT']} (PGPORT)." in errors
    )
    assert "Correct it in PGPASSWORD or ~/.pgpass" in errors
    port = {"PGPORT": known["PGPORT"], "PGPASSWORD": "wrong"}
    url = f"postgresql://till@{known['PGHOST']}/eres"
    told = f"role till, database eres, at {known['PGHOST']}"
    by_variable = f", port {known['PGPORT']} (PGPORT)"
    _, _, errors = await run_command("install", "--database-url", url, **port)
    assert f"Tried as {told} (--database-url){by_variable}." in errors
    _, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=url, **port)
    assert f"Tried as {told} (CDC_BRIDGE_DATABASE_URL){by_variable}." in errors
    file = tmp_path / "config.toml"
    file.write_text(f'database_url = "{url}"\n')
    _, _, errors = await run_command("status", CDC_BRIDGE_CONFIG=str(file), **port)
    assert f"Tried as {told} (database_url in {file}){by_variable}." in errors
    file.rename(tmp_path / "cdc_bridge_database_url").write_text(url)
    _, _, errors = await run_command("status", CREDENTIALS_DIRECTORY=str(tmp_path), **port)
    assert f"Tried as {told} (the credential cdc_bridge_database_url){by_variable}." in errors
    _, output, _ = await run_command("check", CDC_BRIDGE_DATABASE_URL=url, **port)
    assert f"; tried as {told} (CDC_BRIDGE_DATABASE_URL){by_variable}\n" in output


async def test_role_without_rights_is_named_with_the_setting_that_named_it(example_database: Database) -> None:
    role = f"guest_{example_database.name}"
    example_database.execute(f"create role {role} login password 'of-a-guest'")
    try:
        known = variables(example_database, PGUSER=role, PGPASSWORD="of-a-guest")
        code, _, errors = await run_command("install", **known)
        assert code == 1
        assert f"This was role {role} (PGUSER), database {example_database.name} (PGDATABASE)" in errors
        assert f"\n            alter role {role} createrole;\n" in errors or "grant create on database" in errors
    finally:
        example_database.execute(f"drop role {role}")
