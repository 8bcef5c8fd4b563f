"""``conformance`` passes a correct receiver, and fails every receiver with one fault, for that fault alone."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cdc_bridge.vendor.conformance.requests import SOURCE
from cdc_bridge.vendor.conformance.requirements import CONCURRENT_REQUESTS, REQUIREMENTS
from tests.support.bridge import SECRET, run_command
from tests.support.certificates import Certificates
from tests.support.contract import look_at_request
from tests.support.hostile import HOSTILE, raw_in

Serve = Callable[..., Awaitable[str]]
OTHER_SECRET = "whsec_" + "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI="
SHORT_TIMEOUT_SECONDS = 5.0
SIGNED = [requirement.title for requirement in REQUIREMENTS if requirement.needs_secret]
ALL = [requirement.title for requirement in REQUIREMENTS]


@dataclass
class Till:
    """An EPOS system's endpoint, correct but for the fault that it is given."""

    verify: Callable[[Webhook, bytes, dict[str, str]], None] = lambda webhook, body, headers: webhook.verify(
        body, headers
    )
    limit_bytes: int = 2 * 1024 * 1024
    seen: set[str] = field(default_factory=set)
    highest: dict[str, str] = field(default_factory=dict)
    older: int = 204
    refusal: int = 401
    fails_on_test_requests: bool = False
    encoding: str = "utf-8"
    known_keys_only: bool = False
    needed: str = ""
    knows_created_only: bool = False
    equal: int = 204
    one_at_a_time_seconds: float = 0.0
    waiting: int = 0
    most_waiting: int = 1000
    most_answered: int = 1000
    """Of those that wait at the same time: the others never get an answer."""
    pauses: dict[str, str] = field(default_factory=dict)
    redirects: bool = False
    sends_a_body_behind_204: bool = False
    repeat: int = 204
    rejection: tuple[int, str] | None = None
    """Of every request with a valid signature."""
    bookings: dict[str, Any] = field(default_factory=dict)
    """What it stores."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        response = await self.receive(request)
        if response.status == 204 and self.sends_a_body_behind_204:
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 204 No Content\r\n\r\nok")
            request.transport.close()
        return response

    async def receive(self, request: web.Request) -> web.Response:  # noqa: C901, PLR0911, PLR0912 - one branch per fault
        if self.redirects:
            return web.Response(status=308, headers={"location": "https://elsewhere.example/"})
        body = await request.read()
        look_at_request(request.headers, body)
        if len(body) > self.limit_bytes:
            return web.Response(status=413)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            self.verify(Webhook(SECRET), body, headers)
        except WebhookVerificationError:
            return web.Response(status=self.refusal)
        if headers["ce-type"] == "cdc-bridge.test":
            return web.Response(status=500 if self.fails_on_test_requests else 204)
        if headers["webhook-id"] in self.seen:
            return web.Response(status=self.repeat)
        if self.rejection is not None:
            status, text = self.rejection
            return web.Response(status=status, text=text)
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
        await self._work()
        self.seen.add(headers["webhook-id"])
        if headers["ce-sequence"] < have:
            return web.Response(status=self.older)
        if have == headers["ce-sequence"] and self.equal != 204:
            return web.Response(status=self.equal)
        self.bookings[reservation["id"]] = reservation
        self.highest[headers["ce-subject"]] = headers["ce-sequence"]
        return web.Response(status=204)

    async def _work(self) -> None:
        self.waiting += 1
        try:
            if self.waiting > self.most_answered:
                await asyncio.Event().wait()
            async with self.lock:
                await asyncio.sleep(self.one_at_a_time_seconds)
        finally:
            self.waiting -= 1


def verifies_nothing(_: Webhook, __: bytes, ___: dict[str, str]) -> None: ...


def checks_the_form_of_signatures_only(_: Webhook, __: bytes, headers: dict[str, str]) -> None:
    if not headers.get("webhook-signature", "").startswith("v1,"):
        raise WebhookVerificationError


def accepts_any_time(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    timestamp = int(headers["webhook-timestamp"])
    expected = _signature(webhook, body, headers, timestamp)
    if expected not in headers.get("webhook-signature", "").split():
        raise WebhookVerificationError


def reads_one_signature_only(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    webhook.verify(body, headers | {"webhook-signature": headers.get("webhook-signature", "").partition(" ")[0]})


def verifies_re_serialised_json(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    webhook.verify(json.dumps(json.loads(body), separators=(",", ":")).encode(), headers)


def verifies_what_javascript_writes(webhook: Webhook, body: bytes, headers: dict[str, str]) -> None:
    """Express with json() before the check: JSON.stringify(JSON.parse(body)), whose numbers are floating-point ones."""

    def number(text: str) -> float | int:
        value = float(text)
        return int(value) if value.is_integer() else value

    parsed = json.loads(body, parse_int=number, parse_float=number)
    webhook.verify(json.dumps(parsed, separators=(",", ":"), ensure_ascii=False).encode(), headers)


def _signature(webhook: Webhook, body: bytes, headers: dict[str, str], timestamp: int) -> str:
    return str(webhook.sign(headers["webhook-id"], datetime.fromtimestamp(timestamp, UTC), body.decode()))


NOT_AUTHENTIC = [
    "Rejects a request signed with another secret",
    "Rejects a body that was altered after signing",
]
NO_SIGNATURE = "Rejects a request without a signature"
EXPIRED = "Rejects a request signed ten minutes ago"
SCRIPTS = "Accepts emoji and all scripts"
NUMBERS = "Accepts numbers that JSON.parse and JSON.stringify change"
LARGE = "Accepts a body of 2 MB"
FAULTS: dict[str, tuple[Callable[[], Till], list[str]]] = {
    "verifies nothing": (
        lambda: Till(verify=verifies_nothing),
        [*NOT_AUTHENTIC, NO_SIGNATURE, EXPIRED],
    ),
    "checks the form of signatures only": (
        lambda: Till(verify=checks_the_form_of_signatures_only),
        [*NOT_AUTHENTIC, EXPIRED],
    ),
    "accepts any time": (lambda: Till(verify=accepts_any_time), [EXPIRED]),
    "reads one signature only": (
        lambda: Till(verify=reads_one_signature_only),
        ["Accepts two signatures of which the second is valid"],
    ),
    "verifies re-serialised JSON": (
        lambda: Till(verify=verifies_re_serialised_json),
        [SCRIPTS, NUMBERS],
    ),
    "verifies what JavaScript writes": (
        lambda: Till(verify=verifies_what_javascript_writes),
        [NUMBERS, "Accepts integers beyond 2^53"],
    ),
    "fails on an invalid signature": (
        lambda: Till(refusal=500),
        [title for title in SIGNED if title.startswith("Rejects")],
    ),
    "defers an invalid signature": (
        lambda: Till(refusal=429),
        [title for title in SIGNED if title.startswith("Rejects")],
    ),
    "rejects duplicates": (lambda: Till(repeat=409), ["Responds 2xx to a duplicate"]),
    "rejects older changes": (lambda: Till(older=409), ["Responds 2xx to an older change that arrives late"]),
    "rejects unknown keys": (lambda: Till(known_keys_only=True), ["Ignores unknown keys"]),
    "accepts 100 kB, as Express does": (lambda: Till(limit_bytes=100 * 1024), [LARGE]),
    "accepts 1 MiB, as nginx does": (lambda: Till(limit_bytes=1024 * 1024), [LARGE]),
    "stores Latin-1": (lambda: Till(encoding="latin-1"), [SCRIPTS]),
    "needs a phone call": (lambda: Till(needed="call"), ["Accepts a reservation without a phone call"]),
    "needs a customer": (lambda: Till(needed="customer"), ["Accepts a reservation without a customer"]),
    "needs to know the reservation": (
        lambda: Till(knows_created_only=True),
        ["Accepts an update of a reservation it does not have"],
    ),
    "rejects an equal sequence": (lambda: Till(equal=409), ["Accepts newer content under a ce-sequence it has"]),
    "fails on test requests": (lambda: Till(fails_on_test_requests=True), ["Handles a test request"]),
    "works before it responds, one request after another": (
        lambda: Till(one_at_a_time_seconds=2 * SHORT_TIMEOUT_SECONDS / CONCURRENT_REQUESTS),
        ["Accepts 50 concurrent requests"],
    ),
    "redirects": (lambda: Till(redirects=True), ["Accepts a validly signed request"]),
}


@pytest.fixture
async def serve(certificates: Certificates) -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(till: Till, tls: ssl.SSLContext = certificates.good) -> str:
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application.router.add_post("/reservations", till.respond)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return f"https://localhost:{runner.addresses[0][1]}/reservations?token=not-to-be-shown"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def options(tmp_path: Path, certificates: Certificates) -> list[str]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return ["--secret-file", str(tmp_path / "secret"), "--ca-file", str(certificates.ca_file), "--yes"]


async def test_correct_receiver_meets_every_requirement(serve: Serve, options: list[str], tmp_path: Path) -> None:
    url = await serve(Till())
    report = tmp_path / "report.md"
    code, output, errors = await run_command("conformance", url, *options, "--report", str(report))
    assert (code, errors) == (0, f"Report written to {report}.\n")
    assert re.search(rf"\b{len(ALL)} met; slowest response \d+\.\d{{3}} s\.\n", output)
    text = report.read_text()
    assert all(f"| ✓ | {title} |" in text for title in ALL)
    assert "not-to-be-shown" not in text + output
    assert SECRET not in text + output


@pytest.mark.parametrize("fault", FAULTS)
async def test_receiver_with_a_fault_is_failed_for_that_alone(fault: str, serve: Serve, options: list[str]) -> None:
    make, not_met = FAULTS[fault]
    till = make()
    # Only a receiver that is too slow is to run into the timeout, also on a busy machine.
    timeout = ["--timeout-seconds", str(SHORT_TIMEOUT_SECONDS)] if till.one_at_a_time_seconds else []
    code, output, _ = await run_command("conformance", await serve(till), *options, "--json", *timeout)
    told = json.loads(output)
    found = [asked["title"] for asked in told["requirements"] if asked["verdict"] == "not met"]
    assert (code, told["met"], found) == (1, False, not_met)


async def test_flaw_of_responses_is_named_and_fails_nothing(serve: Serve, options: list[str], tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    code, output, _ = await run_command(
        "conformance", await serve(Till(sends_a_body_behind_204=True)), *options, "--report", str(report)
    )
    assert code == 0, output
    words = "malformed response: it has a body, which HTTP 204 does not allow"
    assert words in output
    assert words in report.read_text()


async def test_receiver_that_asks_for_a_pause_is_given_it(serve: Serve, options: list[str]) -> None:
    url = await serve(Till(one_at_a_time_seconds=0.01, most_waiting=10, pauses={"retry-after": "1"}))
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 0, output
    assert re.search(
        r"Accepts 50 concurrent requests: all were accepted, \d+ of them after a pause that it asked for", output
    )


async def test_receiver_that_asks_for_pauses_and_accepts_nothing_is_failed(serve: Serve, options: list[str]) -> None:
    url = await serve(Till(most_waiting=0))
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 1
    assert "✗ Accepts a validly signed request: HTTP 429 Too Many Requests" in output


async def test_receiver_that_asks_for_a_client_certificate_is_shown_one(
    serve: Serve, options: list[str], certificates: Certificates
) -> None:
    url = await serve(Till(), certificates.asks_for_a_certificate)
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 1
    assert f"1 not met, {len(ALL) - 1} not tested" in output
    certificate = ["--client-certificate-file", str(certificates.client_certificate_file)]
    key = ["--client-key-file", str(certificates.client_key_file)]
    code, output, _ = await run_command("conformance", url, *options, *certificate, *key)
    assert code == 0, output


async def test_wrong_secret_is_reported_and_the_rest_is_skipped(
    serve: Serve, options: list[str], tmp_path: Path
) -> None:
    url = await serve(Till())
    (tmp_path / "secret").write_text(OTHER_SECRET)
    code, output, _ = await run_command("conformance", url, *options)
    assert code == 1
    assert "✗ Accepts a validly signed request: HTTP 401 Unauthorized" in output
    assert f"1 not met, {len(ALL) - 1} not tested" in output


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (422, "Your endpoint rejects the content"),
        (400, "Your endpoint rejects the content"),
        (401, "the same secret and the right time"),
        (403, "requires a header"),
        (404, "Check the path of the URL"),
        (413, "limits the size"),
        (500, "See the log of your endpoint"),
    ],
)
async def test_first_response_that_is_none_of_2xx_is_shown_with_what_to_look_at(
    status: int, advice: str, serve: Serve, options: list[str], tmp_path: Path
) -> None:
    url = await serve(Till(rejection=(status, f"table 12 unknown {HOSTILE} {'x' * 300}")))
    report = tmp_path / "report.md"
    code, output, _ = await run_command("conformance", url, *options, "--report", str(report))
    assert code == 1
    cross, responded, why, untested, *_ = output.splitlines()
    assert cross.startswith(f"✗ {ALL[0]}: HTTP {status} ")
    assert responded.startswith("    It responded: table 12 unknown ")
    assert responded.endswith("x…")
    assert raw_in(output) == set()
    assert advice in why
    assert untested == f"- {len(ALL) - 1} requirements were not tested: a valid request was not accepted."
    assert "Responses only" not in output
    assert "It responded: `table 12 unknown " in report.read_text()
    assert f"\n{untested.removeprefix('- ')}\n" in report.read_text()
    assert len(re.findall(r"^\| [✓✗-] \|", report.read_text(), flags=re.MULTILINE)) == 1
    assert raw_in(report.read_text()) == set()


async def test_first_response_to_an_unsigned_request_says_that_it_was_not_signed(
    serve: Serve, certificates: Certificates
) -> None:
    code, output, _ = await run_command(
        "conformance", await serve(Till()), "--ca-file", str(certificates.ca_file), "--yes"
    )
    assert code == 1
    assert "The request was not signed: no --secret-file was given." in output


async def test_what_the_till_has_to_have_in_the_end_is_listed(serve: Serve, options: list[str], tmp_path: Path) -> None:
    till, report = Till(), tmp_path / "report.md"
    url = await serve(till)
    _, output, _ = await run_command("conformance", url, *options, "--json")
    for booking in json.loads(output)["look_up"]:
        assert till.bookings.get(booking["id"]) == booking["content"], booking["because"]
    _, output, _ = await run_command("conformance", url, *options, "--report", str(report))
    _, _, listed = output.partition("\nResponses only: ")
    assert SOURCE in listed
    rows = re.findall(r"^  ([0-9A-F]{32})  (.*)$", listed, flags=re.MULTILINE)
    assert [words for _, words in rows] == [
        "5 adults: created, then updated",
        "2 adults: sent as an update alone",
        "no booking: signed with another secret",
        "no booking: altered after signing",
        "no booking: sent without a signature",
        "no booking: signed ten minutes ago",
        "2 adults: sent twice",
        "4 adults: an older change came late",
        "3 adults: newer content, equal ce-sequence",
        "2 adults: emoji and scripts in its notes",
    ]
    assert {id_ for id_, words in rows if words.startswith("no")}.isdisjoint(till.bookings)
    assert max(map(len, listed.splitlines()[1:])) <= 80
    assert all(f"* `{id_}`: {words}" in report.read_text() for id_, words in rows)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://localhost:9/", "cannot connect to localhost:9: connection refused"),
        ("https://nowhere.invalid/", "the name nowhere.invalid cannot be resolved"),
        (None, "the endpoint's certificate cannot be verified"),
    ],
    ids=["refused", "unknown name", "TLS"],
)
@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_endpoint_that_cannot_be_reached_is_reported_in_one_line(
    url: str | None, words: str, more: tuple[str, ...], serve: Serve, tmp_path: Path
) -> None:
    till, report = Till(), tmp_path / "report.md"
    served = await serve(till)  # The CA that issued its certificate is not named.
    code, output, errors = await run_command("conformance", url or served, "--yes", "--report", str(report), *more)
    assert (code, output) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"cdc-bridge: nothing was tested: {words}")
    assert not report.exists()


async def test_without_a_secret_what_is_about_signatures_is_skipped(serve: Serve, certificates: Certificates) -> None:
    url = await serve(Till(verify=verifies_nothing))
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
        (["localhost:8081", "--yes"], "URL has to begin with https:// (http:// is for localhost only)"),
        (["https://till.example/", "--yes", "--secret-file", "/not/there"], "openssl rand -base64 32"),
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
