"""The command ``cdc-bridge``: its commands, and what becomes of errors."""

from __future__ import annotations

import sys

import typer

from cdc_bridge import __version__
from cdc_bridge.cli import (
    backfill,
    check,
    conformance,
    contract,
    deliveries,
    delivery,
    demo,
    endpoint,
    guide,
    install,
    payload,
    receive,
    reconcile,
    replay,
    run,
    status,
    systemd,
)
from cdc_bridge.errors import BridgeError

_INTERRUPTED = 130

app = typer.Typer(
    name="cdc-bridge",
    help="Turns every change of a reservation in the e-Res database into a signed HTTPS call.",
    epilog="Settings come from flags, the environment (CDC_BRIDGE_...), systemd credentials and a TOML file, "
    "in this order. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(run.run)
app.command()(status.status)
app.command()(check.check)
app.command()(install.install)
app.command()(install.uninstall)
app.add_typer(endpoint.app)
app.command()(payload.payload)
app.command()(deliveries.deliveries)
app.add_typer(delivery.app)
app.command()(replay.replay)
app.command()(backfill.backfill)
app.command()(reconcile.reconcile)
app.add_typer(systemd.app)
app.add_typer(contract.app)
app.command()(guide.guide)
app.command()(receive.receive)
app.command()(conformance.conformance)
app.command()(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cdc-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None: ...


def main() -> None:
    """Run the command line; an error is told in words, without a traceback."""
    try:
        app()
    except BridgeError as error:
        problem, *more = str(error).splitlines()
        sys.stderr.write(f"cdc-bridge: {problem}\n" + "".join(f"            {line}\n" for line in more))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
