"""Help of the commands: what a command does, then its options in groups, in the width that there is.

An option is shown as it is typed, with a word for its value: a type such as ``<bool>`` says nothing to its reader.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cdc_bridge.table_layout import wrap

_MOST_COLUMNS = 100
"""Longer lines are hard to read."""
_INDENT = "  "
_LONGEST_NAME = 26
"""What is longer has its text on the next line."""
_SHORT_CHOICES = 24
_EXAMPLE = "Example: "
_CONTINUED = " \\"
_KINDS_OF_CLICK = {"integer": int, "float": float, "path": Path, "file": Path}
_LAST = ("Options", "Settings")
"""Groups that come after all others."""


def with_help(command: Any) -> Any:
    """Have a command, and the commands of a group, explain themselves as said here; return it."""
    command.format_help = lambda context, formatter: formatter.write(help_text(command, context, _columns()))
    command.get_usage = lambda context: "\n".join(_usage(command, context, _columns()))
    for each in getattr(command, "commands", {}).values():
        with_help(each)
    return command


def help_text(command: Any, context: Any, columns: int) -> str:
    """Return a command's help.

    Args:
        command: A command or a group of typer's.
        context: Its context.
        columns: Width of the terminal.
    """
    lines = [*_usage(command, context, columns), *_paragraphs(command.help or "", columns)]
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        if not getattr(parameter, "hidden", False):
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or default
            groups.setdefault(panel, []).append((_shown(parameter), _meaning(parameter)))
    for each in getattr(command, "commands", {}).values():
        panel = getattr(each, "rich_help_panel", None) or "Commands"
        groups.setdefault(panel, []).append(
            (each.name, (each.help or "").strip().partition("\n\n")[0].replace("\n", " "))
        )
    names = [name for group in groups.values() for name, _ in group]
    column = max((len(name) for name in names if len(name) <= _LONGEST_NAME), default=0) + 2 * len(_INDENT)
    for title, group in sorted(groups.items(), key=lambda each: _LAST.index(each[0]) if each[0] in _LAST else -1):
        lines += ["", title]
        for name, meaning in group:
            lines += _entry(name, meaning, column, columns)
    lines += _paragraphs(command.epilog or "", columns)
    return "\n".join(lines) + "\n"


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, _MOST_COLUMNS)


def _usage(command: Any, context: Any, columns: int) -> Iterator[str]:
    words = [context.command_path]
    if hasattr(command, "commands"):
        words.append("COMMAND")
    words += [_metavar(each) for each in command.params if each.param_type_name == "argument"]
    first, *more = wrap(f"Usage: {' '.join(words)} [OPTIONS]", columns, len)
    yield first
    yield from (_INDENT + line for line in more)


def _paragraphs(text: str, columns: int) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        if not paragraph:
            continue
        yield ""
        if paragraph.startswith(_EXAMPLE):
            # To be copied: a shell joins its lines.
            first, *more = wrap(" ".join(paragraph.split()), columns - len(_CONTINUED) - len(_INDENT), len)
            *lines, last = [first, *(_INDENT + line for line in more)]
            yield from (line + _CONTINUED for line in lines)
            yield last
        else:
            yield from wrap(" ".join(paragraph.split()), columns, len)


def _entry(name: str, meaning: str, column: int, columns: int) -> Iterator[str]:
    first, *more = wrap(meaning, columns - column, len)
    head = _INDENT + name
    if len(head) + len(_INDENT) > column:
        yield head
        more = [first, *more]
    else:
        yield f"{head:<{column}}{first}".rstrip()
    yield from (" " * column + line for line in more)


def _shown(parameter: Any) -> str:
    """Return an option as it is typed."""
    if parameter.param_type_name == "argument":
        return _metavar(parameter)
    names = sorted(parameter.opts, key=len) + list(parameter.secondary_opts)
    value = "" if parameter.is_flag else f" {_metavar(parameter)}"
    return ", ".join(names) + value


def _metavar(parameter: Any) -> str:
    """Return the word for a parameter's value."""
    if parameter.metavar:
        return str(parameter.metavar)
    choices = "|".join(_choices(parameter))
    kinds = _kinds(parameter)
    if choices and len(choices) <= _SHORT_CHOICES:
        return choices
    if Path in kinds:
        return "FILE"
    if int in kinds or float in kinds:
        return "NUMBER"
    name = parameter.opts[0].lstrip("-").replace("_", "-")
    return str(name).rpartition("-")[2].upper()


def _meaning(parameter: Any) -> str:
    """Return what a parameter means, with its values, its limits and its default."""
    parts = [parameter.help or ""]
    choices = _choices(parameter)
    if choices and len("|".join(choices)) > _SHORT_CHOICES:
        parts.append(f"One of {', '.join(choices)}.")
    limits = [
        f"{word} {limit}"
        for word, limit in (("at least", _limit(parameter, "min")), ("at most", _limit(parameter, "max")))
        if limit is not None
    ]
    default = parameter.default
    default = default.value if isinstance(default, Enum) else default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        limits.append(f"default {default}")
    if limits:
        parts.append(f"[{', '.join(limits)}]")
    return " ".join(filter(None, parts))


def _limit(parameter: Any, name: str) -> Any:
    return getattr(parameter, name, None) or getattr(_type_of_click(parameter), name, None)


def _choices(parameter: Any) -> Sequence[str]:
    for kind in _kinds(parameter):
        if get_origin(kind) is Literal:
            return [str(choice) for choice in get_args(kind)]
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [str(choice.value) for choice in kind]
    return [str(choice) for choice in getattr(_type_of_click(parameter), "choices", ())]


def _kinds(parameter: Any) -> Sequence[Any]:
    """Return the type of a parameter's value; of a list, that of one."""
    descriptor = getattr(parameter, "type_descriptor", None)
    if descriptor is None:
        name = str(getattr(_type_of_click(parameter), "name", "")).partition(" ")[0]
        return [kind for kind in (_KINDS_OF_CLICK.get(name),) if kind is not None]
    annotation = descriptor.annotation
    return (annotation, *get_args(annotation)) if get_origin(annotation) is not Literal else (annotation,)


def _type_of_click(parameter: Any) -> Any:
    """Return what says the type where typer is built on click, as older versions are."""
    return getattr(parameter, "type", None)
