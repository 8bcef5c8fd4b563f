"""``cdc-bridge contract``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="contract",
    help="What an EPOS vendor gets: schema, OpenAPI, examples, test vector, receivers. Needs no settings.",
    no_args_is_help=True,
)


@app.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of a reservation as it is posted.

    Example: cdc-bridge contract schema > reservation.schema.json
    """
    from cdc_bridge.vendor.contract import SCHEMA_FILE  # noqa: PLC0415

    _print(SCHEMA_FILE)


@app.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the calls: bodies, headers, and what each answer leads to.

    Example: cdc-bridge contract openapi > reservations.openapi.json
    """
    from cdc_bridge.vendor.contract import openapi as document  # noqa: PLC0415

    typer.echo(json.dumps(document(), indent=2, ensure_ascii=False))


@app.command()
def example(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which one.")] = "announcement",
    list_: Annotated[bool, typer.Option("--list", help="Print the examples' names.")] = False,
) -> None:
    """Print an example of a reservation as it is posted; without NAME that of the announcement.

    Example: cdc-bridge contract example walk-in
    """
    from cdc_bridge.errors import WrongUsage  # noqa: PLC0415
    from cdc_bridge.vendor.contract import EXAMPLES  # noqa: PLC0415

    if list_:
        typer.echo("\n".join(EXAMPLES))
    elif name in EXAMPLES:
        _print(EXAMPLES[name])
    else:
        raise WrongUsage(f"there is no example {name}", f"There are: {', '.join(EXAMPLES)}.")


@app.command()
def vector() -> None:
    """Print signed calls, right and wrong ones, to check a verification of signatures with.

    Example: cdc-bridge contract vector > vector.json
    """
    _print("signature-vector.json")


@app.command()
def receiver(
    name: Annotated[str, typer.Argument(metavar="NAME", help="In which language: python or node.", show_default=False)],
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="DIR", help="Write it into this folder, with what says which libraries it needs."
        ),
    ] = None,
) -> None:
    """Print a receiver to copy: it verifies, keeps, answers, and works afterwards.

    How it is started stands at its top.

    Example: cdc-bridge contract receiver python --save receiver
    """
    from cdc_bridge.errors import WrongUsage  # noqa: PLC0415
    from cdc_bridge.vendor.contract import RECEIVERS  # noqa: PLC0415

    if name not in RECEIVERS:
        raise WrongUsage(f"there is no receiver {name}", f"There are: {', '.join(RECEIVERS)}.")
    if save is None:
        _print(RECEIVERS[name][0])
    else:
        _write(RECEIVERS[name], save)


def _write(files: Sequence[str], folder: Path) -> None:
    from cdc_bridge.errors import BridgeError  # noqa: PLC0415
    from cdc_bridge.vendor.contract import text_of  # noqa: PLC0415

    for file in files:
        copy = folder / Path(file).name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with copy.open("x", encoding="utf-8") as written:
                written.write(text_of(file))
        except FileExistsError:
            raise BridgeError(f"{copy} is there already, and is left as it is", "Name another folder.") from None
        except OSError as error:
            raise BridgeError(f"{copy} cannot be written: {error.strerror}") from None
        typer.echo(copy)


def _print(file: str) -> None:
    from cdc_bridge.vendor.contract import text_of  # noqa: PLC0415

    typer.echo(text_of(file), nl=False)
