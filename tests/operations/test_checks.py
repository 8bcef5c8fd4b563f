"""Each check by itself: every right that is granted is asked for, and no fault of the database ends the checking."""

from __future__ import annotations

import json

import pytest
from psycopg import sql

from cdc_bridge.database import connect
from cdc_bridge.errors import InstallationError
from cdc_bridge.operations.checks.preflight import require_ready
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database

GRANTED = """
select table_name::text, lower(privilege_type)
from information_schema.role_table_grants
where grantee = 'cdc_bridge' and table_schema = 'cdc_bridge'
order by 1, 2
"""


async def refusal(database: Database) -> InstallationError | None:
    async with await connect(database.bridge_url) as connection:
        try:
            await require_ready(connection)
        except InstallationError as error:
            return error
    return None


async def test_every_right_granted_is_asked_for_and_its_remedy_mends_it(database: Database) -> None:
    granted = database.execute(GRANTED)
    assert len(granted) == 10
    assert await refusal(database) is None
    for table, right in granted:
        database.execute(f"revoke {right} on cdc_bridge.{table} from cdc_bridge")
        error = await refusal(database)
        assert error is not None, f"{right} on {table} is not asked for"
        assert "role cdc_bridge may not" in error.problem
        assert f"cdc_bridge.{table}" in error.problem
        _, found, statements = error.remedy.partition("in psql: ")
        assert found
        database.execute(statements)
        assert await refusal(database) is None, f"{statements} does not mend it"


async def test_all_missing_rights_are_told_at_once(database: Database) -> None:
    database.execute("revoke insert, update on cdc_bridge.delivery from cdc_bridge")
    error = await refusal(database)
    assert error is not None
    assert "may not add to cdc_bridge.delivery, change cdc_bridge.delivery" in error.problem


@pytest.mark.parametrize("table", ["customers", "calls", "reservations"])
async def test_right_of_the_views_owner_is_tried(table: str, database: Database) -> None:
    database.execute(f"revoke select on {table} from cdc_bridge_owner")
    error = await refusal(database)
    assert error is not None
    assert f"permission denied for table {table}" in error.problem
    assert "to cdc_bridge_owner" in error.remedy


async def test_json_tells_all_is_well(bridges: Bridges) -> None:
    code, output, errors = await run_command("check", "--json", **bridges.settings)
    assert (code, errors) == (0, "")
    told = json.loads(output)
    assert told["ok"] is True
    assert {check["verdict"] for check in told["checks"]} == {"ok"}


@pytest.mark.parametrize("table", ["change", "delivery", "endpoint"])
async def test_table_that_is_gone_is_a_cross_and_the_checking_goes_on(
    table: str, bridges: Bridges, database: Database
) -> None:
    database.execute(f"drop table cdc_bridge.{table} cascade")
    run_code, _, errors = await run_command("run", **bridges.settings)
    assert run_code == 1
    assert f'relation "cdc_bridge.{table}" does not exist' in errors
    assert "cdc-bridge check" in errors
    assert "Traceback" not in errors
    code, output, errors = await run_command("check", "--json", **bridges.settings)
    assert (code, errors) == (1, "")
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert checks["rights"]["verdict"] == "failed"
    assert f'relation "cdc_bridge.{table}" does not exist' in checks["rights"]["detail"]
    assert "cdc-bridge install" in checks["rights"]["remedy"]
    assert checks["capture"]["verdict"] == checks["doorbell"]["verdict"] == "ok"
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, errors) == (0, "")
    assert await refusal(database) is None


async def test_roles_with_more_rights_than_needed_are_told_and_what_is_said_takes_them(
    bridges: Bridges, database: Database
) -> None:
    role = f"dba_{database.name}"
    database.execute(f"create role {role}; grant cdc_bridge_owner to {role}; grant pg_read_all_data to cdc_bridge")
    try:
        _, output, _ = await run_command("check", "--json", **bridges.settings)
        roles = {check["name"]: check for check in json.loads(output)["checks"]}["roles"]
        assert roles["verdict"] == "warning"
        assert "cdc_bridge has the rights of pg_read_all_data" in roles["detail"]
        database.execute(roles["remedy"].partition("in psql: ")[2])
        _, output, _ = await run_command("check", "--json", **bridges.settings)
        roles = {check["name"]: check for check in json.loads(output)["checks"]}["roles"]
        assert roles["verdict"] == "ok"
        assert f"members of cdc_bridge_owner, who may see guests' data and secrets: {role}" in roles["detail"]
    finally:
        database.execute(f"revoke pg_read_all_data from cdc_bridge; drop role {role}")


async def test_database_that_does_not_exist_is_said(bridges: Bridges, database: Database) -> None:
    url = database.bridge_url.replace(database.name, "not_there")
    for command in ("run", "check"):
        code, output, errors = await run_command(command, **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        assert code == 1
        assert 'database "not_there" does not exist' in output + errors
        assert "CDC_BRIDGE_DATABASE_URL is right" in output + errors
        assert "Traceback" not in output + errors


async def test_check_judges_the_role_that_logs_in(bridges: Bridges, database: Database) -> None:
    role = f"stranger_{database.name}"
    with_password = sql.SQL("create role {} login password 'of-a-stranger'").format(sql.Identifier(role))
    async with database.connection() as connection:
        await connection.execute(with_password)
        try:
            url = database.server.url_for(database.name, user=role, password="of-a-stranger")
            code, output, _ = await run_command("check", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        finally:
            await connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert code == 1
    assert f"role {role} may not read cdc_bridge.schema_version" in output
    assert "Log in as role cdc_bridge" in output
