"""``cdc-bridge guide``."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc_bridge.console import print_document
from cdc_bridge.guides import Guide, guide_text


def guide(
    reader: Annotated[Guide, typer.Argument(help="Reader of the guide.", show_default=False)],
) -> None:
    """Print a guide for DBA, operator or vendor.

    dba: install and run the SQL side. mapping: map other tables and columns. operator: run the daemon. vendor: receive
    the webhooks.

    Example: cdc-bridge guide operator | less
    """
    print_document(guide_text(reader))
