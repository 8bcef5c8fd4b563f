"""Check of the alerts, and a test alert."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import AsyncIterator
from functools import partial

from cdc_bridge.alerts.command import run_alert_command, secrets_of
from cdc_bridge.alerts.webhook import post_alert, receiver_of
from cdc_bridge.alerts.wording import test_alert
from cdc_bridge.checks.verdict import Check, failed, ok
from cdc_bridge.database import process_name
from cdc_bridge.settings import Settings
from cdc_bridge.transport.reach import Unreached, reach

_URL = "alert_url"
_COMMAND = "alert_command"
_NOT_SENT = "To send a test alert: cdc-bridge check --alert"


async def check_alerts(settings: Settings, *, send: bool) -> AsyncIterator[Check]:
    """Alerts can be sent, as far as can be seen without sending one; nothing if the settings name no way.

    Args:
        settings: Name the ways.
        send: Send a test alert in each of them.
    """
    alert = test_alert(f"on {process_name()}")
    if settings.alert_url is not None:
        url = settings.alert_url.get_secret_value()
        yield _sent(_URL, await post_alert(url, alert)) if send else await _reachable(url)
    if settings.alert_command is not None:
        command = settings.alert_command
        run = partial(run_alert_command, command, alert, secrets_of(settings))
        yield _sent(_COMMAND, await run()) if send else _runnable(command)
    if send and settings.alert_url is None and settings.alert_command is None:
        yield failed("alerts", "there is nobody to alert", "Set CDC_BRIDGE_ALERT_URL or CDC_BRIDGE_ALERT_COMMAND.")


def _sent(name: str, problem: str | None) -> Check:
    if problem is None:
        return ok(name, "the test alert was accepted; see whether it arrived")
    return failed(name, f"the test alert could not be sent: {problem}", "Correct the setting, or what it names.")


async def _reachable(url: str) -> Check:
    try:
        reached = await reach(receiver_of(url))
    except (OSError, ValueError) as error:
        return failed(_URL, str(error), "Correct it where the daemon is started.")
    if isinstance(reached, Unreached):
        return failed(_URL, f"cannot be reached: {reached.reason}", _NOT_SENT)
    return ok(_URL, f"{reached.address} accepts connections. {_NOT_SENT}")


def _runnable(command: str) -> Check:
    program = shlex.split(command)[0]
    if shutil.which(program) is None:
        why = "may not be executed" if os.path.exists(program) else "is not there"  # noqa: PTH110 - any text
        return failed(_COMMAND, f"{program} {why}", "Name the program by its whole path, and make it executable.")
    return ok(_COMMAND, f"{program} can be executed. {_NOT_SENT}")
