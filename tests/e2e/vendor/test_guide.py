"""The vendor guide can be followed word by word, and what it says of headers, responses and commands is so."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.demo.ports import free_port
from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.settings import Settings
from cdc_bridge.transport.outcome import Delivered, Fault, judge
from cdc_bridge.vendor import contract
from cdc_bridge.vendor.conformance.requests import NOTES
from cdc_bridge.vendor.conformance.requests import SOURCE as CONFORMANCE_SOURCE
from cdc_bridge.vendor.conformance.requirements import REQUIREMENTS
from cdc_bridge.vendor.contract import EXAMPLES, LARGEST_BODY_BYTES, text_of
from cdc_bridge.vendor.test_message import TEST_TYPE
from cdc_bridge.vendor.trigger import SOURCE as TRIGGER_SOURCE
from tests.e2e.vendor.programs import installed
from tests.e2e.vendor.sent import SentRequests, schedule_in_words

GUIDE = guide_text(Guide.VENDOR)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PATIENCE_SECONDS = 60.0


def table(heading: str) -> list[tuple[str, str]]:
    """Return the rows of the table with this heading for its first column."""
    _, _, rows = GUIDE.partition(f"\n| {heading} |")
    rows, _, _ = rows.partition("\n\n")
    return [(first, second) for first, second in re.findall(r"^\| (.*?) \| (.*) \|$", rows, flags=re.MULTILINE)][1:]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Any]:
    """Runs blocks as a vendor would; those that are to go on as processes of their own, with other ports."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_BRIDGE_")}
    environment |= {"PATH": path, "CDC_BRIDGE_CONFIG": os.devnull}
    of_command, of_example = free_port(), free_port()
    goes_on = {
        "cdc-bridge receive": (of_command, f"exec cdc-bridge receive --port {of_command}"),
        "python3 receiver-python": (of_example, f"PORT={of_example} exec python3 receiver-python"),
    }
    running: list[subprocess.Popen[bytes]] = []

    def run(block: str) -> str:
        script = block.replace("localhost:8443", f"localhost:{of_command}")
        script = script.replace("localhost:8080", f"localhost:{of_example}")
        for words, (port, in_their_place) in goes_on.items():
            if words in script:
                script = script.replace(words, in_their_place)
                running.append(subprocess.Popen(["sh", "-eu", "-c", script], env=environment, cwd=tmp_path))
                wait_until_called(port, running[-1])
                return ""
        ran = subprocess.run(
            ["sh", "-eu", "-c", script], env=environment, cwd=tmp_path, text=True, capture_output=True, check=False
        )
        assert ran.returncode == 0, f"{script}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    yield run
    for process in running:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE_SECONDS)


def wait_until_called(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens at a port."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the block does not go on, or does not listen")


def test_every_block_runs_in_its_order(shell: Any, tmp_path: Path) -> None:
    printed = "".join(shell(block) for block in BLOCKS)
    assert "The signatures are the same." in printed
    assert re.findall(r"^(.*); slowest", printed, flags=re.MULTILINE) == [f"{len(REQUIREMENTS)} met"] * 2
    for name, files in contract.RECEIVERS.items():
        for file in files:
            assert (tmp_path / f"receiver-{name}" / Path(file).name).read_text(encoding="utf-8") == text_of(file)
    assert (tmp_path / "guide.md").read_text(encoding="utf-8") == GUIDE
    assert (tmp_path / "vector.json").read_text(encoding="utf-8") == text_of("signature-vector.json")


PROGRAMS = {"Node.js": ["node"], "PHP": ["php"], "Java": ["java"], "C#": ["mcs", "mono"]}


@pytest.mark.parametrize("receiver", PROGRAMS)
def test_example_starts_as_the_table_says_and_logs_what_it_books(receiver: str, shell: Any, tmp_path: Path) -> None:
    for each in PROGRAMS[receiver]:
        installed(each)
    commands = re.findall(r"`([^`]+)`", dict(table("receiver"))[receiver])
    (saving,) = (block for block in BLOCKS if "contract receiver node --save" in block)
    shell(f"mkdir till\necho whsec_$(openssl rand -base64 32) > till/secret\n{saving}")
    port, log = free_port(), tmp_path / "log"
    processes = []
    for command in commands:
        if command.startswith("mcs "):
            shell(command)
            continue
        script = command.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["sh", "-euc", script], cwd=tmp_path, env=os.environ | {"PORT": str(port)}, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
        processes.append(process)
    try:
        wait_until_called(port, processes[0])
        shell(f"cdc-bridge trigger created --to http://localhost:{port}/reservations --secret-file till/secret")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Booked reservation " not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_table_has_the_examples_that_are_not_run_before() -> None:
    assert list(dict(table("receiver"))) == list(PROGRAMS)
    assert len(PROGRAMS) == len(contract.RECEIVERS) - 1


def test_what_it_says_of_invented_requests_is_so() -> None:
    assert f"`{TRIGGER_SOURCE}` and `{CONFORMANCE_SOURCE}`" in dict(table("header"))["`ce-source`"]
    assert f'their notes begin with "{NOTES}"' in " ".join(GUIDE.split())


def test_it_links_to_every_document_of_the_contract() -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", GUIDE) if "://" not in link]
    assert set(links) == {f"documents/{file}" for file in (*EXAMPLES.values(), contract.SCHEMA_FILE, "openapi.json")}


async def test_headers_that_are_really_sent_are_named_and_no_other(sent_requests: SentRequests) -> None:
    request = await sent_requests.of("reservation.updated")
    sent = {name.lower() for name in request.headers} - {"x-api-key"}
    named = {name for names, _ in table("header") for name in re.findall(r"`([a-z-]+)`", names)}
    assert named == sent


def test_responses_do_what_the_table_says() -> None:
    judged = {status: judge(status, {}, NOW) for status in range(200, 600)}

    def of(*faults: Fault) -> set[int]:
        return {s for s, outcome in judged.items() if not isinstance(outcome, Delivered) and outcome.fault in faults}

    accepted, delivery, endpoint, overload, withdrawn = (
        set().union(*map(_statuses, re.findall(r"`(\d(?:\d\d|xx))`", first))) for first, _ in table("response")
    )
    assert accepted == {status for status, outcome in judged.items() if isinstance(outcome, Delivered)}
    assert endpoint == of(Fault.ENDPOINT)
    assert delivery <= of(Fault.DELIVERY)
    assert overload == of(Fault.OVERLOAD) | {503}
    assert withdrawn == of(Fault.WITHDRAWN)
    assert of(Fault.DELIVERY) == set(range(400, 500)) - endpoint - overload - withdrawn
    assert schedule_in_words() in dict(table("response"))[table("response")[1][0]]


def _statuses(written: str) -> set[int]:
    return set(range(int(written[0]) * 100, int(written[0]) * 100 + 100)) if "x" in written else {int(written)}


def test_size_that_is_asked_for_is_the_one_that_is_tried() -> None:
    size = f"{LARGEST_BODY_BYTES // 1_000_000} MB"
    assert len(re.findall(rf"\b{size}\b", GUIDE)) == len(re.findall(r"(?<!\d)[12] MB\b", GUIDE)) > 3
    assert f"Accepts a body of {size}" in [requirement.title for requirement in REQUIREMENTS]


def test_type_of_a_test_request_is_the_one_that_is_sent() -> None:
    assert f"`{TEST_TYPE}`" in dict(table("header"))["`ce-type`"]


def test_numbers_are_the_settings_defaults() -> None:
    def default(name: str) -> str:
        return f"{Settings.model_fields[name].default:g}"

    timeout, connecting = default("endpoint_timeout_seconds"), default("endpoint_connect_timeout_seconds")
    assert f"Respond within **{timeout} seconds** ({connecting} of them for the connection)" in GUIDE
    assert f"to {default('endpoint_max_in_flight')} at most" in GUIDE
    assert f"the bridge sends at most {default('endpoint_max_in_flight')} unless" in GUIDE
    assert f"the bridge sends up to {Settings.model_fields['max_body_bytes'].default // 2**20} MiB" in GUIDE


def test_version_that_it_promises_is_that_of_the_contract() -> None:
    major = contract.openapi()["info"]["version"].partition(".")[0]
    assert re.search(rf"while the version of this contract, .*?, begins with {major}\.\n", GUIDE, flags=re.DOTALL)
