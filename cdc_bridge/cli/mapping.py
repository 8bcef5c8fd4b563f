"""``cdc-bridge mapping``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.checks.mapping import reservation_problems
from cdc_bridge.cli.mapping_draft import mapping_draft
from cdc_bridge.cli.options import ConfigOption, DbaDatabaseOption, dba_database_url_from
from cdc_bridge.console import print_line
from cdc_bridge.schema.install import dry_run

app = typer.Typer(name="mapping", help="Draft a mapping, and check it before it is installed.", no_args_is_help=True)
app.command("draft")(mapping_draft)


@app.callback()
def mapping() -> None:
    """Draft a mapping, and check it before it is installed."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="SQL file with your mapping.", exists=True, dir_okay=False)],
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
) -> None:
    """Hold a mapping to e-Res's tables and to the contract, and name everything that does not fit.

    Needs a DBA's rights: it is installed in a transaction that is rolled back, with the locks of an installation.

    Example: cdc-bridge mapping check my-mapping.sql
    """
    url = dba_database_url_from(config, database_url)
    asyncio.run(dry_run(url, file, lambda _: None, contract=reservation_problems))
    print_line("The mapping fits e-Res's tables and the contract.")
