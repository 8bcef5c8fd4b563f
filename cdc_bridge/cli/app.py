"""The command ``cdc-bridge``: the table of its commands, and exit codes for errors.

A command's module is imported when the command is used, not when it is listed: ``--help`` and completion read the
table alone. So every module imports what it needs at its top, and ``cdc-bridge --help`` stays quick.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from cdc_bridge import __version__
from cdc_bridge.cli.help import with_help
from cdc_bridge.console import escape_logs_of_libraries, print_error, print_line, print_lines, print_traceback
from cdc_bridge.errors import BridgeError
from cdc_bridge.escaping import escaped

_INTERRUPTED = 130
_WRONG_USAGE: Any = typer.BadParameter.__mro__[2]
"""``ClickException`` of the click that typer brings or depends on, by its version."""

_RUN = "Run and watch"
_ENDPOINTS = "Endpoints"
_DELIVERIES = "Deliveries"
_DATABASE = "Database"
_VENDORS = "Vendors"
_HELP = "Help"


class _Entry(NamedTuple):
    panel: str
    name: str
    target: str
    """Module below ``cdc_bridge.cli`` and the function, or the group, in it."""
    help: str
    extra: str = ""
    """The extra that installs what the module needs beyond the package's own dependencies."""


_COMMANDS = (
    _Entry(_RUN, "run", "run:run", "Run the daemon until SIGTERM or Ctrl-C."),
    _Entry(_RUN, "status", "status:status", "Show capture, wake-ups and the status of every endpoint."),
    _Entry(_RUN, "check", "check:check", "Check everything the daemon needs."),
    _Entry(_RUN, "token", "token:app", "Add, list and remove tokens of the dashboard and the HTTP API."),
    _Entry(_RUN, "audit", "audit:audit", "Show who changed what, newest first."),
    _Entry(_RUN, "systemd", "systemd:app", "Install the daemon as a systemd service."),
    _Entry(_ENDPOINTS, "endpoint", "endpoint:app", "Add, show, change, test and remove endpoints."),
    _Entry(_DELIVERIES, "deliveries", "deliveries:deliveries", "List deliveries, newest change first."),
    _Entry(_DELIVERIES, "delivery", "delivery:app", "Show or retry single deliveries."),
    _Entry(_DELIVERIES, "replay", "replay:replay", "Send reservations again that were sent before."),
    _Entry(_DELIVERIES, "backfill", "backfill:backfill", "Send an endpoint the reservations it never received."),
    _Entry(_DELIVERIES, "reconcile", "reconcile:reconcile", "Find reservations that an endpoint missed or has stale."),
    _Entry(_DELIVERIES, "erase", "erase:erase", "Erase a reservation from the change log and the delivery log."),
    _Entry(_DELIVERIES, "payload", "payload:payload", "Print the request body of a reservation as it is now."),
    _Entry(_DATABASE, "install", "install:install", "Install or upgrade the schema in the e-Res database."),
    _Entry(_DATABASE, "mapping", "mapping:app", "Draft a mapping, and check it."),
    _Entry(_DATABASE, "uninstall", "install:uninstall", "Remove the schema from the e-Res database."),
    _Entry(_VENDORS, "contract", "contract:app", "Print schema, OpenAPI documents, examples, test vector, receivers."),
    _Entry(_VENDORS, "receive", "receive:receive", "Receive and verify webhooks on this machine.", "receive"),
    _Entry(_VENDORS, "trigger", "trigger:trigger", "Send one invented reservation to an endpoint, signed."),
    _Entry(_VENDORS, "conformance", "conformance:conformance", "Test a vendor's endpoint against the contract."),
    _Entry(_HELP, "guide", "guide:guide", "Print a guide for DBA, operator or vendor."),
    _Entry(_HELP, "demo", "demo:demo", "Run the whole bridge on this machine and count what arrives.", "demo"),
)


class LazyCommand(TyperCommand):
    """A row of the table: listed as it is, replaced by the real command when it is used."""

    def __init__(self, entry: _Entry) -> None:
        super().__init__(entry.name, help=entry.help, rich_help_panel=entry.panel)
        self._entry = entry

    def load(self) -> Any:
        """Import the command.

        Raises:
            BridgeError: A package of the command's extra is not installed.
        """
        name, target, extra = self._entry.name, self._entry.target, self._entry.extra
        try:
            loaded = pkgutil.resolve_name(f"cdc_bridge.cli.{target}")
        except ModuleNotFoundError as error:
            if not extra:
                raise
            raise BridgeError(
                f"{name} needs {error.name}, which is not installed",
                f"Install it: pip install 'cdc-bridge[{extra}]'",
            ) from error
        if isinstance(loaded, typer.Typer):
            return with_help(typer.main.get_group(loaded))
        single = typer.Typer(add_completion=False)
        single.command(name)(loaded)
        return with_help(typer.main.get_command(single))

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the real command's context: what runs, completes or explains itself from here on is that one."""
        return self.load().make_context(*args, **kwargs)


class _CommandTable(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        commands = {entry.name: LazyCommand(entry) for entry in _COMMANDS}
        super().__init__(**attributes | {"commands": commands})
        with_help(self)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the context; what is wrong with the command line is quoted escaped."""
        with _escaped_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what is wrong with its command line is quoted escaped."""
        with _escaped_errors():
            return super().invoke(ctx)


@contextmanager
def _escaped_errors() -> Iterator[None]:
    try:
        yield
    except _WRONG_USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # Whoever gives no arguments asks what there is.
            print_lines(error.message.rstrip(), err=True)
            raise typer.Exit(error.exit_code) from None
        error.message = escaped(error.message)  # Formatted later, with the usage.
        raise


app = typer.Typer(
    cls=_CommandTable,
    name="cdc-bridge",
    help="Webhooks for the e-Res reservation system, straight from its PostgreSQL database.",
    epilog="Settings come from flags, the environment (CDC_BRIDGE_...), systemd credentials and a TOML file, "
    "in this order. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"cdc-bridge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None: ...


def main() -> None:
    """Run the command line; print errors without a traceback, unless nobody foresaw them."""
    escape_logs_of_libraries()
    # Python, aiohttp and some builds of OpenSSL write the keys of TLS connections there: guests' data for who reads it.
    os.environ.pop("SSLKEYLOGFILE", None)
    try:
        app(prog_name="cdc-bridge")  # Also as python -m cdc_bridge, so that help and completion know it by its name.
    except BridgeError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - as Python would end it, but escaped
        print_traceback(error)
        sys.exit(1)
