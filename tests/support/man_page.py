"""Makes the man page of the commands and settings (``make man``).

Its date is that of the last change of anything else in it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from cdc_bridge import __version__
from cdc_bridge.cli.app import LazyCommand, app
from cdc_bridge.packaging.settings_example import described, has_default, is_secret
from cdc_bridge.settings import PREFIX, Settings
from cdc_bridge.settings_sources import CONFIG_VARIABLE, CREDENTIALS_FOLDER, DEFAULT_CONFIG

PAGE = Path(__file__).parents[2] / "cdc_bridge" / "packaging" / "cdc-bridge.1"

_DATE = re.compile(r'(?<=^\.TH CDC\\-BRIDGE 1 )"[^"]*"', re.MULTILINE)
_EXAMPLE = "Example: "
_OF_MOST_COMMANDS = ("--config", "--database-url")
_EXIT_CODES = {
    "0": "Done.",
    "1": "Failed; what mends it is said.",
    "2": "Wrong usage.",
    "78": "Wrong settings; systemd does not start the daemon again.",
}
_FILES = {
    str(DEFAULT_CONFIG): "The settings, unless --config or the environment names another file.",
    str(CREDENTIALS_FOLDER): "Secrets of the service, a file each, named as its setting.",
    "/etc/systemd/system/cdc-bridge.service": "The unit that cdc-bridge systemd install writes.",
}


def man_page(date: str) -> str:
    """Return the page, made on a day."""
    root = command()
    lines = [
        '.\\" Made by "make man" of the commands and settings; not to be changed by hand.',
        f'.TH CDC\\-BRIDGE 1 "{date}" "cdc\\-bridge {__version__}" "User Commands"',
        ".nh",  # No word is divided and no line stretched: commands and names are to be copied.
        ".ad l",
        ".SH NAME",
        "cdc\\-bridge \\- sends a webhook for each change of an e\\-Res reservation",
        ".SH SYNOPSIS",
        ".B cdc\\-bridge",
        ".I command",
        ".RI [ options ]",
        ".SH OPTIONS",
        *(line for parameter in root.params for line in _parameter(parameter)),
        ".TP",
        '.BR \\-h ", " \\-\\-help',
        "What a command does, and its options.",
        *_of_most_commands(command("run")),
        ".SH COMMANDS",
        *_commands(root, ""),
        ".SH SETTINGS",
        _text(
            "Each comes from a flag, from the environment, from a systemd credential or from the file, in this order. "
            "In the file and among the credentials the names are the same in lower case, in the file without "
            f"{PREFIX}."
        ),
        *(line for name, field in Settings.model_fields.items() for line in _setting(name, field)),
        ".TP",
        f".B {_text(CONFIG_VARIABLE)}",
        _text(f"The file with the settings. Default: {DEFAULT_CONFIG}, if it is there."),
        *_list("EXIT STATUS", _EXIT_CODES),
        *_list("FILES", _FILES),
    ]
    return "\n".join(lines) + "\n"


def command(*names: str) -> Any:
    """Return a command by its names, or without one the program."""
    found: Any = typer.main.get_command(app)
    for name in names:
        found = found.get_command(typer.Context(found), name)
        found = found.load() if isinstance(found, LazyCommand) else found
    return found


def main() -> None:
    """Write the page, if anything but its date is new."""
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if old != man_page(date_of(old)):
        PAGE.write_text(man_page(f"{datetime.now(tz=UTC):%Y-%m-%d}"), encoding="utf-8")


def date_of(page: str) -> str:
    """Return the day on which a page was made."""
    found = _DATE.search(page)
    return found[0].strip('"') if found else ""


def _commands(group: Any, before: str) -> Iterator[str]:
    for name, listed in group.commands.items():
        each = listed.load() if isinstance(listed, LazyCommand) else listed
        if hasattr(each, "commands"):
            yield from _commands(each, f"{before}{name} ")
            continue
        arguments = [parameter for parameter in each.params if parameter.param_type_name == "argument"]
        yield f".SS cdc\\-bridge {_text(before + name)}" + "".join(
            f" {_text(_metavar(argument))}" for argument in arguments
        )
        yield from _help(each.help)
        for parameter in each.params:
            if parameter.opts[0] not in _OF_MOST_COMMANDS:
                yield from _parameter(parameter)


def _of_most_commands(one: Any) -> Iterator[str]:
    for parameter in one.params:
        if parameter.opts[0] in _OF_MOST_COMMANDS:
            yield from _parameter(parameter)


def _help(text: str) -> Iterator[str]:
    words, _, example = text.partition(_EXAMPLE)
    for number, paragraph in enumerate(words.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield _text(paragraph)
    if example:
        yield from (".PP", "Example:", ".RS 2", *(f".B {_text(line)}\n.br" for line in example.splitlines()), ".RE")


def _parameter(parameter: Any) -> Iterator[str]:
    yield ".TP"
    if parameter.param_type_name == "argument":
        yield f".I {_text(_metavar(parameter))}"
    else:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag else f' " {_metavar(parameter)}"'
        yield f'.BI "{_text(names)}"{value}'
    default = f" Default: {parameter.default}." if isinstance(parameter.default, int) and parameter.default else ""
    yield _text((parameter.help or "") + default)


def _metavar(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Literal:
            return "|".join(get_args(kind))
        if isinstance(kind, type) and not get_args(kind) and issubclass(kind, Enum):
            return "|".join(choice.value for choice in kind)
    return str(parameter.metavar or parameter.name.strip("_").replace("_", "-")).upper()


def _setting(name: str, field: Any) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(PREFIX + name.upper())}"
    default = f" Default: {str(field.default).lower()}." if has_default(field) else ""
    yield _text(described(field) + default + (" A secret." if is_secret(field) else ""))


def _list(title: str, items: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, meaning in items.items():
        yield from (".TP", f".B {_text(name)}", _text(meaning))


def _text(words: str) -> str:
    """Return words as roff takes them: nothing in them is a request, a hyphen is one that can be copied."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    filled = "\n".join(textwrap.wrap(escaped, 78, break_long_words=False, break_on_hyphens=False))
    return re.sub(r"^\.", r"\\&.", filled, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
