"""Alerts, from the fault to what people receive: over HTTPS and by a command."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from cdc_bridge.demo.ports import free_port
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.http import figures, until_told
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

SECRET_PATH = "/services/T0/B0/s3cr3t-hook?auth=s3cr3t-too"
"""In each URL of a chat."""


@pytest.fixture(autouse=True)
def trusted(bridge_settings: dict[str, str], certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' CA is among the system's; health has to last for a second."""
    bridge_settings["SSL_CERT_FILE"] = str(certificates.ca_file)
    bridge_settings["CDC_BRIDGE_ALERT_AFTER_SECONDS"] = "1"


@pytest.fixture
def chat_url(other: Receiver) -> str:
    return other.url.replace("/reservations", SECRET_PATH)


def texts(chat: Receiver) -> list[str]:
    return [request.json["text"] for request in chat.requests]


async def until_texts(chat: Receiver, number: int) -> list[str]:
    await until(lambda: len(chat.delivered) >= number, f"{number} alerts have arrived")
    return texts(chat)


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert "s3cr3t" not in text


def switch_capture(database: Database, *, on: bool) -> None:
    database.execute(f"select cdc_bridge.{'enable' if on else 'disable'}_capture()")


async def test_red_is_posted_once_with_a_text_and_so_is_green(
    bridges: Bridges, database: Database, other: Receiver, chat_url: str
) -> None:
    bridge = await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url)
    await bridge.until_assigned()
    switch_capture(database, on=False)
    (red,) = await until_texts(other, 1)
    assert red.startswith(f"cdc-bridge {database.name} (")
    assert "is in trouble." in red
    assert "New and changed reservations are not noticed." in red
    assert "To do: Run as a DBA: select cdc_bridge.enable_capture()" in red
    (request,) = other.requests
    assert request.path == SECRET_PATH
    assert request.headers["content-type"] == "application/json"
    assert set(request.json) == {"text"}
    assert not [name for name in request.headers if name.lower().startswith(("ce-", "webhook-"))]
    switch_capture(database, on=True)
    _, green = await until_texts(other, 2)
    assert "works again." in green
    assert await bridge.terminate() == 0
    assert len(other.requests) == 2
    assert_no_secret(*bridge.output, *texts(other))


async def test_flapping_is_damped(bridges: Bridges, database: Database, other: Receiver, chat_url: str) -> None:
    bridge = await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url)
    await bridge.until_assigned()
    switch_capture(database, on=False)
    await until_texts(other, 1)
    switch_capture(database, on=True)
    await until_texts(other, 2)
    switch_capture(database, on=False)
    _, _, unstable = await until_texts(other, 3)
    assert "in trouble again and again" in unstable
    seen = len(bridge.log)
    for health in ("green", "red", "green", "red"):
        # Health is looked at every two seconds, so each of these lasts for longer than one.
        switch_capture(database, on=health == "green")
        await bridge.wait_for_log("health turned", since=seen, to=health)
        seen = len(bridge.log)
    await bridge.terminate()
    assert len(other.requests) == 3
    assert database.execute("select state, unsent from cdc_bridge.alert") == [("unstable", False)]


async def test_receiver_that_is_down_is_a_problem_that_is_shown_and_the_alert_arrives_once_it_is_back(
    bridges: Bridges, bridge_settings: dict[str, str], database: Database, other: Receiver, chat_url: str
) -> None:
    port = free_port()
    await other.stop()
    bridge = await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url, CDC_BRIDGE_WEB_PORT=str(port))
    await bridge.until_assigned()
    switch_capture(database, on=False)
    await bridge.wait_for_log("alert not sent", channel="alert_url", alert="red")
    await until_told(port, 503, "alerts: nobody is alerted: alert_url: cannot connect to localhost", "check --alert")
    assert (await figures(port))["cdc_bridge_problem", "alerts"] == 1
    await until(lambda: database.value("select problem from cdc_bridge.alert"), "the problem is noted")
    code, status, _ = await run_command("status", **bridge_settings)
    assert code == 0
    assert "alerts   not sent by " in status
    code, as_json, _ = await run_command("status", "--json", **bridge_settings)
    assert '"problem": "alert_url: cannot connect to localhost' in as_json
    await other.start()
    (red,) = await until_texts(other, 1)
    assert "is in trouble" in red
    switch_capture(database, on=True)
    await until_told(port, 200, "ready")
    await until(lambda: not database.value("select unsent from cdc_bridge.alert"), "that is noted")
    _, status, _ = await run_command("status", **bridge_settings)
    assert "alerts " not in status
    await bridge.terminate()
    assert_no_secret(*bridge.output, status, as_json, str(database.execute("select * from cdc_bridge.alert")))


async def test_rejected_alert_is_sent_again(
    bridges: Bridges, database: Database, other: Receiver, chat_url: str
) -> None:
    other.script = lambda _: Response(status=500 if len(other.requests) < 1 else 200)
    bridge = await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url)
    await bridge.until_assigned()
    switch_capture(database, on=False)
    await bridge.wait_for_log("alert sent")
    assert len(other.requests) == 2
    assert len(set(texts(other))) == 1


async def test_lost_database_is_reported_and_its_return_too(
    bridges: Bridges, database: Database, proxy: Proxy, other: Receiver, chat_url: str
) -> None:
    bridge = await bridges.start(
        CDC_BRIDGE_ALERT_URL=chat_url, CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url)
    )
    await bridge.until_assigned()
    await proxy.cut()
    (red,) = await until_texts(other, 1)
    assert "cannot reach the database" in red
    await proxy.start()
    _, green = await until_texts(other, 2)
    assert "works again" in green


async def test_of_two_daemons_one_alerts_and_the_other_goes_on_when_it_is_killed(
    bridges: Bridges, database: Database, other: Receiver, chat_url: str
) -> None:
    pair = [await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url, CDC_BRIDGE_LEASE_SECONDS="3") for _ in range(2)]
    await until(lambda: database.value("select count(*) from cdc_bridge.daemon") == 2, "both are registered")
    switch_capture(database, on=False)
    await until_texts(other, 1)
    for bridge in pair:
        await bridge.wait_for_log("capture broken")
    await until(lambda: not database.value("select unsent from cdc_bridge.alert"), "it is noted")
    sender = database.value("select reported_by from cdc_bridge.alert")
    (first,) = [bridge for bridge in pair if sender.endswith(f":{bridge.pid}")]
    (second,) = [bridge for bridge in pair if bridge is not first]
    await first.kill()
    await until(lambda: database.value("select count(*) from cdc_bridge.daemon") == 1, "only one is left")
    switch_capture(database, on=True)
    _, green = await until_texts(other, 2)
    assert f":{second.pid}) works again." in green
    await second.terminate()
    assert len(other.requests) == 2


async def test_alert_that_a_killed_daemon_could_not_send_is_sent_by_the_next_one(
    bridges: Bridges, database: Database, other: Receiver, chat_url: str
) -> None:
    await other.stop()
    bridge = await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url, CDC_BRIDGE_LEASE_SECONDS="3")
    await bridge.until_assigned()
    switch_capture(database, on=False)
    await bridge.wait_for_log("alert not sent")
    await bridge.kill()
    await other.start()
    await bridges.start(CDC_BRIDGE_ALERT_URL=chat_url, CDC_BRIDGE_LEASE_SECONDS="3")
    (red,) = await until_texts(other, 1)
    assert "is in trouble" in red


def script(folder: Path, code: str) -> str:
    file = folder / "alert.py"
    file.write_text(code, encoding="utf-8")
    return shlex.join([sys.executable, "-I", str(file)])


async def test_command_is_run_with_the_text_and_its_failure_is_shown(
    bridges: Bridges, bridge_settings: dict[str, str], database: Database, tmp_path: Path
) -> None:
    got, port = tmp_path / "got", free_port()
    command = script(
        tmp_path,
        f"""
import os, sys
with open({str(got)!r}, "a") as file:
    print(os.environ["ALERT_STATE"], sys.stdin.readline(), end="", file=file)
print(os.environ, "s3cr3t", {bridge_settings["CDC_BRIDGE_ENDPOINT_SECRET"]!r})
sys.exit(1 if os.environ["ALERT_STATE"] == "green" else 0)
""",
    )
    bridge = await bridges.start(CDC_BRIDGE_ALERT_COMMAND=command, CDC_BRIDGE_WEB_PORT=str(port))
    await bridge.until_assigned()
    switch_capture(database, on=False)
    await bridge.wait_for_log("alert sent", channel="alert_command", alert="red")
    switch_capture(database, on=True)
    await bridge.wait_for_log("alert not sent", channel="alert_command", alert="green", problem="exit code 1")
    await until_told(port, 503, "alerts: nobody is alerted: alert_command: exit code 1")
    await bridge.terminate()
    red, green, *_ = got.read_text().splitlines()
    assert red.startswith(f"red cdc-bridge {database.name} (")
    assert green.startswith("green cdc-bridge ")
    assert not any(bridge_settings["CDC_BRIDGE_ENDPOINT_SECRET"] in line for line in bridge.output)


async def test_hanging_command_delays_no_delivery_and_ends_with_the_daemon(
    bridges: Bridges, database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    command = script(
        tmp_path, f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    bridge = await bridges.start(CDC_BRIDGE_ALERT_COMMAND=command)
    await bridge.until_assigned()
    receiver.script = lambda _: Response(status=410)
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await until(lambda: pid_file.exists() and pid_file.read_text(), "the command runs")
    receiver.script = lambda _: Response()
    database.execute("update cdc_bridge.endpoint set disabled_at = null; notify cdc_bridge_endpoint")
    database.execute("insert into reservations (id, cust_id, reference) values ('S', 'C', 2)")
    await receiver.wait_for_delivered(2)
    pid = int(pid_file.read_text())
    os.kill(pid, 0)  # It runs.
    assert await bridge.terminate() == 0
    await until(lambda: not Path(f"/proc/{pid}").exists(), "the command has ended")


async def test_reload_changes_who_is_alerted(
    bridges: Bridges, database: Database, other: Receiver, chat_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    file.chmod(0o600)
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(file))
    await bridge.until_assigned()
    switch_capture(database, on=False)
    await bridge.wait_for_log("capture broken")
    file.write_text(f'alert_url = "{chat_url}"\n')
    bridge.send(signal.SIGHUP)
    await bridge.wait_for_log("settings reloaded", changed=["alert_url"])
    (red,) = await until_texts(other, 1)
    assert "is in trouble" in red


async def test_check_says_whether_alerts_can_be_sent_and_sends_a_test(
    bridge_settings: dict[str, str], other: Receiver, chat_url: str, tmp_path: Path
) -> None:
    settings = bridge_settings | {"CDC_BRIDGE_ALERT_URL": chat_url, "CDC_BRIDGE_ALERT_COMMAND": "/bin/cat"}
    _, found, _ = await run_command("check", **settings)
    assert "✓ alert_url" in found
    assert "/bin/cat can be executed" in found
    assert other.requests == []
    _, found, _ = await run_command("check", "--alert", **settings)
    assert found.count("the test alert was accepted") == 2
    (test,) = texts(other)
    assert "this is a test" in test
    other.script = lambda _: Response(status=404)
    code, found, errors = await run_command("check", "--alert", **settings)
    assert code == 1
    assert "✗ alert_url" in found
    assert "could not be sent: HTTP 404" in found
    assert_no_secret(found, errors)
    missing = settings | {"CDC_BRIDGE_ALERT_COMMAND": "/does/not/exist --x"}
    code, found, _ = await run_command("check", **missing)
    assert code == 1
    assert "/does/not/exist is not there" in found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("URL", "http://chat.example/s3cr3t", "has to begin with https://"),
        ("URL", "https://me:s3cr3t@chat.example/", "has a user name or password in it"),
        ("URL", "https://s3cr3t chat/", "has a space or a control character"),
        ("COMMAND", "mail 's3cr3t", "cannot be split into program and arguments: No closing quotation"),
        ("COMMAND", " ", "has no program in it"),
    ],
)
async def test_settings_of_alerts_that_cannot_be_used_are_named_without_their_value(
    name: str, value: str, words: str, bridge_settings: dict[str, str]
) -> None:
    code, output, errors = await run_command("check", **bridge_settings | {f"CDC_BRIDGE_ALERT_{name}": value})
    assert code == 78
    assert f"CDC_BRIDGE_ALERT_{name} {words}" in errors
    assert_no_secret(output, errors)


async def test_alert_is_never_posted_to_a_metadata_service(bridge_settings: dict[str, str]) -> None:
    settings = bridge_settings | {"CDC_BRIDGE_ALERT_URL": "https://169.254.169.254/latest"}
    code, found, _ = await run_command("check", "--alert", **settings)
    assert code == 1
    assert "address not allowed" in found
