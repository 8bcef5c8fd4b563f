"""``cdc-bridge systemd``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.console import print_document, print_line
from cdc_bridge.packaging.service_command import run_as_service
from cdc_bridge.packaging.service_files import Target, this_program, unit_text, write_service_files
from cdc_bridge.packaging.settings_example import settings_example

app = typer.Typer(name="systemd", help="Install the daemon as a systemd service.", no_args_is_help=True)


@app.command("print")
def print_(
    settings: Annotated[bool, typer.Option("--settings", help="Print the example settings file instead.")] = False,
) -> None:
    """Print the unit file; nothing is written.

    Example: cdc-bridge systemd print | less;
    cdc-bridge systemd print --settings > config.toml
    """
    print_document(settings_example() if settings else unit_text(this_program()))


@app.command(
    "exec",
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    },
)
def exec_(
    arguments: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="A command of cdc-bridge.", show_default=False)
    ],
) -> None:
    """Run a command as the service does: as its user, with its settings and secrets.

    For root, while the service runs. The command cannot read root's files: pass them on standard input, as
    --header-file - < FILE. Exit code and output are the command's. The audit log has the name of whoever called sudo,
    or logged in.

    Example: cdc-bridge systemd exec status
    """
    run_as_service(arguments)


@app.command()
def install(
    root: Annotated[
        Path,
        typer.Option(
            metavar="DIR", file_okay=False, help="Write below this folder instead of /, to build an image or a package."
        ),
    ] = Path("/"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a unit file that differs.")] = False,
) -> None:
    """Write the unit file, example settings and folders for secrets; print what is left to do.

    Safe to repeat, also after an upgrade: existing settings and secrets are kept.

    Example: sudo cdc-bridge systemd install
    """
    write_service_files(Target(root, this_program()), print_line, force=force)
