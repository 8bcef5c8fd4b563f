"""``cdc-bridge contract``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(
    name="contract",
    help="What an EPOS vendor gets: schema, examples, OpenAPI document, test vector, guide. Needs no settings.",
    no_args_is_help=True,
)


@app.command()
def guide() -> None:
    """Print the guide for EPOS vendors (Markdown): begin here.

    Example: cdc-bridge contract guide | less
    """
    _print("guide.md")


@app.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of a reservation as it is posted.

    Example: cdc-bridge contract schema > reservation.schema.json
    """
    from cdc_bridge.contract import SCHEMA_FILE  # noqa: PLC0415

    _print(SCHEMA_FILE)


@app.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the calls: bodies, headers, and what each answer leads to.

    Example: cdc-bridge contract openapi > reservations.openapi.json
    """
    from cdc_bridge.contract import openapi as document  # noqa: PLC0415

    typer.echo(json.dumps(document(), indent=2, ensure_ascii=False))


@app.command()
def example(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which one.")] = "announcement",
    list_: Annotated[bool, typer.Option("--list", help="Print the examples' names.")] = False,
) -> None:
    """Print an example of a reservation as it is posted; without NAME that of the announcement.

    Example: cdc-bridge contract example walk-in
    """
    from cdc_bridge.contract import EXAMPLES  # noqa: PLC0415
    from cdc_bridge.errors import WrongUsage  # noqa: PLC0415

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


def _print(file: str) -> None:
    from cdc_bridge.contract import text_of  # noqa: PLC0415

    typer.echo(text_of(file), nl=False)
