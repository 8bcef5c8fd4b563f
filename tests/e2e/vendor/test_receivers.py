"""The example receivers do all that a vendor is asked to: each is run as it is, against the real daemon and by hand."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cdc_bridge.demo.ports import free_port
from cdc_bridge.endpoints.option_values import secret_key
from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.transport.message import Message, message_id
from cdc_bridge.vendor import contract
from cdc_bridge.vendor.contract import example
from tests.bench.receiver import nginx_program
from tests.e2e.vendor.programs import FILES, JournalStore, Kept, Program, program
from tests.support.bridge import SECRET, Bridges, clean_environment, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload
from tests.support.tls_front import TlsFront
from tests.support.waiting import PATIENCE_SECONDS, until

OTHER_SECRET = "whsec_" + b64encode(b"another key, not the endpoint's.").decode()
MOST_LINES = {"python": 125, "node": 130, "php": 125, "java": 200, "csharp": 200}
"""Java and C# bring less: no database, and no convenient way to read JSON."""

NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificates.server_certificate_file};
    ssl_certificate_key {certificates.server_key_file};
    {location}
  }}
}}
"""
ALLOWED_BODY_BYTES = 2 * 1024 * 1024


class Vendor:
    """A vendor's receiver: its processes, and what it keeps on disk."""

    def __init__(self, program: Program, folder: Path, certificates: Certificates, port: int, front_port: int) -> None:
        self._program = program
        self._certificates = certificates
        self._numbers = count(1)
        self._processes: list[asyncio.subprocess.Process] = []
        self.file = folder / "receiver.store"
        self.store = program.store(self.file)
        self._output = folder / "output"
        self.port = port
        self.url = f"https://localhost:{port if program.serves_tls else front_port}/reservations"
        self.settings = {"CDC_BRIDGE_ENDPOINT_URL": self.url, "CDC_BRIDGE_ENDPOINT_SECRET": SECRET}

    async def start(self, *, tls: bool = True, secret: str = SECRET) -> None:
        """Start it, and wait until it listens.

        Args:
            tls: It serves TLS itself, if it can.
            secret: Its signing secret, or several separated by spaces.
        """
        before = self._starts_said
        await self._launch(self._settings(secret, tls=tls))
        # Mono's HttpListener crashes on a connection that comes while it starts, so no connection finds out.
        await until(lambda: self._starts_said > before, "the receiver listens")

    async def said_when_it_cannot_start(self, **changed: str | None) -> str:
        """Start it without a setting or with a wrong one; return what it says, and has said of nothing else."""
        settings = self._settings(SECRET, tls=True) | changed
        self._output.unlink()
        await self._launch({name: value for name, value in settings.items() if value is not None})
        *servers, last = self._processes
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await last.wait() != 0
        if servers:  # PHP's own, which runs the program for each request.
            await until(lambda: listens(self.port), "the server listens")
            assert await self.post(self.message()) == 500
        await self.kill()
        return self.said

    def _settings(self, secret: str, *, tls: bool) -> dict[str, str]:
        settings = {"WEBHOOK_SECRET": secret, "PORT": str(self.port), "STORE": str(self.file)}
        if tls and self._program.serves_tls:
            settings["CERTIFICATE"] = str(self._certificates.server_certificate_file)
            settings["KEY"] = str(self._certificates.server_key_file)
        return settings

    async def _launch(self, settings: dict[str, str]) -> None:
        for command in self._program.commands:
            with self._output.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *(word.replace("{port}", str(self.port)) for word in command), cwd=self._program.folder,
                    env=clean_environment(settings), stdout=output, stderr=output, umask=self._program.umask,
                )  # fmt: skip
            self._processes.append(process)

    @property
    def _starts_said(self) -> int:
        if any(process.returncode is not None for process in self._processes):
            pytest.fail(f"the receiver ended: {self.said}")
        said = self.said if self._output.exists() else ""
        return said.count("Listening on port") + said.count("Development Server")

    async def kill(self) -> None:
        """Kill it with SIGKILL, if it runs."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._processes.clear()

    @property
    def said(self) -> str:
        return self._output.read_text()

    @property
    def kept(self) -> dict[str, Kept]:
        """What it has of each reservation, worked off or not."""
        return self.store.kept()

    @property
    def bookings(self) -> dict[str, tuple[int, int]]:
        """What the till has: adults of each reservation, and how often it was given it."""
        return self.store.bookings()

    def put(self, messages: Sequence[Message]) -> None:
        """Write requests into its store, while it does not run."""
        self.store.put(messages)

    async def has(self, **bookings: tuple[int, int]) -> None:
        """Wait until all that was taken was worked off, and assert that it came to this."""
        await self.is_idle()
        assert self.bookings == bookings

    async def is_idle(self) -> None:
        await until(lambda: not any(kept.waits for kept in self.kept.values()), "nothing waits")

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


@pytest.fixture(scope="session", params=contract.RECEIVERS)
def receiver_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """An example receiver, in each of the languages."""
    return program(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
async def vendor(receiver_program: Program, tmp_path: Path, certificates: Certificates) -> AsyncIterator[Vendor]:
    """A receiver that has started. In front of one that speaks plain HTTP, something else terminates TLS."""
    port = free_port()
    async with TlsFront(port, certificates) as front:
        vendor = Vendor(receiver_program, tmp_path, certificates, port, front.port)
        await vendor.start()
        yield vendor
        await vendor.kill()
    print(vendor.said)  # Shown where a test fails.


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


async def meets_all(url: str, certificates: Certificates, folder: Path) -> None:
    """Run the conformance test, and assert that every requirement is met."""
    (folder / "secret").write_text(SECRET)
    options = ["--secret-file", str(folder / "secret"), "--ca-file", str(certificates.ca_file), "--yes"]
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 0, output


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
    assert vendor.said.count("Booked reservation R") == 21
    assert vendor.said.count("Booked reservation R3") == 2


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
    assert vendor.kept == {}
    assert vendor.bookings == {}


async def test_bridge_with_another_secret_is_rejected_until_it_has_the_right_one(
    vendor: Vendor, database: Database, bridges: Bridges
) -> None:
    bridge = await bridges.start(**vendor.settings | {"CDC_BRIDGE_ENDPOINT_SECRET": OTHER_SECRET})
    book(database, "R")
    held = await bridge.wait_for_log("attempt failed", reservation_id="R")
    assert "401" in held["reason"]
    assert vendor.kept == {}
    assert await bridge.terminate() == 0
    await bridges.start(**vendor.settings)
    await until(lambda: vendor.bookings == {"R": (2, 1)}, "the booking")


async def test_nothing_is_lost_or_doubled_when_it_is_killed_while_receiving(
    vendor: Vendor, database: Database, bridges: Bridges
) -> None:
    await bridges.start(**vendor.settings)
    reservation_ids = [f"R{number}" for number in range(600)]
    book(database, *reservation_ids)
    kills_in_the_midst, taken = 0, 0
    while taken < len(reservation_ids) and kills_in_the_midst < 3:
        await until(lambda: len(vendor.kept) > taken, "more requests")  # noqa: B023
        await vendor.kill()
        taken = len(vendor.kept)
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
    assert await vendor.post(vendor.message("R0")) == 204
    await vendor.has(R0=(2, 1))  # So its store is made, and by itself.
    await vendor.kill()
    messages = [vendor.message(f"R{number}") for number in range(1, 1001)]
    vendor.put(messages)
    kills_in_the_midst, given = 0, len(vendor.bookings)
    while given <= len(messages) and kills_in_the_midst < 6:
        await vendor.start()
        await until(lambda: len(vendor.bookings) > given, "more work")  # noqa: B023
        await vendor.kill()
        given = len(vendor.bookings)
        kills_in_the_midst += given <= len(messages)
    assert kills_in_the_midst > 0
    await vendor.start()
    await vendor.has(**{f"R{number}": (2, 1) for number in range(1001)})


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


FORGERIES: dict[str, Callable[[Vendor, Message], Awaitable[int]]] = {
    "another secret": lambda v, m: v.post(m, secrets=[OTHER_SECRET]),
    "no signature": lambda v, m: v.post(m, secrets=[]),
    "old": lambda v, m: v.post(m, age=timedelta(minutes=6)),
    "from the future": lambda v, m: v.post(m, age=timedelta(minutes=-6)),
    "another id": lambda v, m: v.post(m, headers={"webhook-id": "2-0"}),
    "no id": lambda v, m: v.post(m, headers={"webhook-id": None}),
    "no time": lambda v, m: v.post(m, headers={"webhook-timestamp": "soon"}),
    "a time that is missing": lambda v, m: v.post(m, headers={"webhook-timestamp": None}),
    "not a number": lambda v, m: v.post(m, headers={"webhook-timestamp": "nan"}),
    "a very large number": lambda v, m: v.post(m, headers={"webhook-timestamp": "9" * 400}),
    "half a signature": lambda v, m: v.post(m, headers={"webhook-signature": "v1"}),
    "not base64": lambda v, m: v.post(m, headers={"webhook-signature": "v1,?"}),
    "not ASCII": lambda v, m: v.post(m, headers={"webhook-signature": "v1,é", "webhook-id": "é"}),
    "test": lambda v, m: v.post(m, secrets=[OTHER_SECRET], headers={"ce-type": "cdc-bridge.test"}),
    "not UTF-8": lambda v, m: v.post(replace(m, body=b"\xff"), secrets=[OTHER_SECRET]),
    "no body": lambda v, m: v.post(replace(m, body=b""), secrets=[OTHER_SECRET]),
}


async def test_forged_or_old_request_is_rejected(vendor: Vendor) -> None:
    found = {what: await forge(vendor, vendor.message()) for what, forge in FORGERIES.items()}
    assert found == dict.fromkeys(FORGERIES, 401)
    assert vendor.kept == {}
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
    await vendor.kill()
    await vendor.start(secret=f"{OTHER_SECRET} {SECRET}")  # It may have both, too.
    assert await vendor.post(vendor.message(adults=7)) == 204
    assert await vendor.post(vendor.message(adults=8), secrets=both[:1]) == 204
    await vendor.is_idle()
    assert vendor.bookings["R1"][0] == 8


@pytest.mark.parametrize("secret", [None, " ", "hush"])
async def test_without_a_secret_it_says_which_setting_is_missing(vendor: Vendor, secret: str | None) -> None:
    await vendor.kill()
    said = await vendor.said_when_it_cannot_start(WEBHOOK_SECRET=secret)
    lines = [line for line in said.splitlines() if not line.startswith("[")]  # So begin those of PHP's own server.
    assert set(lines) == {"Set WEBHOOK_SECRET=whsec_..., the signing secret."}
    assert vendor.kept == {}


@pytest.mark.parametrize("receiver_program", ["python", "node"], indirect=True)  # Before others, the proxy has it.
async def test_without_the_key_of_its_certificate_it_says_so(vendor: Vendor) -> None:
    await vendor.kill()
    said = await vendor.said_when_it_cannot_start(KEY=None)
    assert said == "Set KEY=FILE, the private key of the certificate.\n"


async def test_body_is_accepted_up_to_a_limit(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message("TOO-LARGE", notes="x" * ALLOWED_BODY_BYTES)) == 413
    assert await vendor.post(vendor.message("VAST", notes="x" * 20 * ALLOWED_BODY_BYTES)) == 413
    assert await vendor.post(vendor.message("LARGE", notes='"é\\' * (ALLOWED_BODY_BYTES // 16))) == 204
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
    assert vendor.kept == {"920": Kept(message.id, waits=False)}
    status = await vendor.post(vendor.message(id=2**53 + 1))
    assert status in {204, 500}  # JavaScript would take it for another one.
    assert vendor.kept.keys() == {"920"} | ({str(2**53 + 1)} if status == 204 else set())


async def test_request_of_an_unknown_type_is_dropped_and_one_without_a_type_fails(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message(), headers={"ce-type": "restaurant.opened"}) == 204
    assert await vendor.post(vendor.message(), headers={"ce-type": None}) == 500
    assert vendor.kept == {}


async def test_reservation_that_the_till_cannot_take_blocks_no_other(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message("BAD", adults=[{"cannot": "be"}])) == 204
    assert await vendor.post(vendor.message("GOOD")) == 204
    await until(lambda: vendor.bookings == {"GOOD": (2, 1)}, "the good one")
    assert "Retrying reservation BAD" in vendor.said
    assert await vendor.post(vendor.message("BAD", adults=3)) == 204  # What is newer is tried at once.
    await vendor.has(GOOD=(2, 1), BAD=(3, 1))


async def test_guests_data_is_kept_from_others_and_no_longer_than_needed(vendor: Vendor) -> None:
    message = vendor.message()
    assert await vendor.post(message) == 204
    await vendor.is_idle()
    assert vendor.file.stat().st_mode & 0o077 == 0
    assert vendor.kept == {"R1": Kept(message.id, waits=False)}
    for _ in range(10):
        assert await vendor.post(vendor.message("R2", notes="A long wish. " * 50_000)) == 204
        await vendor.is_idle()
    assert vendor.file.stat().st_size < 3_000_000
    await vendor.has(R1=(2, 1), R2=(2, 10))


async def test_odd_text_reaches_the_till(vendor: Vendor) -> None:
    odd = '\x01\x0b\x1f\x7f\\\\u0041 / \\/ " {}[],: \u2028 \U0001f942 א'
    for reservation_id in (odd, "a\tb\nc", "ZOË"):
        message = vendor.message(reservation_id, notes=odd, customer={"id": "not this one", odd: [None, {}, [], True]})
        assert await vendor.post(message) == 204
    await vendor.is_idle()
    assert vendor.bookings == dict.fromkeys((odd, "a\tb\nc", "ZOË"), (2, 1))


async def test_line_that_a_crash_cut_off_is_not_read(vendor: Vendor) -> None:
    assert await vendor.post(vendor.message()) == 204
    await vendor.is_idle()
    await vendor.kill()
    if isinstance(vendor.store, JournalStore):
        with vendor.file.open("ab") as journal:
            journal.write(b"UjI=\t7-0\teyJp")
    await vendor.start()
    assert await vendor.post(vendor.message("R3")) == 204
    await vendor.has(R1=(2, 1), R3=(2, 1))


async def test_without_a_certificate_it_listens_on_this_machine_alone(vendor: Vendor) -> None:
    await vendor.kill()
    await vendor.start(tls=False)
    vendor.url = f"http://localhost:{vendor.port}/reservations"
    assert await vendor.post(vendor.message()) == 204
    await vendor.has(R1=(2, 1))
    with socket.socket() as trial:  # Another address of this machine; all of 127.0.0.0/8 is.
        assert trial.connect_ex(("127.0.0.2", vendor.port)) != 0


async def test_silent_client_blocks_no_other(vendor: Vendor) -> None:
    with closing(socket.create_connection(("127.0.0.1", vendor.port))):
        assert await vendor.post(vendor.message()) == 204


@pytest.mark.slow
@pytest.mark.parametrize("receiver_program", ["python", "node"], indirect=True)  # Before others, the proxy ends it.
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
    await meets_all(vendor.url, certificates, tmp_path)


@pytest.mark.parametrize("receiver_program", ["python", "csharp"], indirect=True)  # C# looks at the host.
async def test_nginx_as_the_guide_sets_it_up_passes_everything_on(
    vendor: Vendor, certificates: Certificates, tmp_path: Path
) -> None:
    nginx, port = nginx_program(), free_port()
    if nginx is None:
        pytest.skip("needs nginx on this machine")
    (location,) = re.findall(r"^```nginx\n(.*?)^```", guide_text(Guide.VENDOR), re.MULTILINE | re.DOTALL)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            folder=tmp_path, port=port, certificates=certificates,
            location=location.replace("localhost:8080", f"localhost:{vendor.port}"),
        )
    )  # fmt: skip
    await vendor.kill()
    await vendor.start(tls=False)
    process = await asyncio.create_subprocess_exec(nginx, "-e", tmp_path / "error.log", "-c", configuration)
    try:
        await until(lambda: listens(port), "nginx listens")
        await meets_all(f"https://127.0.0.1:{port}/reservations", certificates, tmp_path)
    finally:
        process.terminate()
        await process.wait()


def test_all_its_files_can_be_printed_or_written() -> None:
    folder = Path(contract.__file__).with_name("receivers")
    files = {str(path.relative_to(folder.parent)) for path in folder.glob("*/*") if path.is_file()}
    assert {file for of_one in contract.RECEIVERS.values() for file in of_one} == files


@pytest.mark.parametrize("language", contract.RECEIVERS)
def test_it_can_be_read_at_once(language: str) -> None:
    lines = FILES[language].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES[language]
    assert max(map(len, lines)) <= 120


def test_those_with_a_database_keep_alike() -> None:
    """Who knows one knows the other: tables, and the statement that drops what need not be taken."""
    python, php = (" ".join(FILES[language].read_text(encoding="utf-8").split()) for language in ("python", "php"))
    for begin, end in (("create table if not exists newest", "default 1)"), ("insert into newest", "webhook_id")):
        shared = php[php.index(begin) : php.index(end, php.index(begin)) + len(end)]
        assert shared in python
