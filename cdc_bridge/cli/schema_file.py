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
    if not _describes_objects(parsed) or "id" not in parsed["properties"]:
        raise unusable_schema(file, 'does not describe a reservation: it has no property "id"')
    schema: dict[str, Any] = parsed
    return schema


def _describes_objects(schema: Any) -> bool:
    """Return whether it describes an object, and objects in that, in the form that everybody reads."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return isinstance(properties, dict) and all(
        isinstance(each, dict) and ("properties" not in each or _describes_objects(each))
        for each in properties.values()
    )


def unusable_schema(file: Path, problem: str) -> WrongUsage:
    """Return what is wrong with a schema's file."""
    return WrongUsage(f"--schema {file} {problem}")
