"""``receive``: what it prints is enough for the bridge; it verifies as a till should, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.bridge import Bridges, clean_environment, run_command
from tests.support.databases import Database
from tests.support.hostile import HOSTILE, raw_in
from tests.support.payloads import define_payload
from tests.support.receiver import Receiver
from tests.support.waiting import PATIENCE_SECONDS, until


class Receiving:
    """The command's process."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.lines: list[str] = []

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cdc_bridge", "receive", "--port", "0", *self._arguments,
            env=clean_environment({}) | {"PYTHONUNBUFFERED": "1"}, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        await until(lambda: any("Ctrl-C" in line for line in self.lines), "it says what the bridge has to be given")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await self.process.wait()
            await self._reading
        return code

    def told(self, name: str) -> str:
        (value,) = (line.removeprefix(name).strip() for line in self.lines if line.startswith(f"{name} "))
        return value

    @property
    def settings(self) -> dict[str, str]:
        return {
            "CDC_BRIDGE_ENDPOINT_URL": self.told("URL"),
            "CDC_BRIDGE_ENDPOINT_SECRET": self.told("secret"),
            "CDC_BRIDGE_ENDPOINT_CA_FILE": self.told("CA file"),
        }

    async def wait_for(self, *words: str) -> str:
        def found() -> str | None:
            return next((line for line in self.lines if all(word in line for word in words)), None)

        await until(lambda: found() is not None, f"a line with {words}")
        return found() or ""


Start = Callable[..., Awaitable[Receiving]]


@pytest.fixture
async def receive(request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    started: list[Receiving] = []

    async def start(*arguments: str) -> Receiving:
        receiving = Receiving(*arguments)
        started.append(receiving)
        await receiving.start()
        return receiving

    yield start
    for receiving in started:
        await receiving.stop()
        assert not any("Traceback" in line for line in receiving.lines)
    if request.node.get_closest_marker("departs_from_contract") is None:
        assert [line for receiving in started for line in receiving.lines if "schema" in line] == []


@pytest.fixture
async def plain_receiver() -> AsyncIterator[Receiver]:
    """A vendor's own server, without TLS."""
    plain = Receiver(None)
    await plain.start()
    yield plain
    await plain.stop()


def key(number: int) -> str:
    """Return a key in the form that e-Res's have."""
    return f"{number:032X}"


R = key(1)
CUSTOMER = key(99)


def book(database: Database, reservation_id: str, customer_id: str = CUSTOMER) -> None:
    database.execute("insert into customers (id) values (%s) on conflict do nothing", (customer_id,))
    database.execute(
        "insert into reservations (id, cust_id, reference) values (%s, %s, 1)", (reservation_id, customer_id)
    )


async def test_what_it_prints_is_enough_for_the_bridge(receive: Start, database: Database, bridges: Bridges) -> None:
    receiving = await receive()
    await bridges.start(**receiving.settings)
    book(database, R)
    line = await receiving.wait_for(f"reservation.created {R} #")
    assert " 204 " in line
    assert line.endswith(": signature valid")
    code, output, _ = await run_command("endpoint", "test", "default", **bridges.settings | receiving.settings)
    assert (code, "HTTP 204" in output) == (0, True)
    await receiving.wait_for("cdc-bridge.test", "signature valid; test request")
    assert await receiving.stop() == 0


@pytest.mark.departs_from_contract("no daemon sends such a request")
@pytest.mark.parametrize(
    "body", [json.dumps({"id": HOSTILE}, ensure_ascii=False).encode(), HOSTILE.encode(), b"\x1b[2J\xff"]
)
async def test_what_anybody_sends_is_printed_escaped(receive: Start, body: bytes) -> None:
    receiving = await receive("--pretty")
    url = urlsplit(receiving.told("URL"))
    tls = ssl.create_default_context(cafile=receiving.told("CA file"))
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=tls)
    planted = "\x9b2J\u202e\u200b".encode() + b"\xff\xed\xa0\x80"
    writer.write(
        b"POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
        + b"".join(b"%s: PWNED%s\r\n" % (name, planted) for name in (b"ce-type", b"ce-subject", b"ce-sequence"))
        + b"webhook-id: %s\r\nwebhook-timestamp: %s\r\nwebhook-signature: v1,%s\r\n\r\n" % (planted, planted, planted)
        + body
    )
    await reader.read()
    writer.transport.abort()
    await receiving.wait_for("PWNED")
    await receiving.stop()
    assert raw_in("\n".join(receiving.lines)) == set()


async def test_it_meets_every_requirement_of_conformance(receive: Start, tmp_path: Path) -> None:
    receiving = await receive()
    (tmp_path / "secret").write_text(receiving.told("secret"))
    options = ["--secret-file", str(tmp_path / "secret"), "--ca-file", receiving.told("CA file"), "--yes"]
    code, output, _ = await run_command("conformance", receiving.told("URL"), *options)
    assert code == 0, output
    await receiving.wait_for("401", "signature invalid")
    await receiving.wait_for("401", "signature missing")
    await receiving.wait_for("duplicate, to be dropped")
    await receiving.wait_for("older than", "to be dropped")


async def test_each_third_request_fails_and_is_retried(receive: Start, database: Database, bridges: Bridges) -> None:
    receiving = await receive("--fail", "422", "--every", "3")
    await bridges.start(**receiving.settings)
    for number in range(6):
        book(database, key(number))
        await receiving.wait_for(f" {key(number)} #")
    statuses = [line.split()[1] for line in receiving.lines if "reservation.created" in line][:6]
    assert statuses == ["204", "204", "422", "204", "204", "422"]
    await receiving.wait_for(" 204 ", "retry of a request that was not accepted, to be processed")


async def test_dropped_request_has_no_response(receive: Start, database: Database, bridges: Bridges) -> None:
    receiving = await receive("--drop")
    bridge = await bridges.start(**receiving.settings)
    book(database, R)
    await receiving.wait_for("no response", f" {R} #")
    held = await bridge.wait_for_log("attempt failed", reservation_id=R)
    assert held["reason"] == "the endpoint closed the connection without a response"


async def test_slow_responses_come_late(receive: Start, database: Database, bridges: Bridges) -> None:
    receiving = await receive("--slow", "300ms")
    bridge = await bridges.start(**receiving.settings)
    book(database, R)
    delivered = await bridge.wait_for_log("delivered", reservation_id=R)
    assert delivered["seconds"] >= 0.3


async def test_response_that_comes_too_late_is_reported_and_so_is_the_duplicate(
    receive: Start, database: Database, bridges: Bridges
) -> None:
    receiving = await receive("--slow", "600ms")
    await bridges.start(**receiving.settings | {"CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS": "0.3"})
    book(database, R)
    await receiving.wait_for(f" {R} #", "signature valid; too late: the client has disconnected")
    await receiving.wait_for("duplicate, to be dropped; too late")


async def test_requests_are_saved_and_printed(
    receive: Start, database: Database, bridges: Bridges, tmp_path: Path
) -> None:
    receiving = await receive("--save", str(tmp_path / "requests"), "--pretty")
    await bridges.start(**receiving.settings)
    book(database, R)
    await receiving.wait_for('  "reference": 1,')
    (file,) = (tmp_path / "requests").iterdir()
    head, _, body = file.read_bytes().partition(b"\r\n\r\n")
    assert b"webhook-signature: v1," in head
    assert json.loads(body)["id"] == R


@pytest.mark.departs_from_contract("its keys are not in e-Res's form")
@pytest.mark.parametrize("pretty", [False, True])
async def test_body_that_violates_the_schema_is_reported_with_the_violation(
    receive: Start, database: Database, bridges: Bridges, *, pretty: bool
) -> None:
    receiving = await receive(*["--pretty"] * pretty)
    await bridges.start(**receiving.settings)
    book(database, "R", "C")
    expected = 'fails pattern "^[0-9A-F]{32}$"'
    line = await receiving.wait_for(" R #")
    assert line.endswith(f"signature valid; violates the schema: $.customer.id {expected} (and 2 more)")
    if pretty:
        for where in ("$.customer.id", "$.id", "$.cust_id"):
            await receiving.wait_for(f"  {where} fails pattern ")


@pytest.mark.departs_from_contract("its payload is another one")
async def test_bodies_that_were_agreed_on_are_held_to_their_own_schema(
    receive: Start, database: Database, bridges: Bridges, tmp_path: Path
) -> None:
    define_payload(database, "select r.id, r.adults + r.children as covers, r.datetime from {reservation} r", "kitchen")
    code, schema, _ = await run_command("contract", "schema", "--payload", "kitchen", **bridges.settings)
    assert code == 0
    file, secret = tmp_path / "kitchen.schema.json", tmp_path / "secret"
    file.write_text(schema)
    receiving = await receive("--schema", str(file))
    await bridges.start(**receiving.settings | {"CDC_BRIDGE_ENDPOINT_PAYLOAD": "kitchen"})
    book(database, R)
    assert (await receiving.wait_for(f"reservation.created {R} #")).endswith(": signature valid")
    secret.write_text(receiving.told("secret"))
    options = ["--secret-file", str(secret), "--ca-file", receiving.told("CA file"), "--yes"]
    code, output, _ = await run_command("conformance", receiving.told("URL"), *options, "--schema", str(file))
    assert code == 0, output
    for key in ("notes", "customer", "call", "adults"):
        assert f"bodies have no {key}" in output
    assert [line for line in receiving.lines if "violates" in line] == []
    code, output, _ = await run_command("conformance", receiving.told("URL"), *options)
    assert code == 0, output
    await receiving.wait_for("violates the schema: $ lacks covers")


async def test_schema_that_is_none_is_told(bridges: Bridges, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    for text, told in [
        ("{", "is not JSON"),
        ("[]", 'has no property "id"'),
        ('{"properties": ["id"]}', 'has no property "id"'),
        ('{"properties": {"id": {"type": 7}}}', "is no JSON Schema: $.properties.id.type fails"),
    ]:
        file.write_text(text)
        code, _, errors = await run_command("receive", "--port", "0", "--schema", str(file))
        assert (code, told in errors) == (2, True), errors
    code, _, errors = await run_command("conformance", "https://localhost:1", "--yes", "--schema", f"{file}.not")
    assert (code, "cannot be read: No such file" in errors) == (2, True)
    code, _, errors = await run_command("contract", "schema", "--payload", "kitchn", **bridges.settings)
    assert (code, "the mapping defines no such payload" in errors, "There are: reservation" in errors) == (
        2,
        True,
        True,
    )


async def test_valid_requests_are_forwarded_unchanged(
    receive: Start, database: Database, bridges: Bridges, plain_receiver: Receiver
) -> None:
    receiving = await receive("--forward-to", plain_receiver.url)
    await bridges.start(**receiving.settings)
    book(database, R)
    (call,) = await plain_receiver.wait_for_delivered(1)
    assert call.reservation_id == R
    assert call.headers["webhook-signature"].startswith("v1,")
    await receiving.wait_for(f"reservation.created {R} #")


async def test_request_that_cannot_be_forwarded_is_reported_with_the_reason(
    receive: Start, database: Database, bridges: Bridges
) -> None:
    receiving = await receive("--forward-to", "http://localhost:9/reservations")
    await bridges.start(**receiving.settings)
    book(database, R)
    await receiving.wait_for(" 502 ", "signature valid; not forwarded: Cannot connect to host localhost:9")


async def test_secret_and_certificate_are_kept_for_the_next_time(receive: Start, tmp_path: Path) -> None:
    first = await receive("--keep", str(tmp_path / "kept"))
    await first.stop()
    second = await receive("--keep", str(tmp_path / "kept"))
    assert second.told("secret") == first.told("secret")
    assert (tmp_path / "kept" / "secret").stat().st_mode & 0o077 == 0
    assert (tmp_path / "kept" / "server.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key", "secret"])
@pytest.mark.parametrize("content", [None, "precious"])
async def test_link_planted_in_the_folder_is_not_followed(name: str, content: str | None, tmp_path: Path) -> None:
    kept, target = tmp_path / "kept", tmp_path / "target"
    kept.mkdir(mode=0o700)
    if content is not None:
        target.write_text(content)
    (kept / name).symlink_to(target)
    code, output, errors = await run_command("receive", "--port", "0", "--keep", str(kept))
    assert (code, output) == (1, "")
    assert f"{kept / name} cannot be used: it is a symbolic link" in errors
    assert target.exists() == (content is not None)
    assert content is None or target.read_text() == content
    assert [path.name for path in kept.iterdir()] == [name]


@pytest.mark.parametrize("flag", ["--keep", "--save"])
async def test_folder_that_is_a_link_or_open_to_others_is_not_used(flag: str, tmp_path: Path) -> None:
    target, link, shared = tmp_path / "target", tmp_path / "link", tmp_path / "shared"
    target.mkdir(mode=0o700)
    link.symlink_to(target)
    shared.mkdir()
    shared.chmod(0o777)
    for folder, words in ((link, "it is a symbolic link"), (shared, "others may write to it")):
        code, _, errors = await run_command("receive", "--port", "0", flag, str(folder))
        assert code == 1
        assert words in errors
    assert list(target.iterdir()) + list(shared.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022])
async def test_saved_files_are_for_their_owner_only_and_follow_no_link(
    receive: Start, database: Database, bridges: Bridges, tmp_path: Path, umask: int
) -> None:
    saved, precious = tmp_path / "saved", tmp_path / "precious"
    saved.mkdir(mode=0o700)
    precious.write_text("precious")
    (saved / "000001.http").symlink_to(precious)
    before = os.umask(umask)
    try:
        receiving = await receive("--save", str(saved), "--keep", str(tmp_path / "kept"))
    finally:
        os.umask(before)
    await bridges.start(**receiving.settings)
    book(database, R)
    await receiving.wait_for(f" {R} #", "not saved", "it is a symbolic link")
    book(database, key(2))
    await receiving.wait_for(f" {key(2)} #", "signature valid")
    assert precious.read_text() == "precious"
    assert stat.S_IMODE((saved / "000002.http").stat().st_mode) == 0o600
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kept").iterdir()}
    assert modes == {"ca.pem": 0o644, "server.pem": 0o644, "server.key": 0o600, "secret": 0o600}
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700


async def test_secret_that_others_could_read_is_theirs_no_more(receive: Start, tmp_path: Path) -> None:
    await (await receive("--keep", str(tmp_path / "kept"))).stop()
    (tmp_path / "kept" / "secret").chmod(0o644)
    await receive("--keep", str(tmp_path / "kept"))
    assert stat.S_IMODE((tmp_path / "kept" / "secret").stat().st_mode) == 0o600


async def test_keys_of_connections_are_written_nowhere(
    receive: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    receiving = await receive()
    (tmp_path / "secret").write_text(receiving.told("secret"))
    conformance = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", "conformance", receiving.told("URL"), "--yes",
        "--secret-file", str(tmp_path / "secret"), "--ca-file", receiving.told("CA file"),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await conformance.wait() == 0
    await receiving.wait_for("signature valid")
    assert not log.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slow", "soon"], "not a time such as 5s"),
        (["--secret-file", "/not/there"], "--secret-file /not/there cannot be read"),
        (["--secret-file", "/not/there"], "openssl rand -base64 32"),
        (["--secret-file", os.devnull], "openssl rand -base64 32"),
        (["--secret-file", __file__], "openssl rand -base64 32"),
        (["--fail", "99"], "--fail"),
        (["--forward-to", "localhost:8080"], "is not a URL such as http://"),
        (["--port", "1", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1:1: Can"),
    ],
)
async def test_what_cannot_be_used_is_said(arguments: list[str], words: str) -> None:
    code, _, errors = await run_command("receive", *arguments)
    assert code in {1, 2}
    assert words in errors
    assert "Traceback" not in errors
