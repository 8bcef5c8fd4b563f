"""``cdc-bridge run``."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated, Literal

import typer

from cdc_bridge.cli.options import ConfigOption, DatabaseOption, settings_from
from cdc_bridge.daemon import run as run_daemon
from cdc_bridge.event_loop import new_event_loop
from cdc_bridge.logs import Format, Level, set_up_logs
from cdc_bridge.settings import Settings
from cdc_bridge.web.listen_settings import listen_settings


def run(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    endpoint_url: Annotated[str | None, typer.Option(help="URL that reservations are posted to, https://...")] = None,
    wake: Annotated[Literal["notify", "poll"] | None, typer.Option(help="Wake-up by NOTIFY or by polling.")] = None,
    log_level: Annotated[Level | None, typer.Option(help="Lowest level that is logged.")] = None,
    log_format: Annotated[
        Format | None, typer.Option(help="Log format: for people (console) or machines (json).")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    SIGHUP reloads the settings.

    Example: CDC_BRIDGE_DATABASE_URL=postgresql://cdc_bridge:...@localhost/eres
    CDC_BRIDGE_ENDPOINT_URL=https://till.example/reservations cdc-bridge run
    """
    # A reload may be asked for before the daemon handles SIGHUP, which would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def load_settings() -> Settings:
        return settings_from(
            config,
            database_url,
            judgements=(listen_settings,),
            endpoint_url=endpoint_url,
            wake=wake,
            log_level=log_level,
            log_format=log_format,
        )

    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        code = runner.run(run_daemon(settings, load_settings))
    raise typer.Exit(code)
