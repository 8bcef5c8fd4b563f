"""The operator guide's commands about endpoints are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cdc_bridge.guides import Guide, guide_text
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
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
