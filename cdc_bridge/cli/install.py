"""``cdc-bridge install`` and ``cdc-bridge uninstall``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, database_url_from


def install(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="SQL file with your own mapping, in place of the one for the schema of the announcement's example."
        ),
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the SQL and do nothing.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Try it in a transaction that is rolled back, and say what it would change and lock. It takes the "
            "same locks as the installation, for as long as that would.",
        ),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Finish an upgrade, when no daemon of the version before runs any more."),
    ] = False,
    upgrade_from: Annotated[
        int | None,
        typer.Option(min=1, help="With --print: what upgrades from this version of the schema, keeping the mapping."),
    ] = None,
) -> None:
    """Install or upgrade the SQL side in the e-Res database, as a DBA; safe to repeat.

    Example: cdc-bridge install --print | less;
    CDC_BRIDGE_DATABASE_URL=postgresql://postgres@localhost/eres cdc-bridge install
    """
    from cdc_bridge.schema import install as operation  # noqa: PLC0415

    if finish and (dry_run or mapping or upgrade_from):
        raise typer.BadParameter("--finish goes with none of --dry-run, --mapping and --upgrade-from")
    if upgrade_from is not None and not print_:
        raise typer.BadParameter("--upgrade-from goes with --print; without it the version is read from the database")
    if print_:
        typer.echo(_text(mapping, upgrade_from, finish=finish), nl=False)
        return
    url = database_url_from(config, database_url)
    if finish:
        asyncio.run(operation.finish(url, typer.echo))
    elif dry_run:
        asyncio.run(operation.dry_run(url, mapping, typer.echo))
    else:
        asyncio.run(operation.install(url, mapping, typer.echo))


def _text(mapping: Path | None, upgrade_from: int | None, *, finish: bool) -> str:
    from cdc_bridge.schema.sql_text import finish_text, install_text, upgrade_texts  # noqa: PLC0415

    if finish:
        return finish_text()
    if upgrade_from is None:
        return install_text(mapping)
    migrations = "".join(text for _, text in upgrade_texts(upgrade_from))
    return migrations + install_text(mapping, keep_mapping=mapping is None)


def uninstall(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the SQL and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the SQL side out of the e-Res database again, as a DBA; e-Res's own tables stay as they are.

    Example: CDC_BRIDGE_DATABASE_URL=postgresql://postgres@localhost/eres cdc-bridge uninstall
    """
    from cdc_bridge.schema import install as operation  # noqa: PLC0415
    from cdc_bridge.schema.sql_text import uninstall_text  # noqa: PLC0415

    if print_:
        typer.echo(uninstall_text(), nl=False)
        return
    url = database_url_from(config, database_url)
    if not yes:
        typer.echo(asyncio.run(operation.uninstall_warning(url)))
        if not sys.stdin.isatty():
            typer.echo("Nothing was done. To go ahead: cdc-bridge uninstall --yes", err=True)
            raise typer.Exit(2)
        typer.confirm("Go ahead?", abort=True)
    asyncio.run(operation.uninstall(url, typer.echo))
