"""``cdc-bridge systemd``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="systemd", help="The daemon as a service of systemd: its files.", no_args_is_help=True)


@app.command("print")
def print_(
    settings: Annotated[
        bool, typer.Option("--settings", help="Print the example of the settings file instead of the unit.")
    ] = False,
) -> None:
    """Print the unit, as it is installed; nothing is written.

    Example: cdc-bridge systemd print | less;
    cdc-bridge systemd print --settings > config.toml
    """
    from cdc_bridge.packaging.service_files import this_program, unit_text  # noqa: PLC0415
    from cdc_bridge.packaging.settings_example import settings_example  # noqa: PLC0415

    typer.echo(settings_example() if settings else unit_text(this_program()), nl=False)


@app.command()
def install(
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", file_okay=False, help="Take this folder for /, to make an image or a package."),
    ] = Path("/"),
    force: Annotated[bool, typer.Option("--force", help="Write the unit even over one that is different.")] = False,
) -> None:
    """Write the unit, an example of the settings and the folders for secrets, and say what is left to do.

    May be repeated, after an upgrade too: settings and secrets that are there stay as they are.

    Example: sudo cdc-bridge systemd install
    """
    from cdc_bridge.packaging.service_files import Place, this_program, write_service_files  # noqa: PLC0415

    write_service_files(Place(root, this_program()), typer.echo, force=force)
