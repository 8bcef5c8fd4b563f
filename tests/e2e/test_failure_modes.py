"""What can be wrong before or while the daemon runs: one clear message, the remedy, and the documented exit code."""

from __future__ import annotations

import json

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver

BOOKING = (
    "insert into customers (id) values ('C'); insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)


async def assert_refused(bridges: Bridges, *words: str, code: int = 1, check: str, **settings: str) -> None:
    """``run`` ends with a message that has these words, and ``check`` shows a cross at this check with the same."""
    environment = bridges.settings | settings
    run_code, _, errors = await run_command("run", **environment)
    assert run_code == code, errors
    message = " ".join(line for line in errors.splitlines() if not line.startswith("{"))
    assert [word for word in words if word not in " ".join(message.split())] == [], message
    assert "Traceback" not in errors
    check_code, output, _ = await run_command("check", "--json", **environment)
    assert check_code == 1
    (failed,) = (found for found in json.loads(output)["checks"] if found["name"] == check)
    assert failed["verdict"] == "failed"
    told = " ".join(f"{failed['detail']} {failed['remedy']}".split())
    assert [word for word in words if word not in told] == [], told


async def test_all_is_well(bridges: Bridges) -> None:
    code, output, errors = await run_command("check", **bridges.settings)
    assert (code, errors) == (0, "")
    names = (
        "cdc-bridge settings secrets database sessions server connections clock installation rights roles mapping "
        "capture encryption endpoints reach wake-up"
    )
    assert [line.split()[:2] for line in output.splitlines()] == [["✓", name] for name in names.split()]


async def test_wrong_settings_are_told_all_at_once(bridges: Bridges) -> None:
    wrong = {
        "CDC_BRIDGE_ENDPOINT_URL": "ftp://till.example",
        "CDC_BRIDGE_ENDPONT_HEADER": "x: y",
        "CDC_BRIDGE_BATCH_SIZE": "many",
        "CDC_BRIDGE_ENDPOINT_SECRET": "no-secret-at-all",
    }
    for command in ("run", "check"):
        code, output, errors = await run_command(command, **bridges.settings | wrong)
        assert (code, output) == (78, "")
        assert "CDC_BRIDGE_ENDPONT_HEADER is not a setting; did you mean CDC_BRIDGE_ENDPOINT_HEADER?" in errors
        assert "CDC_BRIDGE_BATCH_SIZE" in errors
        assert "CDC_BRIDGE_ENDPOINT_SECRET has to begin with whsec_" in errors
        assert "no-secret-at-all" not in errors
        assert "Traceback" not in errors


async def test_missing_settings_are_named(bridges: Bridges) -> None:
    code, _, errors = await run_command("run", CDC_BRIDGE_ENDPOINT_URL=bridges.settings["CDC_BRIDGE_ENDPOINT_URL"])
    assert code == 78
    assert "CDC_BRIDGE_DATABASE_URL is not set" in errors
    settings = {name: value for name, value in bridges.settings.items() if name != "CDC_BRIDGE_ENDPOINT_URL"}
    code, _, errors = await run_command("run", **settings)
    assert code == 78
    assert "CDC_BRIDGE_ENDPOINT_URL is not set" in errors


async def test_check_says_that_there_is_no_endpoint(bridges: Bridges) -> None:
    code, output, _ = await run_command("check", CDC_BRIDGE_DATABASE_URL=bridges.settings["CDC_BRIDGE_DATABASE_URL"])
    assert code == 1
    assert "✗ endpoints        there is no endpoint, so nothing is delivered" in output
    assert "cdc-bridge endpoint add" in output


async def test_daemon_without_an_endpoint_says_so_once(bridges: Bridges, database: Database) -> None:
    url = {"CDC_BRIDGE_DATABASE_URL": bridges.settings["CDC_BRIDGE_DATABASE_URL"]}
    bridge = Bridges(url, database).make()
    await bridge.start()
    line = await bridge.wait_for_log("no endpoint")
    assert (line["level"], line["problem"]) == ("warning", "there is no endpoint, so nothing is delivered")
    assert "cdc-bridge endpoint add" in line["remedy"]
    assert await bridge.terminate() == 0
    assert bridge.text.count("no endpoint, so nothing") == 1
    with_one = await bridges.start()
    await with_one.until_assigned()
    assert await with_one.terminate() == 0
    assert '"no endpoint"' not in with_one.text


async def test_daemon_says_that_it_was_uninstalled_under_it(bridges: Bridges, database: Database) -> None:
    bridge = await bridges.start()
    await bridge.until_assigned()
    code, output, _ = await run_command("uninstall", "--yes", CDC_BRIDGE_DATABASE_URL=database.url)
    assert code == 0
    assert f":{bridge.pid}): stop it first." in output
    assert await bridge.wait() == 1
    assert f"cdc-bridge was uninstalled from {database.name}" in bridge.text
    assert "Traceback" not in bridge.text


async def test_database_that_is_not_there(bridges: Bridges) -> None:
    url = "postgresql://cdc_bridge:top-secret-word@127.0.0.1:1/eres"
    await assert_refused(
        bridges, "cannot be reached", "CDC_BRIDGE_DATABASE_URL", check="database", CDC_BRIDGE_DATABASE_URL=url
    )


async def test_wrong_password_is_told_without_it(bridges: Bridges, database: Database) -> None:
    url = database.server.url_for(database.name, user="cdc_bridge", password="top-secret-word")
    await assert_refused(
        bridges, "it rejects the password of role cdc_bridge", check="database", CDC_BRIDGE_DATABASE_URL=url
    )
    for command in ("run", "check"):
        _, output, errors = await run_command(command, **bridges.settings | {"CDC_BRIDGE_DATABASE_URL": url})
        assert "top-secret-word" not in output + errors


async def test_database_without_the_sql_side(bridges: Bridges, example_database: Database) -> None:
    await assert_refused(
        bridges,
        "is not installed",
        "cdc-bridge install",
        check="installation",
        CDC_BRIDGE_DATABASE_URL=example_database.bridge_url,
    )


@pytest.mark.parametrize(
    ("version", "words"),
    [(0, ("older than version 1", "cdc-bridge install")), (3, ("newer than version 1", "Upgrade cdc-bridge"))],
)
async def test_another_schema_version(
    version: int, words: tuple[str, ...], bridges: Bridges, database: Database
) -> None:
    database.execute("update cdc_bridge.schema_version set version = %s", (version,))
    await assert_refused(bridges, *words, check="installation")


async def assert_mapping_fails(bridges: Bridges, *words: str) -> None:
    """``check`` shows a cross at the mapping, with these words. The daemon starts all the same, and says so."""
    code, output, _ = await run_command("check", "--json", **bridges.settings)
    (failed,) = (found for found in json.loads(output)["checks"] if found["verdict"] == "failed")
    told = " ".join(f"{failed['detail']} {failed['remedy']}".split())
    assert (code, failed["name"]) == (1, "mapping")
    assert [word for word in words if word not in told] == [], told
    bridge = await bridges.start()
    line = await bridge.wait_for_log("mapping broken")
    assert (line["problem"], line["remedy"]) == (failed["detail"], failed["remedy"])
    assert await bridge.terminate() == 0


async def test_payload_that_lacks_a_column(bridges: Bridges, database: Database) -> None:
    replace_in_payload(database, '  k.number as "call.number",\n', "")
    await assert_mapping_fails(bridges, "call.number is missing", "--mapping FILE")


async def test_payload_with_a_type_that_says_too_little(bridges: Bridges, database: Database) -> None:
    database.execute("alter table reservations alter column created type timestamp")
    await assert_mapping_fails(bridges, "created (timestamptz, now timestamp)", "Define it anew")


async def test_payload_that_is_gone(bridges: Bridges, database: Database) -> None:
    database.execute("select cdc_bridge.drop_payload('reservation')")
    await assert_mapping_fails(bridges, 'the payload "reservation" is not defined', "cdc-bridge install")


async def test_table_that_the_loader_may_not_read_any_more(bridges: Bridges, database: Database) -> None:
    database.execute("revoke select on customers from cdc_bridge_loader")
    await assert_mapping_fails(bridges, "permission denied for table customers", "to cdc_bridge_loader")


@pytest.mark.parametrize(
    ("right", "remedy"),
    [
        ("select on cdc_bridge.change", "grant select on cdc_bridge.change to cdc_bridge"),
        ("update on cdc_bridge.endpoint", "grant update on cdc_bridge.endpoint to cdc_bridge"),
        ("insert on cdc_bridge.delivery", "grant insert on cdc_bridge.delivery to cdc_bridge"),
        ("select on cdc_bridge.payload_definition", "grant select on cdc_bridge.payload_definition"),
        ("select on cdc_bridge.captured_table", "cdc_bridge.captured_table to cdc_bridge"),
        ("delete on cdc_bridge.idempotency_key", "delete on cdc_bridge.idempotency_key to cdc_bridge"),
        (
            "execute on function cdc_bridge.load_reservation(text[], bigint)",
            "grant execute on function cdc_bridge.load_reservation(text[],bigint) to cdc_bridge",
        ),
    ],
)
async def test_revoked_right(right: str, remedy: str, bridges: Bridges, database: Database) -> None:
    database.execute(f"revoke {right} from cdc_bridge")
    await assert_refused(bridges, "role cdc_bridge may not", remedy, check="rights")


async def test_revoked_use_of_the_schema(bridges: Bridges, database: Database) -> None:
    database.execute("revoke usage on schema cdc_bridge from cdc_bridge")
    await assert_refused(bridges, "grant usage on schema cdc_bridge to cdc_bridge", check="installation")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("select cdc_bridge.detach('reservations')", "not attached to any table"),
        ("alter table reservations disable trigger cdc_bridge_update", "enable trigger cdc_bridge_update"),
        ("drop trigger cdc_bridge_insert on reservations", "cdc_bridge_insert is missing on public.reservations"),
    ],
)
async def test_check_sees_capture_that_is_off(statement: str, words: str, bridges: Bridges, database: Database) -> None:
    database.execute(statement)
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert words in output
    assert "✗ capture" in output


async def test_several_faults_are_listed_at_once(bridges: Bridges, database: Database) -> None:
    database.execute("revoke insert on cdc_bridge.delivery from cdc_bridge; select cdc_bridge.detach('reservations')")
    settings = bridges.settings | {"CDC_BRIDGE_ENDPOINT_URL": "http://till.example"}
    code, output, _ = await run_command("check", **settings)
    assert code == 1
    assert [line.split()[1] for line in output.splitlines() if line.startswith("✗")] == [
        "settings",
        "rights",
        "capture",
    ]


async def test_doorbell_that_cannot_be_heard_means_polling_and_is_said(
    bridges: Bridges, database: Database, receiver: Receiver, proxy: Proxy
) -> None:
    proxy.drop_notifications = True
    settings = {"CDC_BRIDGE_DATABASE_URL": proxy.through(database.bridge_url)}
    code, output, _ = await run_command("check", **bridges.settings | settings)
    assert code == 0
    assert "! wake-up" in output
    assert "CDC_BRIDGE_WAKE=poll" in output
    bridge = await bridges.start(**settings)
    line = await bridge.wait_for_log("notifications not received, polling instead")
    assert "wake = poll" in line["remedy"]
    database.execute(BOOKING)
    await receiver.wait_for_delivered(1)


async def test_right_revoked_while_the_daemon_runs_ends_it_and_nothing_is_lost(
    bridges: Bridges, database: Database, receiver: Receiver
) -> None:
    bridge = await bridges.start()
    database.execute(BOOKING)
    await receiver.wait_for_delivered(1)
    database.execute("revoke select on cdc_bridge.change from cdc_bridge")
    database.execute("update reservations set adults = 8 where id = 'R'")
    assert await bridge.wait() == 1
    assert "permission denied for table change" in bridge.text
    assert "cdc-bridge check" in bridge.text
    assert "Traceback" not in bridge.text
    database.execute("grant select on cdc_bridge.change to cdc_bridge")
    await bridges.start()
    assert (await receiver.wait_for_delivered(2))[-1].json["adults"] == 8
