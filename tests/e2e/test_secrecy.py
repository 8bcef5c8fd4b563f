"""What the daemon writes while it works and fails holds no secret: neither its log nor the delivery log."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc_bridge.database import problem_of
from tests.support.bridge import SECRET, Bridges, run_command
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.payloads import replace_in_payload
from tests.support.receiver import Receiver
from tests.support.responses import Response

TOKEN = "an-unmistakable-token"


async def test_log_delivery_log_and_check_hold_no_secret(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    receiver.script = lambda _: Response(status=200 if receiver.requests else 422)
    settings = {
        "CDC_BRIDGE_ENDPOINT_HEADER": f"authorization: Bearer {TOKEN}",
        "CDC_BRIDGE_ENDPOINT_URL": f"{receiver.url}?token={TOKEN}",
    }
    bridge = await bridges.start(**settings)
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    (request,) = await receiver.wait_for_delivered(1)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.path.endswith(f"?token={TOKEN}")
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'cdc_bridge' "
        "and datname = current_database()"
    )
    database.execute("update reservations set adults = 3")
    await receiver.wait_for_delivered(2)
    assert await bridge.terminate() == 0
    _, checked, errors = await run_command("check", **bridges.settings | settings)
    delivery_log = database.value("select coalesce(string_agg(d::text, ' '), '') from cdc_bridge.delivery d")
    endpoint = database.value("select string_agg(e::text, ' ') from cdc_bridge.endpoint e")
    written = "".join(bridge.output) + checked + errors + delivery_log + endpoint
    assert "422" in written
    password = conninfo_to_dict(bridges.settings["CDC_BRIDGE_DATABASE_URL"])["password"]
    assert password == BRIDGE_PASSWORD
    assert [secret for secret in (TOKEN, SECRET, BRIDGE_PASSWORD) if secret in written] == []


async def test_secret_in_a_settings_file_that_others_read_is_told(
    database: Database, bridges: Bridges, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'endpoint_header = "x-api-key: {TOKEN}"\n')
    file.chmod(0o644)
    settings = {name: value for name, value in bridges.settings.items() if name != "CDC_BRIDGE_ENDPOINT_HEADER"}
    settings["CDC_BRIDGE_CONFIG"] = str(file)
    code, checked, _ = await run_command("check", **settings)
    assert code == 0
    (line,) = (line for line in checked.splitlines() if f"others than the owner can read {file}" in line)
    assert line.startswith("! secrets")
    assert "(endpoint_header)" in line
    assert f"-> Run: chmod g-r,o-r {file}. Who may have read them knows the secrets" in checked
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(file))
    warned = await bridge.wait_for_log("secret can be read by others")
    assert (warned["level"], warned["file"]) == ("warning", f"{file} (endpoint_header)")
    assert TOKEN not in checked + "".join(bridge.output)
    file.chmod(0o600)
    _, checked, _ = await run_command("check", **settings)
    assert "✓ secrets" in checked


async def test_guest_s_value_that_the_payload_cannot_cast_is_not_repeated(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    replace_in_payload(
        database, "r.adults,", "case when r.notes = '' then r.adults else r.notes::integer end as adults,"
    )
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start()
    # Beside one that can be loaded, so that it is known to be this one's own fault.
    database.execute(
        "insert into reservations (id, cust_id, reference, notes) values ('R', 'C', 1, 'Mrs Guest'), ('S', 'C', 2, '')"
    )
    line = await bridge.wait_for_log("delivery failed", reservation_id="R")
    assert "SQLSTATE 22P02" in line["reason"]
    assert await bridge.terminate() == 0
    code, output, errors = await run_command("payload", "R", **bridges.settings)
    assert code == 1
    assert 'invalid input syntax for type integer: "Mrs Guest"; SQLSTATE 22P02' in errors  # on the operator's terminal
    delivery_log = database.value("select string_agg(d::text, ' ') from cdc_bridge.delivery d")
    assert "Mrs Guest" not in "".join(bridge.output) + output + delivery_log


async def test_secret_of_a_row_that_a_check_refuses_is_not_repeated(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(psycopg.IntegrityError) as refused:
            await connection.execute(
                "insert into cdc_bridge.endpoint (name, in_settings, url, headers, secret, max_in_flight, latest_only, "
                "timeout_seconds, connect_timeout_seconds, position, cluster) "
                "values ('till', false, 'https://till', '{}', 'whsec_hidden', 0, false, 1, 1, '1:1:', 1)"
            )
    assert "whsec_hidden" in str(refused.value)
    assert "endpoint_max_in_flight_check" in problem_of(refused.value)
    assert "whsec_hidden" not in problem_of(refused.value)
