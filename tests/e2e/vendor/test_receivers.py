"""The example receivers do all that a vendor is asked to: each is run as it is, against the real daemon and by hand."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cdc_bridge.endpoints.option_values import secret_key
from cdc_bridge.transport.message import Message, message_id
from cdc_bridge.vendor import contract
from cdc_bridge.vendor.contract import example
from tests.support.bridge import SECRET, Bridges, clean_environment, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload
from tests.support.waiting import PATIENCE_SECONDS, until

RECEIVERS = Path(contract.__file__).with_name("receivers")
PROGRAMS = ("python/receiver.py", "node/receiver.mjs")
OTHER_SECRET = "whsec_" + b64encode(b"another key, not the endpoint's.").decode()
MOST_LINES = 100
LARGEST_BODY_BYTES = 1024 * 1024
NPM_SECONDS = 60.0


@dataclass(frozen=True)
class Program:
    """How an example is run, in a folder of its own."""

    command: Sequence[str]
    folder: Path


@pytest.fixture(scope="session")
def python_program() -> Program:
    return Program((sys.executable, "receiver.py"), RECEIVERS / "python")


@pytest.fixture(scope="session")
def node_program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm on this machine")
    folder = tmp_path_factory.mktemp("node") / "receiver"
    shutil.copytree(RECEIVERS / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    try:
        installed = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--fetch-retries=0"],
            cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm does not get at its registry within {NPM_SECONDS:g} s")
    # A lock file at odds with package.json (EUSAGE) or with what is there (EINTEGRITY) is a fault of ours.
    if installed.returncode != 0 and not {"EUSAGE", "EINTEGRITY"} & set(installed.stderr.split()):
        pytest.skip(f"npm does not get at its registry: {installed.stderr.splitlines()[:1]}")
    assert installed.returncode == 0, installed.stderr
    return Program((node, "receiver.mjs"), folder)


class Vendor:
    """A vendor's receiver: its process, and the database it leaves."""

    def __init__(self, program: Program, folder: Path, certificates: Certificates) -> None:
        self._program = program
        self._certificates = certificates
        self._numbers = count(1)
        self._process: asyncio.subprocess.Process | None = None
        self.database = folder / "receiver.db"
        self._output = folder / "output"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"https://localhost:{self.port}/reservations"
        self.settings = {"CDC_BRIDGE_ENDPOINT_URL": self.url, "CDC_BRIDGE_ENDPOINT_SECRET": SECRET}

    async def start(self, *, tls: bool = True, secret: str = SECRET) -> None:
        """Start it, and wait until it listens."""
        settings = {"WEBHOOK_SECRET": secret, "PORT": str(self.port), "DATABASE": str(self.database)}
        if tls:
            settings["CERTIFICATE"] = str(self._certificates.server_certificate_file)
            settings["KEY"] = str(self._certificates.server_key_file)
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._program.command, cwd=self._program.folder,
                env=clean_environment(settings), stdout=output, stderr=output,
            )  # fmt: skip
        await until(self._listens, "the receiver listens")

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            pytest.fail(f"the receiver ended: {self.said}")
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    async def kill(self) -> None:
        """Kill it with SIGKILL, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def said(self) -> str:
        return self._output.read_text()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Look into its database."""
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(statement).fetchall()

    @property
    def taken(self) -> int:
        """How many reservations it has, worked off or not."""
        ((number,),) = self.rows("select count(*) from newest")
        return int(number)

    @property
    def bookings(self) -> dict[str, tuple[int, int]]:
        """What the till has: adults of each reservation, and how often it was given it."""
        return {row[0]: (row[1], row[2]) for row in self.rows("select id, adults, changes from booking")}

    async def has(self, **bookings: tuple[int, int]) -> None:
        """Wait until all that was taken was worked off, and assert that it came to this."""
        await self.is_idle()
        assert self.bookings == bookings

    async def is_idle(self) -> None:
        await until(lambda: self.rows("select count(*) from newest where body is not null") == [(0,)], "nothing waits")

    def message(self, reservation_id: str = "R1", number: int | None = None, **changes: Any) -> Message:
        """Return a call's message, as the daemon makes it."""
        body = json.dumps(example() | {"id": reservation_id} | changes).encode()
        number = next(self._numbers) if number is None else number
        return Message(
            id=message_id(number, body),
            type="reservation.updated",
            source="/cdc-bridge/tests",
            time=datetime.now(UTC),
            body=body,
            subject=reservation_id,
            sequence=number,
        )

    async def post(
        self,
        message: Message,
        *,
        headers: dict[str, str | None] | None = None,
        secrets: Sequence[str] = (SECRET,),
        age: timedelta = timedelta(),
    ) -> int:
        """Make a call by hand; return what it is answered with.

        Args:
            message: what is called.
            headers: others than those that belong to it; ``None`` leaves one out.
            secrets: what it is signed with.
            age: how long ago it was signed.
        """
        own = message.headers(datetime.now(UTC) - age, [secret_key(secret) for secret in secrets])
        changed = {name: value for name, value in (own | (headers or {})).items() if value is not None}
        trusted = ssl.create_default_context(cafile=self._certificates.ca_file)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS)) as session,
            session.post(self.url, data=io.BytesIO(message.body), headers=changed, ssl=trusted) as answer,
        ):
            return answer.status


@pytest.fixture(params=["python_program", "node_program"], ids=["python", "node"])
async def vendor(request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates) -> AsyncIterator[Vendor]:
    """A receiver that has started."""
    vendor = Vendor(request.getfixturevalue(request.param), tmp_path, certificates)
    await vendor.start()
    yield vendor
    await vendor.kill()
    print(vendor.said)  # Shown where a test fails.


def book(database: Database, *reservation_ids: str) -> None:
    database.execute("insert into customers (id) values ('C') on conflict do nothing")
    database.execute(
        "insert into reservations (id, cust_id, reference, adults) select unnest(%s::text[]), 'C', 1, 2",
        (list(reservation_ids),),
    )


async def test_bookings_made_and_changed_come_to_the_till_once(
    vendor: Vendor, database: Database, bridges: Bridges
) -> None:
    await bridges.start(**vendor.settings)
    book(database, *(f"R{number}" for number in range(20)))
    await until(lambda: len(vendor.bookings) == 20, "twenty bookings")
    database.execute("update reservations set adults = 7 where id = 'R3'")
    await until(lambda: vendor.bookings["R3"][0] == 7, "the change")
    await vendor.has(**{f"R{number}": (2, 1) for number in range(20)} | {"R3": (7, 2)})


async def test_column_that_the_vendor_does_not_know_does_no_harm(
    vendor: Vendor, database: Database, bridges: Bridges
) -> None:
    replace_in_payload(database, "\nfrom public.reservations r", ",\n  7 as seats\nfrom public.reservations r")
    await bridges.start(**vendor.settings)
    book(database, "R")
    await until(lambda: vendor.bookings == {"R": (2, 1)}, "the booking")


async def test_test_request_is_accepted_and_has_no_effect(vendor: Vendor, bridges: Bridges) -> None:
    for _ in range(2):
        code, output, _ = await run_command("endpoint", "test", "default", **bridges.settings | vendor.settings)
        assert (code, "HTTP 204" in output) == (0, True)
    assert vendor.rows("select * from newest") == vendor.rows("select * from booking") == []


async def test_bridge_with_another_secret_is_rejected_until_it_has_the_right_one(
    vendor: Vendor, database: Database, bridges: Bridges
) -> None:
    bridge = await bridges.start(**vendor.settings | {"CDC_BRIDGE_ENDPOINT_SECRET": OTHER_SECRET})
    book(database, "R")
    held = await bridge.wait_for_log("attempt failed", reservation_id="R")
    assert "401" in held["reason"]
    assert vendor.rows("select * from newest") == []
    assert await bridge.terminate() == 0
    await bridges.start(**vendor.settings)
    await until(lambda: vendor.bookings == {"R": (2, 1)}, "the booking")


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled_when_it_is_killed_while_receiving(
    vendor: Vendor, database: Database, bridges: Bridges
) -> None:
    await bridges.start(**vendor.settings)
    reservation_ids = [f"R{number}" for number in range(600)]
    book(database, *reservation_ids)
    kills_in_the_midst, taken = 0, 0
    while taken < len(reservation_ids) and kills_in_the_midst < 4:
        await until(lambda: vendor.taken > taken, "more requests")  # noqa: B023
        await vendor.kill()
        taken = vendor.taken
        kills_in_the_midst += taken < len(reservation_ids)
        await vendor.start()
    assert kills_in_the_midst > 0
    await until(lambda: len(vendor.bookings) == len(reservation_ids), "every booking")
    await vendor.has(**dict.fromkeys(reservation_ids, (2, 1)))


async def test_accepted_requests_are_processed_after_a_kill(vendor: Vendor) -> None:
    messages = [vendor.message(f"R{number}") for number in range(20)]
    assert {await vendor.post(message) for message in messages} == {204}
    await vendor.kill()
    await vendor.start()
    await vendor.has(**{f"R{number}": (2, 1) for number in range(20)})
    assert {await vendor.post(message) for message in messages} == {204}
    await vendor.has(**{f"R{number}": (2, 1) for number in range(20)})


@pytest.mark.slow
async def test_till_gets_nothing_twice_when_it_is_killed_while_working(vendor: Vendor) -> None:
    await vendor.kill()
    messages = [vendor.message(f"R{number}") for number in range(1000)]
    with closing(sqlite3.connect(vendor.database)) as database, database:
        database.executemany(
            "insert into newest values (?, ?, ?, ?, 0)",
            [(message.subject, f"{message.sequence:020d}", message.id, message.body.decode()) for message in messages],
        )
    kills_in_the_midst, given = 0, 0
    while given < len(messages) and kills_in_the_midst < 6:
        await vendor.start()
        await until(lambda: len(vendor.bookings) > given, "more work")  # noqa: B023
        await vendor.kill()
        given = len(vendor.bookings)
        kills_in_the_midst += given < len(messages)
    assert kills_in_the_midst > 0
    await vendor.start()
    await vendor.has(**{f"R{number}": (2, 1) for number in range(1000)})


async def test_duplicates_are_dropped(vendor: Vendor) -> None:
    message = vendor.message()
    assert await vendor.post(message) == 204
    await vendor.has(R1=(2, 1))
    assert await vendor.post(message, age=timedelta(seconds=-1)) == 204  # A retry is signed anew.
    assert await asyncio.gather(*(vendor.post(message) for _ in range(10))) == [204] * 10
    await vendor.has(R1=(2, 1))


async def test_older_changes_are_dropped(vendor: Vendor) -> None:
    older, newer, another = vendor.message(adults=3), vendor.message(adults=4), vendor.message("R2", 1, adults=5)
    for message in (newer, older, another, newer, older):
        assert await vendor.post(message) == 204
    await vendor.has(R1=(4, 1), R2=(5, 1))


async def test_sequences_are_compared_as_numbers(vendor: Vendor) -> None:
    for number, adults in ((9, 1), (10, 2), (2**53, 3), (2**53 + 1, 4), (99, 5)):
        assert await vendor.post(vendor.message(number=number, adults=adults)) == 204
    await vendor.is_idle()
    assert vendor.bookings["R1"][0] == 4


async def test_retry_with_newer_content_is_accepted(vendor: Vendor) -> None:
    for adults in (3, 4, 4):
        assert await vendor.post(vendor.message(number=5, adults=adults)) == 204
        await vendor.is_idle()
    await vendor.has(R1=(4, 2))


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda v, m: v.post(m, secrets=[OTHER_SECRET]), id="another-secret"),
        pytest.param(lambda v, m: v.post(m, secrets=[]), id="no-signature"),
        pytest.param(lambda v, m: v.post(m, age=timedelta(minutes=6)), id="old"),
        pytest.param(lambda v, m: v.post(m, age=timedelta(minutes=-6)), id="from-the-future"),
        pytest.param(lambda v, m: v.post(m, headers={"webhook-id": "2-0"}), id="another-id"),
        pytest.param(lambda v, m: v.post(m, headers={"webhook-id": None}), id="no-id"),
        pytest.param(lambda v, m: v.post(m, headers={"webhook-timestamp": "soon"}), id="no-time"),
        pytest.param(lambda v, m: v.post(m, headers={"webhook-timestamp": "nan"}), id="not-a-number"),
        pytest.param(lambda v, m: v.post(m, headers={"webhook-signature": "v1"}), id="half-a-signature"),
        pytest.param(lambda v, m: v.post(m, headers={"webhook-signature": "v1,?"}), id="not-base64"),
        pytest.param(lambda v, m: v.post(m, secrets=[OTHER_SECRET], headers={"ce-type": "cdc-bridge.test"}), id="test"),
        pytest.param(lambda v, m: v.post(replace(m, body=b"\xff"), secrets=[OTHER_SECRET]), id="not-utf-8"),
    ],
)
async def test_forged_or_old_request_is_rejected(vendor: Vendor, forge: Callable[[Vendor, Message], Any]) -> None:
    assert await forge(vendor, vendor.message()) == 401
    assert vendor.rows("select * from newest") == []
    assert "Rejected" in vendor.said
    assert "Graham" not in vendor.said


async def test_secret_is_changed_on_either_side_first(vendor: Vendor) -> None:
    both = [OTHER_SECRET, SECRET]  # So the bridge signs in the meantime.
    assert await vendor.post(vendor.message(adults=3), secrets=both) == 204
    await vendor.kill()
    await vendor.start(secret=OTHER_SECRET)
    assert await vendor.post(vendor.message(adults=4), secrets=both) == 204
    assert await vendor.post(vendor.message(adults=5), secrets=both[:1]) == 204
    assert await vendor.post(vendor.message(adults=6)) == 401
    await vendor.is_idle()
    assert vendor.bookings["R1"][0] == 5


async def test_body_is_accepted_up_to_a_limit(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message("TOO-LARGE", notes="x" * LARGEST_BODY_BYTES)) == 413
    assert await vendor.post(vendor.message("VAST", notes="x" * 20 * LARGEST_BODY_BYTES)) == 413
    assert await vendor.post(vendor.message("LARGE", notes="é" * (LARGEST_BODY_BYTES // 8))) == 204
    await vendor.has(LARGE=(2, 1))


@pytest.mark.parametrize("forged", [None, "99", "R2"])
async def test_unsigned_headers_decide_neither_reservation_nor_order(vendor: Vendor, forged: str | None) -> None:
    older, newer = vendor.message(adults=3), vendor.message(adults=4)
    for message in (newer, older):
        assert await vendor.post(message, headers={"ce-subject": forged, "ce-sequence": forged}) == 204
    await vendor.has(R1=(4, 1))


async def test_reservation_with_a_numeric_key_is_accepted(vendor: Vendor) -> None:
    message = vendor.message(id=920)
    assert await vendor.post(message) == await vendor.post(message) == 204
    await vendor.is_idle()
    assert vendor.rows("select id, body from newest") == [("920", None)]


async def test_request_of_an_unknown_type_is_dropped_and_one_without_a_type_fails(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message(), headers={"ce-type": "restaurant.opened"}) == 204
    assert await vendor.post(vendor.message(), headers={"ce-type": None}) == 500
    assert vendor.rows("select * from newest") == []


async def test_reservation_that_the_till_cannot_take_blocks_no_other(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message("BAD", adults=[{"cannot": "be"}])) == 204
    assert await vendor.post(vendor.message("GOOD")) == 204
    await until(lambda: vendor.bookings == {"GOOD": (2, 1)}, "the good one")
    assert "Retrying reservation BAD" in vendor.said
    assert await vendor.post(vendor.message("BAD", adults=3)) == 204  # What is newer is tried at once.
    await vendor.has(GOOD=(2, 1), BAD=(3, 1))


async def test_guests_data_is_kept_from_others_and_no_longer_than_needed(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message()) == 204
    await vendor.is_idle()
    assert vendor.database.stat().st_mode & 0o077 == 0
    assert vendor.rows("select id, body from newest") == [("R1", None)]


async def test_without_a_certificate_it_listens_on_this_machine_alone(vendor: Vendor) -> None:
    await vendor.kill()
    await vendor.start(tls=False)
    vendor.url = f"http://127.0.0.1:{vendor.port}/reservations"
    assert await vendor.post(vendor.message()) == 204
    await vendor.has(R1=(2, 1))
    with socket.socket() as trial:  # Another address of this machine; all of 127.0.0.0/8 is.
        assert trial.connect_ex(("127.0.0.2", vendor.port)) != 0


async def test_silent_client_blocks_no_other(vendor: Vendor) -> None:
    with closing(socket.create_connection(("127.0.0.1", vendor.port))):
        assert await vendor.post(vendor.message()) == 204


@pytest.mark.slow
async def test_caller_that_stops_halfway_is_not_waited_for_for_ever(vendor: Vendor) -> None:
    await vendor.kill()
    await vendor.start(tls=False)
    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(b"POST /reservations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await reader.readline()).split()[1] in {b"408", b"504"}
    writer.close()
    await writer.wait_closed()


async def test_it_does_all_that_conformance_asks(vendor: Vendor, certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    options = ["--secret-file", str(tmp_path / "secret"), "--ca-file", str(certificates.ca_file), "--yes"]
    code, output, _ = await run_command("conformance", vendor.url, *options)
    assert code == 0, output


def test_all_its_files_can_be_printed_or_written() -> None:
    files = {str(path.relative_to(RECEIVERS.parent)) for path in RECEIVERS.glob("*/*") if path.is_file()}
    assert {file for of_one in contract.RECEIVERS.values() for file in of_one} == files
    assert tuple(f"receivers/{program}" for program in PROGRAMS) == tuple(
        program for program, *_ in contract.RECEIVERS.values()
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_can_be_read_at_once(program: str) -> None:
    lines = (RECEIVERS / program).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= 120


def test_both_keep_alike() -> None:
    """Who knows one knows the other: tables, and the statement that drops what need not be taken."""
    python, node = (" ".join((RECEIVERS / program).read_text(encoding="utf-8").split()) for program in PROGRAMS)
    for begin, end in (("create table if not exists newest", "default 1)"), ("insert into newest", "webhook_id`")):
        shared = node[node.index(begin) : node.index(end, node.index(begin)) + len(end)].rstrip("`")
        assert shared in python


def test_lock_of_npm_has_hashes_and_names_no_registry() -> None:
    lock = json.loads((RECEIVERS / "node" / "package-lock.json").read_text(encoding="utf-8"))
    packages = [package for name, package in lock["packages"].items() if name]
    assert all(package["integrity"].startswith("sha512-") for package in packages)
    assert not [package for package in packages if "resolved" in package]
