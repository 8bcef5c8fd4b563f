"""``trigger``: one signed reservation, and all that was said on both sides."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from cdc_bridge.vendor.contract import openapi
from cdc_bridge.vendor.trigger import Event
from tests.e2e.vendor.sent import SentRequests
from tests.support.bridge import SECRET, run_command, run_command_with
from tests.support.certificates import Certificates
from tests.support.hostile import HOSTILE, raw_in
from tests.support.receiver import Receiver
from tests.support.responses import Manner, Response


@pytest.fixture
def options(tmp_path: Path, certificates: Certificates) -> list[str]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return ["--secret-file", str(tmp_path / "secret"), "--ca-file", str(certificates.ca_file)]


@pytest.mark.parametrize("event", Event)
async def test_signed_reservation_arrives_as_it_is_printed(
    event: Event, receiver: Receiver, options: list[str]
) -> None:
    receiver.script = lambda _: Response(204, {"x-till": "7"})
    code, output, errors = await run_command("trigger", event, "--to", receiver.url, *options)
    assert (code, errors) == (0, "")
    (request,) = receiver.requests
    Webhook(SECRET).verify(request.body, {name.lower(): value for name, value in request.headers.items()})
    sent, body, received = re.split(r"^(\{\n.*?^\})$", output, flags=re.MULTILINE | re.DOTALL)
    assert sent.startswith(f"POST {receiver.url}\n")
    assert dict(re.findall(r"^  ([a-z-]+): (.*)$", sent, flags=re.MULTILINE)) == {
        name.lower(): value for name, value in request.headers.items()
    }
    assert json.loads(body) == request.json
    assert f"{len(request.body):,} bytes" in received
    assert re.search(r"^HTTP 204, after \d+ ms$", received, flags=re.MULTILINE)
    assert "  x-till: 7\n" in received
    assert received.rstrip().splitlines()[-1].startswith("Delivered: ")


async def test_headers_are_those_of_a_daemons_request(
    sent_requests: SentRequests, other: Receiver, options: list[str]
) -> None:
    code, _, _ = await run_command("trigger", "updated", "--to", other.url, *options)
    assert code == 0
    by_daemon = await sent_requests.of("reservation.updated")
    (by_trigger,) = other.requests
    assert {name.lower() for name in by_trigger.headers} == {name.lower() for name in by_daemon.headers} - {"x-api-key"}
    assert by_trigger.headers["ce-type"] == by_daemon.headers["ce-type"] in str(openapi()["webhooks"])


async def test_rejection_is_shown_with_its_words_and_what_it_means(receiver: Receiver, options: list[str]) -> None:
    receiver.script = lambda _: Response(422, {"retry-after": "5"}, HOSTILE.encode())
    code, output, errors = await run_command("trigger", "created", "--to", receiver.url, *options)
    assert (code, errors) == (1, "")
    assert "HTTP 422 " in output
    assert "  retry-after: 5\n" in output
    assert "PWNED" in output
    assert raw_in(output) == set()
    assert output.splitlines()[-1].startswith("Rejected: the bridge retries this delivery for two days")


async def test_no_response_is_reported_as_that(receiver: Receiver, options: list[str]) -> None:
    receiver.script = lambda _: Response(manner=Manner.RESET)
    code, output, _ = await run_command("trigger", "created", "--to", receiver.url, *options)
    assert code == 1
    assert "webhook-signature: v1," in output
    assert "\nNo response: the endpoint " in output


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://localhost:9/", "No response: cannot connect to localhost:9: connection refused"),
        (None, "No response: the endpoint's certificate cannot be verified"),
    ],
    ids=["nothing listens", "unknown CA"],
)
async def test_endpoint_that_cannot_be_reached_is_reported_without_a_request(
    url: str | None, words: str, receiver: Receiver
) -> None:
    code, output, _ = await run_command("trigger", "created", "--to", url or receiver.url)
    assert code == 1
    assert output.startswith(words)
    assert "not signed" not in output
    assert receiver.requests == []


async def test_json_has_the_bytes_that_were_signed(receiver: Receiver, options: list[str]) -> None:
    receiver.script = lambda _: Response(503, {"retry-after": "120"}, b"closed today")
    code, output, _ = await run_command("trigger", "walk-in", "--to", receiver.url, *options, "--json")
    told = json.loads(output)
    (request,) = receiver.requests
    assert (code, told["delivered"], told["reason"]) == (1, False, "HTTP 503 Service Unavailable")
    Webhook(SECRET).verify(told["request"]["body"].encode(), told["request"]["headers"])
    assert told["request"]["body"].encode() == request.body
    assert (told["response"]["status"], told["response"]["body"]) == (503, "closed today")
    assert told["response"]["headers"]["retry-after"] == "120"
    assert told["meaning"].startswith("Pause: the bridge sends nothing for 120 s")


async def test_unsigned_request_is_sent_if_no_secret_is_given_and_reported(
    receiver: Receiver, certificates: Certificates
) -> None:
    command = ("trigger", "created", "--to", receiver.url, "--ca-file", str(certificates.ca_file))
    code, output, _ = await run_command(*command)
    assert code == 0
    assert "webhook-signature" not in receiver.requests[0].headers
    assert "The request was not signed: no --secret-file was given." in output


async def test_header_of_the_vendor_is_sent_and_its_value_not_shown(receiver: Receiver, options: list[str]) -> None:
    url = f"{receiver.url}?token=not-to-be-shown"
    for form in ((), ("--json",)):
        _, output, _ = await run_command(
            "trigger", "created", "--to", url, *options, "--header", "X-Api-Key: let-me-in", *form
        )
        assert receiver.requests[-1].headers["x-api-key"] == "let-me-in"
        assert "x-api-key" in output
        assert [secret for secret in ("let-me-in", "not-to-be-shown", SECRET) if secret in output] == []


async def test_secret_is_read_from_standard_input(receiver: Receiver, certificates: Certificates) -> None:
    code, _, _ = await run_command_with(
        SECRET.encode(), "trigger", "created", "--to", receiver.url, "--secret-file", "-",
        "--ca-file", str(certificates.ca_file),
    )  # fmt: skip
    assert code == 0
    (request,) = receiver.requests
    Webhook(SECRET).verify(request.body, {name.lower(): value for name, value in request.headers.items()})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["created"], "Missing option '--to'"),
        (["deleted", "--to", "https://till.example/"], "'deleted' is not one of"),
        (["created", "--to", "http://till.example/"], "URL has to begin with https://"),
        (["created", "--to", "https://till.example/", "--ca-file", "/not/there"], "--ca-file names /not/there"),
        (["created", "--to", "localhost:8081"], "URL has to begin with https:// (http:// is for localhost only)"),
        (["created", "--to", "https://till.example/", "--secret-file", "/not/there"], "cannot be read"),
        (["created", "--to", "https://till.example/", "--secret-file", "/not/there"], "openssl rand -base64 32"),
        (["created", "--to", "https://till.example/", "--secret-file", __file__], "has to hold one line"),
    ],
)
async def test_what_cannot_be_used_is_reported_and_nothing_is_sent(arguments: list[str], words: str) -> None:
    code, output, errors = await run_command("trigger", *arguments)
    assert (code, output) == (2, "")
    assert words in errors
    assert "Traceback" not in errors


async def test_what_is_no_secret_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("top-secret-word")
    command = ("trigger", "created", "--to", "https://till.example/", "--secret-file", str(tmp_path / "secret"))
    code, output, errors = await run_command(*command)
    assert (code, output) == (2, "")
    assert "--secret-file has to begin with whsec_" in errors
    assert "openssl rand -base64 32" in errors
    assert "top-secret-word" not in errors
