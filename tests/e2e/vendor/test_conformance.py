"""``conformance`` passes a receiver that does it right, and fails each that is wrong in one way, for that reason."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cdc_bridge.vendor.conformance.requirements import REQUIREMENTS
from tests.support.bridge import SECRET, run_command
from tests.support.certificates import Certificates
from tests.support.contract import look_at_call

Serve = Callable[..., Awaitable[str]]
OTHER_SECRET = "whsec_" + "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI="
SIGNED = [requirement.title for requirement in REQUIREMENTS if requirement.of_signatures]
ALL = [requirement.title for requirement in REQUIREMENTS]


@dataclass
class Till:
    """An EPOS system's endpoint that does it right, but for what it is told to do wrong."""

    verify: Callable[[Webhook, bytes, dict[str, str]], None] = lambda webhook, body, headers: webhook.verify(
        body, headers
    )
    limit_bytes: int = 1024 * 1024
    seen: set[str] = field(default_factory=set)
    highest: dict[str, str] = field(default_factory=dict)
    older: int = 204
    refusal: int = 401
    knows_no_ping: bool = False
    encoding: str = "utf-8"
    known_keys_only: bool = False
    needed: str = ""
    knows_created_only: bool = False
    equal: int = 204
    one_at_a_time_seconds: float = 0.0
    waiting: int = 0
    most_waiting: int = 1000
    pauses: dict[str, str] = field(default_factory=dict)
    redirects: bool = False
    repeat: int = 204
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def receive(self, request: web.Request) -> web.Response:  # noqa: C901, PLR0911 - one a way to be wrong
        if self.redirects:
            return web.Response(status=308, headers={"location": "https://elsewhere.example/"})
        body = await request.read()
        look_at_call(request.headers, body)
        if len(body) > self.limit_bytes:
            return web.Response(status=413)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            self.verify(Webhook(SECRET), body, headers)
        except WebhookVerificationError:
            return web.Response(status=self.refusal)
        if headers["ce-type"] == "cdc-bridge.ping":
            return web.Response(status=500 if self.knows_no_ping else 204)
        if headers["webhook-id"] in self.seen:
            return web.Response(status=self.repeat)
        reservation = json.loads(body)
        if self.known_keys_only and "loyalty_points" in reservation:
            return web.Response(status=400)
        if self.needed and reservation[self.needed] is None:
            return web.Response(status=500)
        have = self.highest.get(headers["ce-subject"], "")
        if self.knows_created_only and headers["ce-type"] == "reservation.updated" and not have:
            return web.Response(status=404)
        try:
            reservation["notes"].encode(self.encoding)
        except UnicodeEncodeError:
            return web.Response(status=500)
        if self.waiting >= self.most_waiting:
            return web.Response(status=429, headers=self.pauses)
        self.waiting += 1
        async with self.lock:
            await asyncio.sleep(self.one_at_a_time_seconds)
        self.waiting -= 1
        self.seen.add(headers["webhook-id"])
        if headers["ce-sequence"] < have:
            return web.Response(status=self.older)
        if headers["ce-sequence"] == have:
            return web.Response(status=self.equal)
        self.highest[headers["ce-subject"]] = headers["ce-sequence"]
        return web.Response(status=204)


def believes_everything(_: Webhook, __: bytes, ___: dict[str, str]) -> None: ...


def looks_at_the_signature_s_form_only(_: Webhook, __: bytes, headers: dict[str, str]) -> None:
    if not headers.get("webhook-signature", "").startswith("v1,"):
        raise WebhookVerificationError


def takes_any_time(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    timestamp = int(headers["webhook-timestamp"])
    expected = _signature(webhook, body, headers, timestamp)
    if expected not in headers.get("webhook-signature", "").split():
        raise WebhookVerificationError


def knows_one_signature_only(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    webhook.verify(body, headers | {"webhook-signature": headers.get("webhook-signature", "").partition(" ")[0]})


def verifies_what_it_has_read_and_written_anew(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    webhook.verify(json.dumps(json.loads(body), separators=(",", ":")).encode(), headers)


def _signature(webhook: Webhook, body: bytes, headers: dict[str, str], timestamp: int) -> str:
    return str(webhook.sign(headers["webhook-id"], datetime.fromtimestamp(timestamp, UTC), body.decode()))


FORGERIES = [
    "refuses a call signed with another secret",
    "refuses a body that was changed after it was signed",
]
WRONG: dict[str, tuple[Callable[[], Till], list[str]]] = {
    "verifies nothing": (
        lambda: Till(verify=believes_everything),
        [*FORGERIES, "refuses a call without a signature", "refuses a call that was signed ten minutes ago"],
    ),
    "looks at the signature's form only": (
        lambda: Till(verify=looks_at_the_signature_s_form_only),
        [*FORGERIES, "refuses a call that was signed ten minutes ago"],
    ),
    "takes any time": (lambda: Till(verify=takes_any_time), ["refuses a call that was signed ten minutes ago"]),
    "knows one signature only": (
        lambda: Till(verify=knows_one_signature_only),
        ["takes a call with two signatures, its own as the second"],
    ),
    "verifies what it has read and written anew": (
        lambda: Till(verify=verifies_what_it_has_read_and_written_anew),
        ["takes emoji and other scripts"],
    ),
    "breaks over a forgery": (
        lambda: Till(refusal=500),
        [title for title in SIGNED if title.startswith("refuses")],
    ),
    "puts a forgery off": (
        lambda: Till(refusal=429),
        [title for title in SIGNED if title.startswith("refuses")],
    ),
    "refuses repeats": (lambda: Till(repeat=409), ["answers a repeat with 2xx"]),
    "refuses what comes late": (lambda: Till(older=409), ["answers an older change that comes late with 2xx"]),
    "refuses keys that it does not know": (lambda: Till(known_keys_only=True), ["takes keys that it does not know"]),
    "takes 8 kB": (lambda: Till(limit_bytes=8192), ["takes 20 kB of notes"]),
    "stores Latin-1": (lambda: Till(encoding="latin-1"), ["takes emoji and other scripts"]),
    "wants a telephone call": (lambda: Till(needed="call"), ["takes a reservation without a telephone call"]),
    "wants a customer": (lambda: Till(needed="customer"), ["takes a reservation without a customer"]),
    "wants to have heard of a reservation": (
        lambda: Till(knows_created_only=True),
        ["takes a change of a reservation that it does not have"],
    ),
    "refuses a number that it has": (lambda: Till(equal=409), ["takes newer content under a number that it has"]),
    "breaks over a test call": (lambda: Till(knows_no_ping=True), ["is not upset by a test call"]),
    "works before it answers, one call after another": (
        lambda: Till(one_at_a_time_seconds=0.05),
        ["takes 50 calls at once"],
    ),
    "redirects": (lambda: Till(redirects=True), ["takes a rightly signed call"]),
}


@pytest.fixture
async def serve(certificates: Certificates) -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(till: Till, tls: ssl.SSLContext = certificates.good) -> str:
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_post("/calls", till.receive)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return f"https://localhost:{runner.addresses[0][1]}/calls?token=not-to-be-shown"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def options(tmp_path: Path, certificates: Certificates) -> list[str]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return ["--secret-file", str(tmp_path / "secret"), "--ca-file", str(certificates.ca_file), "--yes"]


async def test_receiver_that_does_it_right_meets_everything(serve: Serve, options: list[str], tmp_path: Path) -> None:
    url = await serve(Till())
    report = tmp_path / "report.md"
    code, output, errors = await run_command("conformance", url, *options, "--report", str(report))
    assert (code, errors) == (0, f"The report is in {report}.\n")
    assert f"{len(ALL)} met; the slowest answer took 0." in output
    text = report.read_text()
    assert all(f"| ✓ | {title} |" in text for title in ALL)
    assert "not-to-be-shown" not in text + output
    assert SECRET not in text + output


@pytest.mark.parametrize("how", WRONG)
async def test_receiver_that_is_wrong_is_failed_for_just_that(how: str, serve: Serve, options: list[str]) -> None:
    make, not_met = WRONG[how]
    url = await serve(make())
    code, output, _ = await run_command("conformance", url, *options, "--json", "--timeout-seconds", "1.5")
    told = json.loads(output)
    found = [asked["title"] for asked in told["requirements"] if asked["verdict"] == "not met"]
    assert (code, told["met"], found) == (1, False, not_met)


async def test_receiver_that_asks_for_a_pause_is_given_it(serve: Serve, options: list[str]) -> None:
    url = await serve(Till(one_at_a_time_seconds=0.01, most_waiting=10, pauses={"retry-after": "1"}))
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 0, output
    assert re.search(r"takes 50 calls at once: all were accepted, \d+ of them after a pause that it asked for", output)


async def test_receiver_that_asks_for_pauses_and_takes_nothing_then_is_failed(serve: Serve, options: list[str]) -> None:
    url = await serve(Till(most_waiting=0))
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 1
    assert "✗ takes a rightly signed call: HTTP 429 Too Many Requests" in output


async def test_receiver_that_asks_for_a_client_certificate_is_shown_one(
    serve: Serve, options: list[str], certificates: Certificates
) -> None:
    url = await serve(Till(), certificates.asks_for_a_certificate)
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 1
    assert f"1 not met, {len(ALL) - 1} skipped" in output
    certificate = ["--client-certificate-file", str(certificates.client_certificate_file)]
    key = ["--client-key-file", str(certificates.client_key_file)]
    code, output, _ = await run_command("conformance", url, *options, *certificate, *key)
    assert code == 0, output


async def test_wrong_secret_and_unreachable_endpoint_are_told_and_the_rest_is_skipped(
    serve: Serve, options: list[str], tmp_path: Path
) -> None:
    url = await serve(Till())
    (tmp_path / "secret").write_text(OTHER_SECRET)
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 1
    assert "✗ takes a rightly signed call: HTTP 401 Unauthorized" in output
    assert f"1 not met, {len(ALL) - 1} skipped" in output
    code, output, _ = await run_command("conformance", "https://localhost:9/", *options)
    assert code == 1
    assert "cannot connect to localhost:9" in output


async def test_without_a_secret_what_is_about_signatures_is_skipped(serve: Serve, certificates: Certificates) -> None:
    url = await serve(Till(verify=believes_everything))
    code, output, _ = await run_command("conformance", url, "--ca-file", str(certificates.ca_file), "--yes", "--json")
    verdicts = {asked["title"]: asked["verdict"] for asked in json.loads(output)["requirements"]}
    assert code == 0
    assert {title for title, verdict in verdicts.items() if verdict == "skipped"} == set(SIGNED)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://till.example/", "--yes"], "URL has to begin with https://"),
        (["https://till.example/"], "Nothing was sent"),
        (["https://till.example/", "--yes", "--secret-file", "/not/there"], "--secret-file /not/there cannot be read"),
        (["https://till.example/", "--yes", "--header", "host: x"], "--header sets host"),
        (["https://till.example/", "--yes", "--ca-file", "/not/there"], "--ca-file names /not/there"),
        (
            ["https://till.example/", "--yes", "--client-certificate-file", "/not/there"],
            "--client-certificate-file names",
        ),
        (
            ["https://till.example/", "--yes", "--client-key-file", "/not/there"],
            "--client-key-file needs a client certificate file",
        ),
    ],
)
async def test_what_cannot_be_used_is_said_and_nothing_is_sent(arguments: list[str], words: str) -> None:
    code, output, errors = await run_command("conformance", *arguments)
    assert (code, output) == (2, "")
    assert words in errors
    assert "Traceback" not in errors
