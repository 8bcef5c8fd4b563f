"""``cdc-bridge mapping``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.cli.mapping_draft import mapping_draft
from cdc_bridge.cli.options import ConfigOption, DbaDatabaseOption, JsonOption, dba_database_url_from
from cdc_bridge.console import print_json, print_line
from cdc_bridge.mapping_check.report import MappingFaulty, MappingVerdict
from cdc_bridge.mapping_check.report import as_json as report
from cdc_bridge.schema.install import dry_run

app = typer.Typer(name="mapping", help="Draft a mapping, and check it before it is installed.", no_args_is_help=True)
app.command("draft")(mapping_draft)


@app.callback()
def mapping() -> None:
    """Draft a mapping, and check it before it is installed."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="SQL file with your mapping.", exists=True, dir_okay=False)],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
) -> None:
    """Hold a mapping to e-Res's tables and to the contract, and name everything that does not fit.

    Each problem comes with its line and what to write instead. Needs a DBA's rights: the mapping is installed in a
    transaction that is rolled back, with the locks of an installation. No row of e-Res's tables is read.

    Lines that still have a TODO, as in a draft, are no problem; they are named.

    With --json: the problems, each with key, line, problem, action, fix and note; the whole file corrected, unless
    only you can correct a problem; and notes, such as that of lines with a TODO.

    Example: cdc-bridge mapping check my-mapping.sql
    """
    url = dba_database_url_from(config, database_url)
    try:
        notes = asyncio.run(dry_run(url, file, lambda _: None, verdict=MappingVerdict(file)))
    except MappingFaulty as error:
        if not as_json:
            raise
        print_json(report(error.examination))
        raise typer.Exit(1) from None
    if as_json:
        print_json({"problems": [], "corrected": None, "notes": notes})
        return
    print_line("The mapping fits e-Res's tables and the contract.")
    for note in notes:
        print_line(note)
