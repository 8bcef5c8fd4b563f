"""Reads the Dockerfile, without an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "cdc_bridge" / "packaging" / "Dockerfile"

_CONTINUED = re.compile(r" *\\\n *")


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, as (name, arguments)."""
    found: list[list[tuple[str, str]]] = []
    text = "".join(line for line in DOCKERFILE.read_text().splitlines(keepends=True) if not line.startswith("#"))
    for line in _CONTINUED.sub(" ", text).splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        if name:
            found[-1].append((name, arguments))
    return found


def instructions(wanted: str) -> list[str]:
    """Return the arguments of all instructions with a name."""
    return [arguments for stage in stages() for name, arguments in stage if name == wanted]


def health_check() -> list[str]:
    """Return the words of the health check, as docker-compose.yml has them."""
    (arguments,) = instructions("HEALTHCHECK")
    _, _, words = arguments.partition(" CMD ")
    return ["CMD", *json.loads(words)]
