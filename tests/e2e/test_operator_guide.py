"""The operator guide's commands about endpoints are run, in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cdc_bridge.guides import Guide, guide_text
from tests.support.certificates import Certificates
from tests.support.endpoints import EndpointCommands
from tests.support.receiver import Receiver


def commands_below(heading: str) -> list[list[str]]:
    """Return the commands of the block below a heading of the guide, in words."""
    section = guide_text(Guide.OPERATOR).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
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
