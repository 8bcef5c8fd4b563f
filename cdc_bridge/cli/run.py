"""``cdc-bridge run``."""

from __future__ import annotations

import asyncio
import signal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, settings_from

if TYPE_CHECKING:
    from cdc_bridge.settings import Settings


class _Wake(StrEnum):
    notify = "notify"
    poll = "poll"


class _Level(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class _Format(StrEnum):
    auto = "auto"
    console = "console"
    json = "json"


def run(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Where reservations are posted, https://...")] = None,
    wake: Annotated[_Wake | None, typer.Option(help="What wakes the daemon: NOTIFY, or looking at intervals.")] = None,
    log_level: Annotated[_Level | None, typer.Option(help="Least level that is logged.")] = None,
    log_format: Annotated[_Format | None, typer.Option(help="For people (console) or for machines (json).")] = None,
) -> None:
    """Run the daemon: deliver every change, until SIGTERM or Ctrl-C. SIGHUP has it read its settings anew.

    Example: CDC_BRIDGE_DATABASE_URL=postgresql://cdc_bridge:...@localhost/eres
    CDC_BRIDGE_ENDPOINT_URL=https://till.example/reservations cdc-bridge run
    """
    # Until the daemon hears it, as a reload may be asked for at any time, and SIGHUP would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def load_settings() -> Settings:
        return settings_from(
            config, database_url, endpoint_url=endpoint_url, wake=wake, log_level=log_level, log_format=log_format
        )

    settings = load_settings()
    from cdc_bridge.daemon import run as run_daemon  # noqa: PLC0415
    from cdc_bridge.logs import set_up_logs  # noqa: PLC0415

    set_up_logs(settings.log_level, settings.log_format)
    raise typer.Exit(asyncio.run(run_daemon(settings, load_settings)))
