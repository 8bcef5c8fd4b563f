"""Secrets that the vendor made, and rotation in the settings: what receivers verify, and what is rejected."""

from __future__ import annotations

import asyncio
import signal
from base64 import b64encode
from pathlib import Path

import pytest

from tests.e2e.test_endpoints_while_running import verifies
from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import ReceivedRequest, Receiver

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SECRETS = "select secret, previous_secret from cdc_bridge.endpoint"
URL = "https://till.example/reservations"
FIRST, SECOND = ("whsec_" + b64encode(letter * 32).decode() for letter in (b"1", b"2"))


@pytest.fixture(autouse=True)
def customer(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{FIRST}\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def exposed_file(secret_file: Path) -> Path:
    """The same file, readable by every user of the machine."""
    secret_file.chmod(0o644)
    return secret_file


def verified_by(request: ReceivedRequest) -> set[str]:
    """Return those of the two secrets that verify a request."""
    return {secret for secret in (FIRST, SECOND) if verifies(request, secret)}


def without_endpoint(bridges: Bridges) -> None:
    for name in [name for name in bridges.settings if name.startswith("CDC_BRIDGE_ENDPOINT_")]:
        del bridges.settings[name]


async def test_endpoint_is_added_and_rotated_with_secrets_of_the_vendor(
    database: Database,
    bridges: Bridges,
    receiver: Receiver,
    endpoint: EndpointCommands,
    certificates: Certificates,
    secret_file: Path,
) -> None:
    without_endpoint(bridges)
    bridge = await bridges.start()
    given = ("--ca-file", str(certificates.ca_file), "--secret-file", str(secret_file))
    assert (await endpoint.json("add", "till", receiver.url, *given))["secret"] is None
    await bridge.until_assigned()
    database.execute(BOOKING, ("BEFORE",))
    (request,) = await receiver.wait_for_delivered(1)
    assert verified_by(request) == {FIRST}

    before = bridge.assignments()
    told = await endpoint.run("rotate-secret", "till", "--secret-file", "-", standard_input=SECOND.encode())
    assert "signed with the secret given, and with the previous one until" in told
    await bridge.until_assigned("till", after=before)
    database.execute(BOOKING, ("DURING",))
    request = (await receiver.wait_for_delivered(2))[1]
    assert request.headers["webhook-signature"].count("v1,") == 2
    assert verified_by(request) == {FIRST, SECOND}

    before = bridge.assignments()
    rotated = await endpoint.json("rotate-secret", "till", "--now", "--keep-old-hours", "0", *given[2:])
    assert rotated == {"name": "till", "secret": None, "old_until": None}
    await bridge.until_assigned("till", after=before)
    database.execute(BOOKING, ("AFTERWARDS",))
    assert verified_by((await receiver.wait_for_delivered(3))[2]) == {FIRST}
    assert [secret for secret in (FIRST, SECOND) if secret in endpoint.printed + "".join(bridge.output)] == []


async def test_url_of_another_server_takes_a_secret_of_its_vendor(
    database: Database, endpoint: EndpointCommands, secret_file: Path
) -> None:
    await endpoint.run("add", "till", URL)
    given = ("--url", "https://other.example/", "--secret-file", str(secret_file))
    told = await endpoint.refused("set", "till", "--new-secret", *given, code=2)
    assert "--new-secret and --secret-file exclude each other" in told
    assert "--secret-file needs --url" in await endpoint.refused("set", "till", *given[2:], "--header", "", code=2)
    await endpoint.run("set", "till", *given)
    assert database.execute(SECRETS) == [(FIRST, None)]
    assert FIRST not in endpoint.printed


async def test_secret_that_cannot_be_used_changes_nothing_and_is_not_repeated(
    database: Database, endpoint: EndpointCommands, secret_file: Path
) -> None:
    given = ("--secret-file", str(secret_file))
    told = await endpoint.refused("add", "till", URL, "--unsigned", *given, code=2)
    assert "--unsigned and --secret-file exclude each other" in told
    await endpoint.run("add", "till", URL, *given)
    told = await endpoint.refused("rotate-secret", "till", *given, code=2)
    assert "requests are signed with this secret already" in told
    short = "whsec_" + b64encode(b"s" * 16).decode()
    for content, words in (
        ("", "has to hold one line, not 0"),
        (f"{SECOND}\n{SECOND}\n", "has to hold one line, not 2"),
        (SECOND.removeprefix("whsec_"), "has to begin with whsec_"),
        (short, "has to hold 24 to 64 bytes, not 16"),
    ):
        for arguments in (("add", "other", URL), ("rotate-secret", "till"), ("set", "till", "--url", URL)):
            told = await endpoint.refused(*arguments, "--secret-file", "-", code=2, standard_input=content.encode())
            assert words in told, arguments
    assert database.execute(SECRETS) == [(FIRST, None)]
    secrets = (FIRST, SECOND, short)
    assert [secret for secret in secrets if secret.removeprefix("whsec_") in endpoint.printed] == []


async def test_secret_file_that_everybody_reads_is_warned_of(endpoint: EndpointCommands, exposed_file: Path) -> None:
    told = " ".join((await endpoint.run("add", "till", URL, "--secret-file", str(exposed_file))).split())
    assert f"warning: --secret-file: every user of this machine can read {exposed_file}" in told
    given = ("--secret-file", "-")
    assert "warning" not in await endpoint.run("add", "other", URL, *given, standard_input=SECOND.encode())


async def test_secret_of_the_settings_is_rotated_by_reloads_and_every_change_is_delivered(
    database: Database, bridges: Bridges, receiver: Receiver, tmp_path: Path
) -> None:
    config, stages = tmp_path / "config.toml", ((FIRST,), (SECOND, FIRST), (SECOND,))
    del bridges.settings["CDC_BRIDGE_ENDPOINT_SECRET"]

    def configure(secrets: tuple[str, ...]) -> None:
        names = ("endpoint_secret", "endpoint_previous_secret")
        config.write_text("".join(f'{name} = "{secret}"\n' for name, secret in zip(names, secrets, strict=False)))

    configure(stages[0])
    bridge = await bridges.start(CDC_BRIDGE_CONFIG=str(config))
    await bridge.until_assigned()
    booked: list[str] = []

    async def book() -> None:
        while True:
            booked.append(f"R{len(booked)}")
            database.execute(BOOKING, (booked[-1],))
            await asyncio.sleep(0.02)

    booking = asyncio.create_task(book())
    try:
        await receiver.wait_for_delivered(5)
        for secrets in stages[1:]:
            before = bridge.assignments()
            configure(secrets)
            bridge.send(signal.SIGHUP)
            await bridge.until_assigned(after=before)
            so_far = len(receiver.delivered)
            await receiver.wait_for_delivered(so_far + 5)
            assert verified_by(receiver.delivered[-1]) == set(secrets)
    finally:
        booking.cancel()
    await receiver.wait_for(
        lambda: {request.reservation_id for request in receiver.delivered} == set(booked), "every reservation"
    )
    # At any time, whoever has the old secret or the new one verifies what is sent while both are set.
    signed_with = {frozenset(verified_by(request)) for request in receiver.delivered}
    assert signed_with == {frozenset(secrets) for secrets in stages}
    assert [secret for secret in (FIRST, SECOND) if secret in "".join(bridge.output)] == []
