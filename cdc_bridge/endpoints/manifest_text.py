"""The text of a manifest, in TOML or JSON: read, searched for the line of what is wrong, and written.

Neither parser tells where a value stood. So the lines are looked for once something is wrong.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from cdc_bridge.errors import WrongUsage
from cdc_bridge.escaping import escaped

ENDPOINTS, DEFAULTS = "endpoints", "defaults"

Path = tuple[str, ...]
"""Keys that lead to a value: ``("endpoints", "till", "url")``."""

_HEAD = """\
# For cdc-bridge endpoint apply. What is not here has its default.
# *** stands for what is stored and not shown: the value of a header, the query of a URL, user and password of a proxy.
"""
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:\n]')
_TOML_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL)
_TOML_KEY = r'(?:[A-Za-z0-9_-]+|"[^"\n]*"|\'[^\'\n]*\')'
_TOML_KEYS = rf"[ \t]*({_TOML_KEY}(?:[ \t]*\.[ \t]*{_TOML_KEY})*)[ \t]*"
_TOML_LINE = re.compile(rf"[ \t]*(?:\[{_TOML_KEYS}\]|{_TOML_KEYS}=)")


def parsed(text: str) -> Mapping[str, Any]:
    """Return what a manifest holds: JSON if it begins with a brace, else TOML.

    Raises:
        WrongUsage: It is neither. Quotes no value of it.
    """
    is_json = _is_json(text)
    try:
        return dict(json.loads(text, object_pairs_hook=_object) if is_json else tomllib.loads(text))
    except _TwiceError as error:
        raise WrongUsage(
            f'the manifest has the key "{error.key}" twice in one object, {_twice(text, error.key)}'
        ) from None
    except (ValueError, RecursionError) as error:
        form, remedy = ("JSON", "") if is_json else ("TOML", "A manifest in JSON begins with {.")
        raise WrongUsage(f"the manifest is not {form}: {error}", remedy) from None


def lines_in(text: str) -> Mapping[Path, int]:
    """Return the line of each table and of each key in a manifest that was parsed."""
    found: dict[Path, int] = {}
    for path, line in _json_lines(text) if _is_json(text) else _toml_lines(text):
        for length in range(1, len(path) + 1):
            found.setdefault(path[:length], line)
    return found


def as_toml(manifest: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a manifest as TOML."""
    texts = [
        "".join([f"[{ENDPOINTS}.{name}]\n", *(f"{key} = {toml_value(value)}\n" for key, value in table.items())])
        for name, table in manifest[ENDPOINTS].items()
    ]
    return "\n".join([_HEAD, *(texts or [f"[{ENDPOINTS}]\n"])])


def as_secrets(secrets: Mapping[str, str]) -> str:
    """Return signing secrets as TOML, by the name of the endpoint."""
    return "".join(f"{name} = {toml_value(secret)}\n" for name, secret in secrets.items())


def toml_value(value: Any) -> str:
    """Return a value as TOML has it; ``""`` for none, which is read as such."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return '""'
        case str():
            return f'"{"".join(map(_character, value))}"'
        case list():
            return f"[{', '.join(map(toml_value, value))}]"
        case _:
            return repr(value)


def _character(character: str) -> str:
    """Return a character of a string in TOML; one that does not show itself as it is becomes an escape."""
    if character in {'"', "\\"}:
        return f"\\{character}"
    if escaped(character) == character:
        return character
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


class _TwiceError(ValueError):
    """An object in JSON has a key twice, of which a parser would keep one in silence."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


def _twice(text: str, key: str) -> str:
    """Say where a key stands twice; what follows the second place may be no JSON."""
    first: dict[Path, int] = {}
    for path, line in _json_lines(text):
        if path in first and path[-1] == key:
            return f"at line {first[path]} and line {line}"
        first[path] = line
    return "at an unknown line"


def _json_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the path and the line of each key in a text that is JSON."""
    path: list[str] = []
    line, key, key_line = 1, "", 1
    for found in _JSON_TOKEN.finditer(text):
        match found[0]:
            case "\n":
                line += 1
            case ":":
                yield (*path[1:], json.loads(key)), key_line
            case "{" | "[":
                path.append(json.loads(key) if key else "")
            case "}" | "]":
                path.pop()
            case string:
                key, key_line = string, line


def _toml_lines(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the path and the line of each table and each key that begins a line in a text that is TOML."""
    table: Path = ()
    for number, line in enumerate(_TOML_STRING.sub(_on_one_line, text).split("\n"), start=1):
        if (found := _TOML_LINE.match(line)) is None:
            continue
        if found[1]:
            table = _keys(found[1])
            yield table, number
        else:
            yield (*table, *_keys(found[2])), number


def _on_one_line(string: re.Match[str]) -> str:
    """Return a string or a comment; of one of several lines only their ends, as nothing in it is a key."""
    return "\n" * string[0].count("\n") or string[0]


def _keys(text: str) -> Path:
    return tuple(key.strip("\"'") for key in re.findall(_TOML_KEY, text))
