"""A JSON Schema that a vendor and a restaurant agreed on, as an option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_bridge.errors import WrongUsage

SchemaOption = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        help="JSON Schema of the bodies, if you agreed on others: cdc-bridge contract schema --payload NAME.",
    ),
]


def schema_in(file: Path) -> dict[str, Any]:
    """Return the schema in a file.

    Raises:
        WrongUsage: It cannot be read, or describes no body.
    """
    try:
        parsed = json.loads(file.read_bytes())
    except OSError as error:
        raise unusable_schema(file, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise unusable_schema(file, "is not JSON") from None
    if not isinstance(parsed, dict) or "id" not in (parsed.get("properties") or ()):
        raise unusable_schema(file, 'does not describe a reservation: it has no property "id"')
    return parsed


def unusable_schema(file: Path, problem: str) -> WrongUsage:
    """Return what is wrong with a schema's file."""
    return WrongUsage(f"--schema {file} {problem}")
