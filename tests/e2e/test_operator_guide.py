"""The operator guide's commands about endpoints, and its requests to the HTTP API, are run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from cdc_bridge.endpoints.option_input import checked_secret
from cdc_bridge.guides import Guide, guide_text
from tests.support.api import API_TOKEN
from tests.support.bridge import Bridge, Bridges, clean_environment, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.launcher import PROJECT
from tests.support.payloads import define_payload, replace_in_payload
from tests.support.receiver import Receiver


def commands_below(heading: str) -> list[list[str]]:
    """Return the commands of the block below a heading of the guide, in words."""
    section = guide_text(Guide.OPERATOR).partition(f"# {heading}\n")[2].partition("\n##")[0]
    return [shlex.split(line) for line in re.findall(r"^    cdc-bridge endpoint (.*)$", section, flags=re.MULTILINE)]


async def test_commands_about_endpoints_run_in_their_order(
    endpoint: EndpointCommands, receiver: Receiver, certificates: Certificates, tmp_path: Path
) -> None:
    headers = tmp_path / "till-headers"
    headers.write_text("x-api-key: let-me-in\n")
    here = {
        "https://till.example/reservations": receiver.url,
        "https://till.example/v2": receiver.url,
        "/run/till-headers": str(headers),
    }
    more = {"add": ("--ca-file", str(certificates.ca_file)), "remove": ("--yes",)}
    commands = commands_below("Endpoints")
    for command, *arguments in commands:
        await endpoint.run(command, *(here.get(word, word) for word in arguments), *more.get(command, ()))
    assert [command for command, *_ in commands][:2] == ["add", "test"]
    (request,) = receiver.requests
    assert request.headers["x-api-key"] == "let-me-in"
    assert await endpoint.json("list") == []


async def test_manifest_is_applied_as_it_is_shown(
    database: Database, endpoint: EndpointCommands, tmp_path: Path
) -> None:
    define_payload(database, "select r.id, r.room_name from {reservation} r", "kitchen")
    section = guide_text(Guide.OPERATOR).partition("# Many endpoints\n")[2].partition("\n##")[0]
    (manifest,) = re.findall(r"^```toml\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "endpoints.toml").write_text(manifest)
    commands = commands_below("Many endpoints")
    assert [command for command, *_ in commands] == ["apply", "apply", "export"]
    for command, *arguments in commands[:2]:
        await endpoint.run(
            command, *(word.replace("endpoints.toml", f"{tmp_path}/endpoints.toml") for word in arguments)
        )
    exported = await endpoint.run("export")
    assert "***" in exported
    assert "nothing to do" in await endpoint.run("apply", "-", standard_input=exported.encode())
    assert [facts["name"] for facts in await endpoint.json("list")] == ["screen", "till"]


async def test_commands_about_what_an_endpoint_gets_run(database: Database, endpoint: EndpointCommands) -> None:
    database.execute("alter table reservations add column restaurant_id text not null default ''")
    last = 'k.provider_sid as "call.provider_sid"'
    replace_in_payload(database, last, f'{last}, r.restaurant_id as "@restaurant_id"')
    for payload in ("kitchen", "covers"):
        define_payload(database, "select r.id from {reservation} r", payload)
    commands = commands_below("What an endpoint gets")
    assert {command for command, *_ in commands} == {"set"}
    for command, name, *options in commands:
        await endpoint.run("add", name, "https://till.example/")
        await endpoint.run(command, name, *options)
    given = "select bool_or(payload <> 'reservation'), bool_or(\"only\" <> '{}'), bool_or(events <> 'both'), "
    assert database.execute(f"{given} bool_or(skip_unchanged) from cdc_bridge.endpoint") == [(True,) * 4]


FAILING_CURL = 'set -eu\ncurl() { command curl --fail-with-body "$@"; echo; }\n'


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_requests_to_the_api_run_in_their_order(
    api_bridge: Bridge, page_port: int, receiver: Receiver, certificates: Certificates, tmp_path: Path
) -> None:
    section = guide_text(Guide.OPERATOR).partition("# HTTP API\n")[2].partition("\n##")[0]
    (script,) = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    token = tmp_path / "web_api_token"
    token.write_text(f"{API_TOKEN}\n")
    for there, here in {
        "/etc/cdc-bridge/credentials/web_api_token": str(token),
        "127.0.0.1:9187": f"127.0.0.1:{page_port}",
        "https://till.example/reservations": receiver.url,
        '"headers"': f'"ca_file": "{certificates.ca_file}", "headers"',
    }.items():
        assert there in script
        script = script.replace(there, here)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        FAILING_CURL + script,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    responses = [json.loads(line) for line in output.decode().splitlines() if line]
    assert len(responses) == script.count("\ncurl ") - 1  # A removal has no body.
    assert (responses[0]["name"], responses[2]["delivered"]) == ("till", True)
    done = [line["what"] for line in api_bridge.log if line["event"] == "api change"]
    assert (done[0], done[-1]) == ("endpoint added", "endpoint removed")
    (request,) = receiver.requests
    assert request.headers["x-api-key"] == "..."


async def test_commands_about_tokens_and_the_portal_run_in_their_order(
    database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", "https://till.example/")
    for heading in ("Tokens and audit log", "Portal for vendors"):
        section = guide_text(Guide.OPERATOR).partition(f"## {heading}\n")[2].partition("\n##")[0]
        (block,) = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        for line in block.splitlines():
            _, *words = shlex.split(line)
            code, output, errors = await run_command(*words, **endpoint.settings)
            assert (code, "Traceback" in errors) == (0, False), output + errors
    assert database.execute("select action from cdc_bridge.audit order by at, audit_id")[1:] == [
        ("token added",), ("token removed",), ("portal link made",), ("portal link made",), ("portal link revoked",),
    ]  # fmt: skip


PIP = "/opt/cdc-bridge/bin/pip install "
SHELL_COMMANDS = 'set -eu\ncdc-bridge() { "$PYTHON" -m cdc_bridge "$@"; }\n'


async def test_secrets_are_encrypted_change_their_key_and_are_decrypted_as_it_says(
    database: Database, receiver: Receiver, certificates: Certificates, bridges: Bridges, tmp_path: Path
) -> None:
    section = guide_text(Guide.OPERATOR).partition("# Secrets in the database\n")[2].partition("\n##")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    config, database_url = tmp_path / "config.toml", bridges.settings["CDC_BRIDGE_DATABASE_URL"]
    config.write_text("# of the service\n")
    here = {
        "/etc/cdc-bridge/config.toml": str(config),
        "/etc/cdc-bridge/tls/": f"{tmp_path}/",
        "/run/credentials/cdc-bridge.service/tls_secrets.key": str(tmp_path / "secrets.key"),
    }
    service = {"CDC_BRIDGE_DATABASE_URL": database_url, "CDC_BRIDGE_CONFIG": str(config)}
    daemon = service | {"CDC_BRIDGE_LOG_FORMAT": "json"}
    bridges.settings.clear()
    bridge = await bridges.start(**daemon)
    given = ("--ca-file", str(certificates.ca_file), "--header", "x-api-key: let-me-in")
    code, output, errors = await run_command("endpoint", "add", "till", receiver.url, *given, **service)
    assert code == 0, output + errors
    database.execute("insert into customers (id) values ('C')")
    script = "".join(blocks)
    for there, ours in here.items():
        script = script.replace(there, ours)
    in_use: list[list[str]] = []
    for number, line in enumerate(script.splitlines(), start=1):
        if line == "systemctl restart cdc-bridge":
            assert await bridge.terminate() == 0
            bridge = await bridges.start(**daemon)
        elif not line.startswith(PIP):
            await run_in_shell(line, clean_environment(service))
        database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (f"R{number}",))
        request = (await receiver.wait_for_delivered(number))[-1]
        assert request.headers["x-api-key"] == "let-me-in"
        keys = database.value("select array_agg(distinct coalesce(key_id, 'plain')) from cdc_bridge.endpoint_secret")
        if keys not in in_use[-1:]:
            in_use.append(keys)
    assert [len(keys) for keys in in_use] == [1, 1, 1, 1]
    assert (in_use[0], in_use[3]) == (["plain"], ["plain"])
    assert in_use[1] != in_use[2]
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert config.read_text() == "# of the service\n"


async def run_in_shell(line: str, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", SHELL_COMMANDS + line,
        env=environment | {"PYTHON": sys.executable, "PYTHONPATH": str(PROJECT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{line}\n{output.decode()}"


async def output_of(script: str, **more: str) -> str:
    environment = clean_environment({}) | more
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_command_for_a_signing_secret_makes_one() -> None:
    found = re.findall(r"^    (echo .*openssl rand[^>\n]*)", guide_text(Guide.OPERATOR), flags=re.MULTILINE)
    assert len(found) == 2
    for line in found:
        secret = (await output_of(line)).rstrip("\n")
        assert checked_secret(secret) == secret


async def test_alias_has_commands_run_as_the_service(tmp_path: Path) -> None:
    section = guide_text(Guide.OPERATOR).partition("# Commands on a host with the service\n")[2].partition("\n##")[0]
    (alias,) = re.findall(r"^    (alias .*)$", section, flags=re.MULTILINE)
    (program := tmp_path / "cdc-bridge").write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script = f"shopt -s expand_aliases\n{alias}\ncdc-bridge status --json\n"
    assert await output_of(script, PATH=f"{tmp_path}:{os.environ['PATH']}") == "systemd exec status --json\n"
