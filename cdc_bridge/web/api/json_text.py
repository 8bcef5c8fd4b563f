"""JSON of requests and responses."""

from __future__ import annotations

from typing import Any

import orjson

from cdc_bridge.escaping import escaped


def json_of(value: Any) -> str:
    """Return a value as JSON, times in UTC; what a terminal would obey is escaped in it."""
    return escaped(orjson.dumps(value, option=orjson.OPT_UTC_Z).decode())
