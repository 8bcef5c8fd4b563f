"""Each check by itself: every right that is granted is asked for, and no fault of the database ends the checking."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, tzinfo

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc_bridge.checks import environment as surroundings
from cdc_bridge.checks.mapping import check_mapping
from cdc_bridge.checks.preflight import require_ready
from cdc_bridge.checks.verdict import Verdict
from cdc_bridge.errors import InstallationError
from cdc_bridge.payload.subscription import EVERYTHING
from cdc_bridge.sessions import connect
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.receiver import Receiver

GRANTED = """
select table_name::text, lower(privilege_type)
from information_schema.role_table_grants
where grantee = 'cdc_bridge' and table_schema = 'cdc_bridge'
order by 1, 2
"""


async def failure_of(database: Database) -> InstallationError | None:
    async with await connect(database.bridge_url) as connection:
        try:
            await require_ready(connection)
        except InstallationError as error:
            return error
    return None


async def test_every_right_granted_is_asked_for_and_its_remedy_mends_it(database: Database) -> None:
    granted = database.execute(GRANTED)
    assert len(granted) == 36
    assert await failure_of(database) is None
    for table, right in granted:
        database.execute(f"revoke {right} on cdc_bridge.{table} from cdc_bridge")
        error = await failure_of(database)
        assert error is not None, f"{right} on {table} is not asked for"
        assert "role cdc_bridge may not" in error.problem
        assert f"cdc_bridge.{table}" in error.problem
        _, found, statements = error.remedy.partition("in psql: ")
        assert found
        database.execute(statements)
        assert await failure_of(database) is None, f"{statements} does not mend it"


async def test_all_missing_rights_are_told_at_once(database: Database) -> None:
    database.execute("revoke insert, update on cdc_bridge.delivery from cdc_bridge")
    error = await failure_of(database)
    assert error is not None
    assert "may not add to cdc_bridge.delivery, change cdc_bridge.delivery" in error.problem


@pytest.mark.parametrize("table", ["customers", "calls", "reservations"])
async def test_right_of_the_loader_is_tried(table: str, database: Database) -> None:
    database.execute(f"revoke select on {table} from cdc_bridge_loader")
    async with database.loading_connection() as connection:
        mapping = await check_mapping(connection, [EVERYTHING])
    assert mapping.verdict is Verdict.FAILED
    assert f"permission denied for table {table}" in mapping.detail
    database.execute(mapping.remedy.removeprefix("Run as a DBA: "))
    async with database.loading_connection() as connection:
        assert (await check_mapping(connection, [EVERYTHING])).verdict is Verdict.OK


async def test_json_tells_all_is_well(bridges: Bridges) -> None:
    code, output, errors = await run_command("check", "--json", **bridges.settings)
    assert (code, errors) == (0, "")
    output_json = json.loads(output)
    assert output_json["ok"] is True
    assert [check for check in output_json["checks"] if check["verdict"] != "ok"] == []


async def test_checks_that_cannot_run_are_named_in_the_same_order(
    database: Database, example_database: Database, bridges: Bridges
) -> None:
    async def names(url: str) -> list[str]:
        settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url}
        _, output, _ = await run_command("check", "--json", **settings)
        return [check["name"] for check in json.loads(output)["checks"] if not check["name"].startswith("reach ")]

    all_of_them = await names(database.bridge_url)
    assert await names(example_database.url) == all_of_them, "name it in _OF_THE_INSTALLATION in checks/preflight.py"
    assert await names(make_conninfo(database.bridge_url, port=1)) == all_of_them, "name it where there is no database"


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
    assert checks["capture"]["verdict"] == checks["wake-up"]["verdict"] == "ok"
    code, _, errors = await run_command("install", CDC_BRIDGE_DATABASE_URL=database.url)
    assert (code, errors) == (0, "")
    assert await failure_of(database) is None


async def test_roles_with_more_rights_than_needed_are_told_and_what_is_said_takes_them(
    bridges: Bridges, database: Database
) -> None:
    role = f"dba_{database.name}"
    database.execute(f"create role {role}; grant cdc_bridge_owner to {role}; grant pg_read_all_data to cdc_bridge")
    try:
        _, output, _ = await run_command("check", "--json", **bridges.settings)
        roles = {check["name"]: check for check in json.loads(output)["checks"]}["roles"]
        assert roles["verdict"] == "warning"
        assert "cdc_bridge has the privileges of pg_read_all_data" in roles["detail"]
        database.execute(roles["remedy"].partition("in psql: ")[2])
        _, output, _ = await run_command("check", "--json", **bridges.settings)
        roles = {check["name"]: check for check in json.loads(output)["checks"]}["roles"]
        assert roles["verdict"] == "ok"
        assert f"members of cdc_bridge_owner, who can read guest data and secrets: {role}" in roles["detail"]
    finally:
        database.execute(f"revoke pg_read_all_data from cdc_bridge; drop role {role}")


async def test_check_judges_the_role_that_logs_in(bridges: Bridges, database: Database) -> None:
    role = f"stranger_{database.name}"
    with_password = sql.SQL("create role {} login password 'of-a-stranger'").format(sql.Identifier(role))
    async with database.connection() as connection:
        await connection.execute(with_password)
        try:
            url = database.server.url_for(database.name, user=role, password="of-a-stranger")
            code, output, _ = await run_command("check", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
            await connection.execute(sql.SQL("grant cdc_bridge_reader to {}").format(sql.Identifier(role)))
            _, of_reader, _ = await run_command("check", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        finally:
            await connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert code == 1
    assert f"role {role} may not read cdc_bridge.schema_version" in output
    assert "Log in as role cdc_bridge" in output
    assert f"role {role} may not " in of_reader
    assert "-> Log in as role cdc_bridge.\n" in of_reader
    assert "Run in psql: grant" not in of_reader
    assert "PostgreSQL rejected the check" not in of_reader
    assert "repair the schema" not in of_reader


async def test_endpoint_that_cannot_be_reached_is_told_and_why(
    bridges: Bridges, receiver: Receiver, certificates: Certificates
) -> None:
    async def reach(**settings: str) -> tuple[str, str]:
        _, output, _ = await run_command("check", "--json", **bridges.settings | settings)
        check = {check["name"]: check for check in json.loads(output)["checks"]}["reach default"]
        return check["verdict"], check["detail"]

    verdict, detail = await reach()
    assert verdict == "ok"
    assert "certificate verified, valid until " in detail
    verdict, detail = await reach(CDC_BRIDGE_ENDPOINT_CA_FILE=str(certificates.other_ca_file))
    assert verdict == "failed"
    assert "certificate cannot be verified" in detail
    assert "name that CA's file: endpoint_ca_file in the settings (directly)" in detail
    verdict, detail = await reach(CDC_BRIDGE_ENDPOINT_URL="https://169.254.169.254/")
    assert verdict == "failed"
    assert "address not allowed" in detail
    verdict, detail = await reach(CDC_BRIDGE_ENDPOINT_URL="https://nowhere.invalid/")
    assert verdict == "failed"
    assert "nowhere.invalid cannot be resolved" in detail
    await receiver.stop()
    verdict, detail = await reach()
    assert verdict == "failed"
    assert "cannot connect to localhost:" in detail
    assert receiver.requests == []


async def test_certificate_that_ends_soon_is_a_warning(
    bridges: Bridges, receiver: Receiver, certificates: Certificates
) -> None:
    await receiver.stop()
    receiver.tls = certificates.ends_soon
    await receiver.start()
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    check = {check["name"]: check for check in json.loads(output)["checks"]}["reach default"]
    assert (code, check["verdict"]) == (0, "warning")
    assert "in 9 days" in check["detail"]


async def test_endpoint_of_the_database_is_reached_as_well(
    bridges: Bridges, receiver: Receiver, certificates: Certificates
) -> None:
    ca_file = str(certificates.ca_file)
    await run_command("endpoint", "add", "till", receiver.url, "--ca-file", ca_file, **bridges.settings)
    await run_command("endpoint", "add", "asleep", "https://nowhere.invalid/", **bridges.settings)
    await run_command("endpoint", "pause", "asleep", **bridges.settings)
    _, output, _ = await run_command("check", "--json", **bridges.settings)
    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert checks["reach till"]["verdict"] == "ok"
    assert "reach asleep" not in checks


@pytest.mark.parametrize(
    ("columns", "verdict", "detail"),
    [
        ("paused_at = now(), cluster = 1", "ok", "till (paused)"),
        ("cluster = 1", "failed", "till is invalid: this database was restored from a dump"),
        ("disabled_at = now(), paused_at = now()", "failed", "till is disabled: it responded with 410"),
        ("ca_file = '/nowhere/ca.pem'", "warning", "till cannot be checked here: "),
        ("ca_file = '/nowhere/ca.pem', paused_at = now()", "warning", "till cannot be checked here: "),
        ("ca_file = '/nowhere/ca.pem', daemon_id = null", "failed", "till cannot be used: "),
        ("daemon_id = null, problem = 'url is no URL'", "failed", "till is invalid: url is no URL"),
    ],
)
async def test_check_says_of_an_endpoint_what_the_view_says(
    bridges: Bridges, database: Database, columns: str, verdict: str, detail: str
) -> None:
    await run_command("endpoint", "add", "till", "https://nowhere.invalid/", **bridges.settings)
    database.execute(
        "insert into cdc_bridge.daemon (daemon_id, name, alive_until, listening) "
        "overriding system value values (4711, 'elsewhere:1', now() + interval '1 hour', true)"
    )
    database.execute("update cdc_bridge.endpoint set daemon_id = 4711")
    database.execute(f"update cdc_bridge.endpoint set {columns}")
    async with database.connection() as daemon:
        await daemon.execute("select pg_advisory_lock(52684, 4711)")
        _, output, _ = await run_command("check", "--json", **bridges.settings)
    check = {check["name"]: check for check in json.loads(output)["checks"]}["endpoints"]
    assert (check["verdict"], check["detail"][: len(detail)]) == (verdict, detail)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0.0, Verdict.OK), (30.0, Verdict.WARNING), (-30.0, Verdict.WARNING), (300.0, Verdict.FAILED)],
)
async def test_clocks_that_differ_are_told(
    seconds: float, verdict: Verdict, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Elsewhere:
            there = datetime.now(tz) - timedelta(seconds=seconds)
            return cls.fromtimestamp(there.timestamp(), tz)

    monkeypatch.setattr(surroundings, "datetime", Elsewhere)
    async with await connect(database.bridge_url) as connection:
        found = await surroundings.check_clock(connection)
    assert found.verdict is verdict
    if verdict is not Verdict.OK:
        assert f"is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's" in found.detail


async def check_named(name: str, **settings: str) -> dict[str, str]:
    _, output, _ = await run_command("check", "--json", **settings)
    checks: dict[str, dict[str, str]] = {check["name"]: check for check in json.loads(output)["checks"]}
    return checks[name]


async def test_superuser_is_warned_of(bridges: Bridges, database: Database) -> None:
    settings = bridges.settings | {"CDC_BRIDGE_DATABASE_URL": database.url}
    rights = await check_named("rights", **settings)
    assert rights["verdict"] == "warning"
    assert rights["detail"] == "role postgres is a superuser; the daemon should connect as cdc_bridge"
    assert "CDC_BRIDGE_DATABASE_URL" in rights["remedy"]
    assert (await check_named("rights", **bridges.settings))["verdict"] == "ok"


async def test_member_of_the_owner_is_warned_of(bridges: Bridges, database: Database) -> None:
    role = f"dba_{database.name}"
    database.execute(f"create role {role} login password 'of-a-dba'; grant cdc_bridge_owner, cdc_bridge to {role}")
    try:
        url = database.server.url_for(database.name, user=role, password="of-a-dba")
        rights = await check_named("rights", **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        assert (
            rights["detail"] == f"role {role} is a member of cdc_bridge_owner; the daemon should connect as cdc_bridge"
        )
    finally:
        database.execute(f"drop role {role}")


async def test_endpoint_without_capture_is_mended_where_capture_is(bridges: Bridges, database: Database) -> None:
    await (await bridges.start()).terminate()
    database.execute("select cdc_bridge.disable_capture()")
    endpoints = await check_named("endpoints", **bridges.settings)
    assert (endpoints["verdict"], endpoints["remedy"]) == ("failed", "See capture above.")
    database.execute("select cdc_bridge.enable_capture()")
    assert (await check_named("endpoints", **bridges.settings))["verdict"] == "ok"


async def test_endpoint_whose_payload_is_broken_is_mended_where_the_mapping_is(
    bridges: Bridges, database: Database
) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("alter table reservations rename column notes to remarks")
    await bridge.wait_for_log("endpoint invalid")
    await bridge.terminate()
    endpoints = await check_named("endpoints", **bridges.settings)
    assert (endpoints["verdict"], endpoints["remedy"]) == ("failed", "See mapping above.")
