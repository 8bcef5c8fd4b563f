"""What an EPOS vendor gets: the announcement's example, and the names it fixes."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def example() -> dict[str, Any]:
    """Return the announcement's example."""
    text = files("cdc_bridge.contract").joinpath("reservation-example.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def column_names() -> list[str]:
    """Return the keys of the contract in their order, nested ones with a dot, as the payload view names its columns."""
    names: list[str] = []
    for key, value in example().items():
        names += [f"{key}.{nested}" for nested in value] if isinstance(value, dict) else [key]
    return names
