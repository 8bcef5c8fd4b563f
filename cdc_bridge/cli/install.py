"""``cdc-bridge install`` and ``cdc-bridge uninstall``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DbaDatabaseOption, dba_database_url_from
from cdc_bridge.console import print_document, print_line
from cdc_bridge.mapping_check.report import MappingVerdict
from cdc_bridge.schema import install as operation
from cdc_bridge.schema.sql_text import finish_text, install_text, uninstall_text, upgrade_texts


def install(
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="SQL file with your mapping. Default: the mapping for e-Res's announced schema."),
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the SQL, and change nothing.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run in a transaction that is rolled back, and print what would change. Takes the same locks as the "
            "installation, for as long.",
        ),
    ] = False,
    allow_incomplete: Annotated[
        str,
        typer.Option(
            metavar="KEY,KEY",
            help="Keys in which the mapping given may break the contract: they are missing, or written otherwise.",
        ),
    ] = "",
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Finish an upgrade, after every daemon of the old version has stopped."),
    ] = False,
    upgrade_from: Annotated[
        int | None,
        typer.Option(min=1, metavar="VERSION", help="With --print: print the upgrade from this schema version."),
    ] = None,
) -> None:
    """Install or upgrade the schema in the e-Res database.

    Needs a DBA's rights: a superuser, or a role with CREATEROLE that owns the database and e-Res's tables; not the
    daemon's role. Safe to repeat; an upgrade keeps the mapping.

    Example: cdc-bridge install --print | less;
    PGDATABASE=eres PGUSER=postgres cdc-bridge install
    """
    if finish and (dry_run or mapping or upgrade_from):
        raise typer.BadParameter("--finish excludes --dry-run, --mapping and --upgrade-from")
    if upgrade_from is not None and not print_:
        raise typer.BadParameter("--upgrade-from needs --print; otherwise the version is read from the database")
    if print_:
        print_document(_text(mapping, upgrade_from, finish=finish))
        return
    url = dba_database_url_from(config, database_url)
    allowed = {key.strip() for key in allow_incomplete.split(",")}
    verdict = MappingVerdict(mapping, allowed) if mapping is not None else None
    if finish:
        asyncio.run(operation.finish(url, print_line))
    elif dry_run:
        asyncio.run(operation.dry_run(url, mapping, print_line, verdict=verdict))
    else:
        asyncio.run(operation.install(url, mapping, print_line, verdict=verdict))


def _text(mapping: Path | None, upgrade_from: int | None, *, finish: bool) -> str:
    if finish:
        return finish_text()
    if upgrade_from is None:
        return install_text(mapping, for_psql=True)
    migrations = "".join(text for _, text in upgrade_texts(upgrade_from))
    return migrations + install_text(mapping, keep_mapping=mapping is None, for_psql=True)


def uninstall(
    config: ConfigOption = None,
    database_url: DbaDatabaseOption = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the SQL, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove the schema from the e-Res database.

    Says first what is lost: changes that are not delivered yet, and daemons that still run. Needs a DBA's rights.
    e-Res's own tables are left as they are.

    Example: PGDATABASE=eres PGUSER=postgres cdc-bridge uninstall
    """
    if print_:
        print_document(uninstall_text())
        return
    url = dba_database_url_from(config, database_url)
    losses = asyncio.run(operation.losses_of_uninstall(url, counts_logs=not yes))
    if losses is None and not yes:
        print_line("cdc-bridge is not installed in this database; nothing is deleted.")
        return
    for line in losses or ():
        print_line(line)
    if not yes:
        if not sys.stdin.isatty():
            print_line("Nothing was changed. To go ahead: cdc-bridge uninstall --yes", err=True)
            raise typer.Exit(2)
        typer.confirm("Go ahead?", abort=True)
    asyncio.run(operation.uninstall(url, print_line))
