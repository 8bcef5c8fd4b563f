"""Ids, notes and headers that a terminal would obey are shown escaped: by every command, in the log, on pages."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
import tomllib
from pathlib import Path

import pytest

from tests.e2e.test_cli import COMMANDS
from tests.support.bridge import Bridges, clean_environment, run_command
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.hostile import HOSTILE, LETTERS, raw_in
from tests.support.page import Visitor
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import PATIENCE_SECONDS, until

ID = f"{LETTERS}\n{HOSTILE}"
NOTES = f"{HOSTILE} {LETTERS}\n"


def book(database: Database, id_: str = ID) -> None:
    database.execute("insert into customers (id, surname) values ('C', %s) on conflict do nothing", [NOTES])
    database.execute("insert into reservations (id, cust_id, reference, notes) values (%s, 'C', 1, %s)", [id_, NOTES])


async def test_no_command_prints_what_a_terminal_would_obey(
    database: Database, receiver: Receiver, bridges: Bridges, tmp_path: Path
) -> None:
    manifest, hostile_file = tmp_path / "manifest.json", tmp_path / "PWNED\x1b[31m"
    values = {"url": f"https://{ID}", "ca_file": f"/{ID}", "only": [ID], "payload": ID, "headers": [ID], ID: ID}
    manifest.write_text(json.dumps({"endpoints": {ID: values, "till": values | {"secret_file": ID}}, ID: ID}))
    hostile_file.touch()
    receiver.script = lambda request: Response(422 if request.reservation_id == ID else 204, body=HOSTILE.encode())
    bridge = await bridges.start(CDC_BRIDGE_LOG_LEVEL="debug", CDC_BRIDGE_ENDPOINT_KEEP_RESPONSES="true")
    await bridge.until_assigned()
    book(database)
    await until(
        lambda: database.value("select count(*) from cdc_bridge.delivery where last_error <> ''"), "it is recorded"
    )
    seq = str(database.value("select max(seq) from cdc_bridge.delivery"))
    database.execute("alter table cdc_bridge.endpoint disable trigger all")
    database.execute("update cdc_bridge.endpoint set last_failure = %s, problem = null", [HOSTILE])
    arguments: list[tuple[str, ...]] = [
        ("status",),
        ("check",),
        ("check", "--sample", "5"),
        ("deliveries",),
        ("deliveries", "--reservation", ID),
        ("deliveries", "--endpoint", ID),
        ("deliveries", "--since", ID),
        ("deliveries", "--after", ID),
        ("delivery", "show", seq),
        ("delivery", "show", seq, "--responses"),
        ("delivery", "show", seq, "--endpoint", ID),
        ("delivery", "show", ID),
        ("delivery", "retry", seq, ID),
        ("delivery", "retry", f"msg_{ID}"),
        ("erase", ID),
        ("payload", ID),
        ("payload", ID, "--pretty"),
        ("payload", f"no {ID}"),
        ("payload", ID, "--endpoint", ID),
        ("reconcile",),
        ("reconcile", "--endpoint", ID),
        ("replay", "--reservation", f"{LETTERS}\u00a0"),
        ("replay", "--reservation", ID),
        ("replay", "--state", "dead", "--endpoint", ID),
        ("backfill", "default", "--dry-run"),
        ("backfill", ID),
        ("endpoint", "list"),
        ("endpoint", "show", "default"),
        ("endpoint", "add", ID, "https://till.example"),
        ("endpoint", "add", "till", "https://till.example", "--secret-file", ID),
        ("endpoint", "add", "till", f"https://{ID}"),
        ("endpoint", "add", "till", "https://till.example", "--header", ID),
        ("endpoint", "add", "till", "https://till.example", "--ca-file", ID),
        ("endpoint", "add", "till", "https://till.example", "--payload", ID),
        ("endpoint", "add", "till", "https://till.example", "--only", ID),
        ("endpoint", "add", "till", "https://till.example", "--only", f"{ID}={ID}"),
        ("endpoint", "add", "till", "https://till.example", "--only", f"adults={LETTERS}"),
        ("endpoint", "add", "till", "https://till.example", "--events", ID),
        *(
            ("endpoint", command, ID)
            for command in ("show", "set", "pause", "resume", "remove", "rotate-secret", "test")
        ),
        ("endpoint", "encrypt-secrets"),
        ("endpoint", "apply", str(manifest)),
        ("token", "add", ID, "--right", "view"),
        ("token", "add", "anna", "--right", "view", "--expires", ID),
        ("token", "list"),
        ("token", "remove", ID),
        ("audit",),
        ("audit", "--after", ID),
        ("endpoint", "apply", str(manifest), "--dry-run", "--json"),
        ("endpoint", "apply", f"/nowhere/{ID}"),
        ("endpoint", "apply", str(manifest), "--secrets-file", str(hostile_file)),
        ("endpoint", "export", ID),
        ("endpoint", "portal", ID, "--url", "https://bridge.example"),
        ("endpoint", "portal", "default", "--url", f"https://{ID}"),
        ("endpoint", "portal", "default", "--url", "https://bridge.example"),
        ("install", "--mapping", ID),
        ("mapping", "check", ID),
        ("uninstall", "--database-url", f"host=/{ID}"),
        ("systemd", "install", "--root", f"/nowhere/{ID}"),
        ("systemd", "exec", ID),
        ("contract", "schema", "--payload", ID),
        ("contract", "example", ID),
        ("contract", "receiver", ID),
        ("contract", "receiver", "python", "--save", f"/nowhere/{ID}"),
        ("guide", ID),
        ("receive", "--slow", ID),
        ("receive", "--secret-file", ID),
        ("receive", "--schema", ID),
        ("receive", "--forward-to", ID),
        ("trigger", ID, "--to", "https://localhost:1"),
        ("trigger", "created", "--to", f"https://{ID}"),
        ("trigger", "created", "--to", "https://localhost:1", "--secret-file", ID),
        ("conformance", f"https://{ID}", "--yes"),
        ("conformance", "https://localhost:1", "--secret-file", ID),
        ("run", "--config", ID),
        ("mapping", "draft", "--table", ID),
        (ID,),
        ("check", f"--{ID}"),
        ("endpoint", ID),
        ("endpoint", "list", ID),
    ]
    database.execute(
        "insert into cdc_bridge.audit (who, via, action, endpoint, details) "
        "values (%s, 'command', left(%s, 100), left(%s, 100), jsonb_build_object(%s::text, %s::text))",
        [HOSTILE] * 5,
    )
    printed = {}
    for each in arguments:
        _, output, errors = await run_command(*each, **bridges.settings)
        printed[each] = output + errors
    readable = (
        "status", "check", "deliveries", "delivery show", "reconcile", "endpoint list", "endpoint show", "token list",
        "audit",
    )  # fmt: skip
    for command in readable:
        more = {"delivery show": (seq,), "endpoint show": ("default",)}.get(command, ())
        _, output, errors = await run_command(*command.split(), *more, "--json", **bridges.settings)
        printed[command, "--json"] = output + errors
        json.loads(output)
    database.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, headers, ca_file, position, cluster) "
        "values ('hostile', false, %s, %s, %s, '1:1:', 1)",
        [f"https://till.example/{HOSTILE}", [f"{HOSTILE}: x"], f"/{HOSTILE}"],
    )
    for form in ((), ("--json",)):
        _, output, errors = await run_command("endpoint", "export", *form, **bridges.settings)
        printed["endpoint", "export", *form] = output + errors
        exported = json.loads(output) if form else tomllib.loads(output)
        assert exported["endpoints"]["hostile"]["ca_file"] == f"/{HOSTILE}"
    assert {each: found for each, text in printed.items() if (found := raw_in(text))} == {}
    assert [each for each, text in printed.items() if "Traceback" in text] == []
    named = {" ".join(each[: len(command.split())]) for each in printed for command in COMMANDS}
    assert set(COMMANDS) - named <= {"systemd print", "contract openapi", "contract api", "contract vector", "demo"}
    assert "PWNED" in printed["deliveries",]
    assert LETTERS.split()[0] in printed["deliveries",]
    await until(lambda: any("PWNED" in line for line in bridge.output), "the log names the reservation")
    assert await bridge.terminate() == 0
    assert raw_in("".join(bridge.output)) == set()


async def test_payload_is_the_same_json(database: Database, bridges: Bridges) -> None:
    book(database)
    for flags in ((), ("--pretty",)):
        code, output, _ = await run_command("payload", ID, *flags, **bridges.settings)
        assert code == 0
        assert raw_in(output) == set()
        body = json.loads(output)
        assert (body["id"], body["notes"]) == (ID, NOTES)
        assert LETTERS.split()[1] in output


@pytest.mark.slow
async def test_commands_escape_on_a_terminal_too(
    database: Database, bridges: Bridges, endpoint: EndpointCommands
) -> None:
    book(database)
    await endpoint.run("add", "till", "https://till.example/")
    await run_command("backfill", "till", **bridges.settings)
    for arguments in (
        ("erase", ID),
        ("payload", ID),
        ("deliveries",),
        ("reconcile",),
        ("status",),
        ("delivery", "show", ID),
        ("guide", ID),
    ):
        printed = await on_terminal(*arguments, **bridges.settings)
        assert raw_in(printed, on_terminal=True) == set(), arguments


async def on_terminal(*arguments: str, **settings: str) -> str:
    outer, inner = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", *arguments, stdin=inner, stdout=inner, stderr=inner,
        env=clean_environment(settings) | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(inner)
    loop, printed, ended = asyncio.get_running_loop(), bytearray(), asyncio.Event()

    def read() -> None:
        try:
            printed.extend(os.read(outer, 65536))
        except OSError:  # The other end is closed.
            loop.remove_reader(outer)
            ended.set()

    loop.add_reader(outer, read)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await process.wait()
        await ended.wait()
    os.close(outer)
    return printed.decode()


@pytest.mark.departs_from_contract("its id is no id of e-Res")
async def test_dashboard_shows_it_escaped(
    database: Database, page_bridge: object, operator: Visitor, receiver: Receiver
) -> None:
    book(database)
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery"), "it is recorded")
    listed = await operator.get("/deliveries")
    assert "PWNED" in listed.text
    assert raw_in(listed.text) == set()
    seq = database.value("select max(seq) from cdc_bridge.delivery")
    assert raw_in((await operator.get(f"/deliveries/default/{seq}")).text) == set()
