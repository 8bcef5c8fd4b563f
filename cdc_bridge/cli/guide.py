"""``cdc-bridge guide``."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc_bridge.guides import Guide, guide_text


def guide(
    reader: Annotated[Guide, typer.Argument(help="Reader of the guide.", show_default=False)],
) -> None:
    """Print a guide (Markdown): for the DBA, for the DBA who maps other tables, for the operator or for the EPOS vendor.

    Example: cdc-bridge guide operator | less
    """
    typer.echo(guide_text(reader), nl=False)
