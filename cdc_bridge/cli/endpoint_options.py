"""Flags for the options of an endpoint, made from their declaration."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cdc_bridge.console import print_line
from cdc_bridge.endpoints.option import Group, Kind, Option, Setter
from cdc_bridge.endpoints.option_input import STANDARD_INPUT, Given, header_lines_of, line_of, secret_line_of
from cdc_bridge.endpoints.options import OPTIONS, options_for
from cdc_bridge.errors import WrongUsage
from cdc_bridge.own_files import everybody_reads

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name.", show_default=False)]

SecretFileOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        allow_dash=True,
        readable=False,  # Whoever reads it says who may not.
        rich_help_panel=Group.REQUEST.value,
        help="File with a signing secret that the vendor made, whsec_...; - is standard input. It is not printed.",
    ),
]


class Start(StrEnum):
    """Where a new endpoint begins."""

    now = "now"
    oldest = "oldest"


_THERE = "; a path on the daemon's machine"
_READABLE_BY_ALL = "Every user of this machine can read a command line: give one whose value is secret by --{}-file."

Command = Callable[..., None]


def with_flags_for_all_options(*, adding: bool) -> Callable[[Command], Command]:
    """Give a command a flag for each option that an operator may set, in place of its ``**options``.

    Args:
        adding: Whether the endpoint is new: then an option without a default is an argument.
    """
    return lambda command: _with_parameters(
        command, [each for option in options_for(Setter.OPERATOR) for each in _parameters(option, adding=adding)]
    )


def with_flags_for(*names: str) -> Callable[[Command], Command]:
    """Give a command that knows of no daemon a flag for each of some options, in place of its ``**options``."""
    return lambda command: _with_parameters(
        command,
        [each for name in names for each in _parameters(OPTIONS[name], adding=False, files_are="")],
    )


def given_options(parameters: Mapping[str, Any]) -> Given:
    """Return the options among a command's parameters, only those that were given.

    Raises:
        WrongUsage: A file cannot be read, or does not hold what it should; or an option is given twice.
    """
    given = {}
    for option in OPTIONS.values():
        value = parameters.get(option.name)
        if option.kind is Kind.LINES:
            value = _lines(value, parameters.get(f"{option.singular}_file") if option.secret else None)
        elif option.read_from_file:
            value = _text(option, value, parameters.get(f"{option.name}_file"))
        if value is not None:
            given[option.name] = value
    return given


def given_secret(file: Path | None) -> str | None:
    """Return the signing secret in a file, and warn if every user of this machine can read it.

    Raises:
        WrongUsage: The file cannot be read, or has no secret in it.
    """
    if file is None:
        return None
    secret = secret_line_of(file)
    if file != STANDARD_INPUT and everybody_reads(file):
        print_warnings([f"--secret-file: every user of this machine can read {file}; {how_to_withdraw(file)}"])
    return secret


def how_to_withdraw(*files: str | Path) -> str:
    """Return how others' right to read files is withdrawn; whoever reads them by that right has to get them else."""
    command = shlex.join(["chmod", "o-r", *map(str, files)])
    if all(Path(file).stat().st_uid == os.geteuid() for file in files):
        return f"withdraw that: {command}"
    return f"withdraw that: {command}, and pass it on standard input from then on: - < FILE"


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for warning in warnings:
        print_line(f"cdc-bridge: warning: {warning}", err=True)


def _lines(lines: list[str] | None, file: Path | None) -> tuple[str, ...] | None:
    """Return the lines given in one way or the other; ``None``: none were. An empty one stands for none at all."""
    if not lines and file is None:
        return None
    return (*filter(None, lines or ()), *(() if file is None else header_lines_of(file)))


def _text(option: Option, text: str | None, file: Path | None) -> str | None:
    if file is None:
        return text
    if text is not None:
        raise WrongUsage(f"{option.flag} and {option.flag}-file exclude each other")
    return line_of(file, f"{option.flag}-file")


def _with_parameters(command: Command, parameters: list[inspect.Parameter]) -> Command:
    """Put parameters in place of a command's ``**options``. typer reads the signature to make flags of it."""
    signature = inspect.signature(command, eval_str=True)
    kept = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    first = next((index for index, each in enumerate(kept) if each.default is not inspect.Parameter.empty), len(kept))
    together = [*kept[:first], *parameters, *kept[first:]]
    together.sort(key=lambda each: each.default is not inspect.Parameter.empty)  # arguments first
    command.__signature__ = signature.replace(parameters=together)  # type: ignore[attr-defined]  # a function has it
    return command


def _parameters(option: Option, *, adding: bool, files_are: str = _THERE) -> Iterator[inspect.Parameter]:
    help_text = f"{option.description}{files_are if option.kind is Kind.FILE else ''}."
    if adding and option.required:
        argument = typer.Argument(metavar=option.label, help=help_text, show_default=False)
        yield _parameter(option.name, Annotated[option.value_type, argument], inspect.Parameter.empty)
        return
    in_group = partial(typer.Option, rich_help_panel=option.group.value)
    match option.kind:
        case Kind.LINES:
            if not option.secret:
                flag = in_group(option.flag, metavar="COLUMN=VALUE,...", help=help_text)
                yield _parameter(option.name, Annotated[list[str] | None, flag])
                return
            flag = in_group(
                option.flag, metavar="'NAME: VALUE'", help=f"{help_text} {_READABLE_BY_ALL.format(option.singular)}"
            )
            yield _parameter(option.name, Annotated[list[str] | None, flag])
            yield _file_parameter(option, option.singular, "File with such lines; - is standard input.")
        case Kind.SWITCH:
            flag = in_group(f"{option.flag}/{option.off}", help=help_text)
            yield _parameter(option.name, Annotated[bool | None, flag])
        case Kind.NUMBER if option.optional:
            flag = in_group(
                option.flag, metavar="NUMBER", help=f"{help_text} Empty: {option.absent}.", parser=_number_or_nothing
            )
            yield _parameter(option.name, Annotated[Any, flag])
        case Kind.NUMBER | Kind.CHOICE:
            value_type: Any = option.value_type
            yield _parameter(option.name, Annotated[value_type | None, in_group(option.flag, help=help_text)])
        case _:
            metavar = "FILE" if option.kind is Kind.FILE else None
            flag = in_group(option.flag, metavar=metavar, help=help_text)
            yield _parameter(option.name, Annotated[str | None, flag])
            if option.read_from_file:
                yield _file_parameter(
                    option,
                    option.name,
                    f"File with a line for {option.flag}; - is standard input. Every user of this machine can read a "
                    "command line: give a password this way.",
                )


def _file_parameter(option: Option, name: str, help_text: str) -> inspect.Parameter:
    flag = typer.Option(
        f"--{name.replace('_', '-')}-file",
        allow_dash=True,
        readable=False,
        help=help_text,
        rich_help_panel=option.group.value,
    )
    return _parameter(f"{name}_file", Annotated[Path | None, flag])


def _number_or_nothing(text: str) -> float | str:
    if not text:
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a valid float.") from None


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
