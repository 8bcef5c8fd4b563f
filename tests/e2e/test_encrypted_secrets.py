"""Secrets that are encrypted in the database: deliveries go on while keys change, and wait where one is missing."""

from __future__ import annotations

import json
import signal
from base64 import b64encode
from pathlib import Path

import pytest

from tests.e2e.test_endpoints_while_running import BOOKING, verifies
from tests.support.api import API_SETTINGS, ApiClient
from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import Receiver
from tests.support.waiting import until

FIRST, SECOND = (b64encode(letter * 32).decode() for letter in (b"1", b"2"))
KEY_FILE = "CDC_BRIDGE_SECRETS_KEY_FILE"
IN_PLAIN = "select count(*) from cdc_bridge.endpoint_secret where key_id is null"
KEYS = "select array_agg(distinct key_id) from cdc_bridge.endpoint_secret"
INVALID = "select count(*) from cdc_bridge.endpoint_status where name = %s and status = 'invalid'"


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


class KeyFile:
    """The file that daemons and commands have."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hold(self, *lines: str) -> None:
        self.path.write_text("".join(f"{line}\n" for line in lines))
        self.path.chmod(0o600)

    def expose(self) -> None:
        self.path.chmod(0o644)

    def remove(self) -> None:
        self.path.unlink()


@pytest.fixture
def key_file(tmp_path: Path, bridges: Bridges, endpoint: EndpointCommands) -> KeyFile:
    """It has the first key; and no endpoint is in the settings."""
    file = KeyFile(tmp_path / "secrets.key")
    file.hold(FIRST)
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT_")]:
        del bridges.settings[name]
    bridges.settings[KEY_FILE] = endpoint.settings[KEY_FILE] = str(file.path)
    return file


async def test_requests_have_secrets_that_stand_encrypted_and_a_change_of_keys_restarts_nothing(
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    endpoint: EndpointCommands,
    certificates: Certificates,
    key_file: KeyFile,
) -> None:
    bridge = await bridges.start()
    given = ("--ca-file", str(certificates.ca_file), "--header", "x-api-key: let-me-in")
    secret = (await endpoint.json("add", "till", f"{receiver.url}?token=of-the-url", *given))["secret"]
    await bridge.until_assigned("till")
    assigned = bridge.assignments()
    row = database.value("select e::text from cdc_bridge.endpoint e")
    assert [word for word in (secret, "let-me-in", "of-the-url") if word in row] == []

    async def deliver(number: int) -> None:
        database.execute(BOOKING, (f"R{number}",))
        request = (await receiver.wait_for_delivered(number))[-1]
        assert request.headers["x-api-key"] == "let-me-in"
        assert request.path.endswith("?token=of-the-url")
        assert verifies(request, secret)

    await deliver(1)
    key_file.hold(SECOND, FIRST)
    bridge.send(signal.SIGHUP)
    await bridge.wait_for_log("settings reloaded")
    assert "3, of 1 endpoints" in await endpoint.run("encrypt-secrets")
    assert "nothing to do" in await endpoint.run("encrypt-secrets")
    await deliver(2)
    key_file.hold(SECOND)
    bridge.send(signal.SIGHUP)
    await deliver(3)
    assert "3, of 1 endpoints" in await endpoint.run("encrypt-secrets", "--decrypt")
    assert database.value(IN_PLAIN) == 3
    await deliver(4)
    assert bridge.assignments() == assigned
    assert [word for word in (FIRST, SECOND, "let-me-in") if word in "".join(bridge.output) + endpoint.printed] == []


async def test_endpoint_whose_secrets_cannot_be_decrypted_waits_and_others_are_delivered_to(
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    endpoint: EndpointCommands,
    certificates: Certificates,
    key_file: KeyFile,
) -> None:
    key_file.hold(SECOND, FIRST)
    given = (receiver.url, "--ca-file", str(certificates.ca_file))
    await endpoint.run("add", "signed", *given)
    key_file.hold(FIRST)
    await endpoint.run("add", "other", *given)
    bridge = await bridges.start()
    await bridge.until_assigned("other")
    await until(lambda: database.value(INVALID, ("signed",)), "it is invalid")
    reason = (await endpoint.json("show", "signed"))["reason"]
    assert "secret is encrypted with key " in reason
    assert "which is not in secrets_key_file: add that key and restart the daemon, or set another value" in reason
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(1)
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert "1 with key " in output
    status = json.loads((await run_command("status", "--json", **bridges.settings))[1])
    assert [(check["name"], check["verdict"]) for check in status["secrets"]] == [("encryption", "failed")]

    key_file.hold(FIRST, SECOND)
    bridge.send(signal.SIGHUP)
    await bridge.until_assigned("signed")
    requests = await receiver.wait_for_delivered(2)
    assert [request.reservation_id for request in requests] == ["R", "R"]
    told = (await run_command("status", **bridges.settings))[1]
    assert "! encryption encrypted secrets of endpoints: 1 with key " in told
    assert "cdc-bridge endpoint encrypt-secrets" in told


async def test_daemon_that_has_the_key_delivers_where_another_has_not(
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    endpoint: EndpointCommands,
    certificates: Certificates,
    key_file: KeyFile,
) -> None:
    with_key = bridges.settings.pop(KEY_FILE)
    await bridges.start()
    await endpoint.run("add", "till", receiver.url, "--ca-file", str(certificates.ca_file))
    await until(lambda: database.value(INVALID, ("till",)), "it is invalid")
    assert "the setting secrets_key_file is not set" in (await endpoint.json("show", "till"))["reason"]
    database.execute(BOOKING, ("R",))
    bridge = await bridges.start(**{KEY_FILE: with_key})
    await bridge.until_assigned("till")
    await receiver.wait_for_delivered(1)
    assert (await endpoint.json("show", "till"))["status"] == "healthy"


async def test_check_and_status_warn_of_a_key_that_others_can_read(bridges: Bridges, key_file: KeyFile) -> None:
    key_file.expose()
    _, checked, _ = await run_command("check", **bridges.settings)
    _, told, _ = await run_command("status", **bridges.settings)
    for output in (checked, told):
        assert f"others than the owner can read {key_file.path} (secrets_key_file)" in " ".join(output.split())
    bridge = await bridges.start()
    warned = await bridge.wait_for_log("secret can be read by others")
    assert warned["file"] == f"{key_file.path} (secrets_key_file)"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file or directory"), ("x", "32 random bytes in base64 on line 1")],
)
async def test_daemon_does_not_start_with_a_file_that_is_none(
    content: str | None, words: str, bridges: Bridges, key_file: KeyFile
) -> None:
    if content is None:
        key_file.remove()
    else:
        key_file.hold(content)
    status = json.loads((await run_command("status", "--json", **bridges.settings))[1])
    assert status["secrets"] == []
    code, _, errors = await run_command("run", **bridges.settings)
    assert code == 78
    assert f"{KEY_FILE}: {key_file.path}" in " ".join(errors.split())
    assert words in " ".join(errors.split())
    code, output, _ = await run_command("check", **bridges.settings)
    assert code == 1
    assert words in " ".join(output.split())


async def test_reload_with_a_file_that_is_none_keeps_the_keys(
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    endpoint: EndpointCommands,
    certificates: Certificates,
    key_file: KeyFile,
) -> None:
    bridge = await bridges.start()
    await endpoint.run("add", "till", receiver.url, "--ca-file", str(certificates.ca_file))
    await bridge.until_assigned("till")
    key_file.hold()
    bridge.send(signal.SIGHUP)
    line = await bridge.wait_for_log("settings not reloaded")
    assert "has no key in it" in line["problem"]
    database.execute(BOOKING, ("R",))
    await receiver.wait_for_delivered(1)


async def test_api_encrypts_and_repeats_the_secret_of_a_request(
    database: Database, bridges: Bridges, page_port: int, key_file: KeyFile
) -> None:
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port), **API_SETTINGS)
    api = ApiClient(page_port)
    try:
        body = {"name": "till", "url": "https://till.example/", "headers": ["x-api-key: let-me-in"]}
        first, repeated = [await api.post("/endpoints", body, key="k") for _ in range(2)]
        assert repeated.text == first.text
        assert first.body["secret"].startswith("whsec_")
        await api.post("/endpoints/till/rotate-secret")
        assert (await api.post("/endpoints", body, key="k")).text == first.text
        key_file.hold(SECOND, FIRST)  # A change is written with the key that is the first now.
        assert (await api.patch("/endpoints/till", {"headers": ["x-api-key: new"]})).status == 200
    finally:
        await api.close()
    assert database.value(IN_PLAIN) == 0
    assert len(database.value(KEYS)) == 2


async def test_check_does_not_say_that_a_file_that_cannot_be_used_is_not_set(
    bridges: Bridges, endpoint: EndpointCommands, key_file: KeyFile
) -> None:
    await endpoint.run("add", "till", "https://nowhere.invalid/", "--header", "x-api-key: let-me-in")
    await endpoint.run("pause", "till")
    key_file.hold("x")
    _, output, _ = await run_command("check", **bridges.settings)
    assert "32 random bytes in base64 on line 1" in output
    assert "the keys in secrets_key_file cannot be used here" in output
    assert "is not set" not in output
