"""Reads docker-compose.yml, without a YAML library and without an engine.

Only as much of YAML is understood as the file uses: mappings, lists of texts, texts plain or in double quotes, numbers
and flags. Whatever else comes to stand in it is an error, so that nothing is taken for something else.
"""

from __future__ import annotations

import json
import re
from typing import Any

_COMMENT = re.compile(r"(^|\s+)#.*$")
_KEY = re.compile(r"(?P<key>[\w.-]+):(?: (?P<value>.+))?")
_NOT_PLAIN = re.compile(r"[&*!|>{}%@`'?,]|- |.*: |.*:$")
_OTHER_THAN_IT_SEEMS = re.compile(r"(?i)yes|no|on|off|null|~|[\d.:_]+|0x.*")  # not a text to every reader of YAML

Lines = list[tuple[int, str]]


def read(text: str) -> Any:
    """Return what the text of a compose file says.

    Raises:
        ValueError: it uses more of YAML than is understood.
    """
    bare = [_COMMENT.sub("", line) for line in text.splitlines()]
    lines = [(len(line) - len(line.lstrip(" ")), line.strip()) for line in bare if line]
    said = _block(lines)
    if lines:
        raise ValueError(f"not understood: {lines[0][1]}")
    return said


def _block(lines: Lines) -> Any:
    return _list(lines, lines[0][0]) if lines[0][1].startswith("- ") else _mapping(lines, lines[0][0])


def _list(lines: Lines, indent: int) -> list[Any]:
    items = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
        items.append(_scalar(lines.pop(0)[1].removeprefix("- ")))
    return items


def _mapping(lines: Lines, indent: int) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    while lines and lines[0][0] == indent:
        _, line = lines.pop(0)
        found = _KEY.fullmatch(line)
        if not found or found["key"] in entries:
            raise ValueError(f"not understood, or said twice: {line}")
        if found["value"] is not None:
            entries[found["key"]] = _scalar(found["value"])
        else:
            entries[found["key"]] = _block(lines) if lines and lines[0][0] > indent else None
    return entries


def _scalar(text: str) -> Any:
    if text[0] in '["':
        return json.loads(text)
    if text in {"true", "false"} or text.isdecimal():
        return json.loads(text)
    if _NOT_PLAIN.match(text) or _OTHER_THAN_IT_SEEMS.fullmatch(text):
        raise ValueError(f"not understood, put it into double quotes: {text}")
    return text
