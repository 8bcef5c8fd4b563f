"""Runs the command of the setting ``alert_command`` for an alert.

It is run without a shell. It gets the text on standard input and in its environment, and nothing of the daemon's
settings. What it prints is logged, in part and without the daemon's secrets.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import structlog

from cdc_bridge.alerts.wording import Alert
from cdc_bridge.settings import PREFIX, Settings

TIMEOUT_SECONDS = 30.0
_LOGGED_CHARACTERS = 200
_MOST_READ_BYTES = 64 * 1024
_LEAST_SECRET_CHARACTERS = 6
_NOT_PASSED_ON = {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}

_log = structlog.get_logger(__name__)


async def run_alert_command(
    command: str, alert: Alert, secrets: Sequence[str], *, timeout_seconds: float = TIMEOUT_SECONDS
) -> str | None:
    """Run the command; return why it failed, without anything that it printed; ``None``: it did not.

    Args:
        command: Program and arguments, quoted as for a shell.
        alert: What it is run for.
        secrets: What is not logged, should it print it.
        timeout_seconds: After which it is killed, with all that it started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(os.environ, alert),
            start_new_session=True,  # It and all that it starts are one process group, to be killed together.
        )
    except (OSError, ValueError) as error:
        return f"it cannot be started: {error.strerror if isinstance(error, OSError) else error}"
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await asyncio.gather(_read(process), _write(process, alert.text))
            code = await process.wait()
    except TimeoutError:
        await _kill(process)
        return f"it did not end within {timeout_seconds:g} s and was killed"
    except BaseException:  # The daemon ends.
        await _kill(process)
        raise
    _log.info("alert command ended", exit_code=code, output=scrubbed(output, secrets)[:_LOGGED_CHARACTERS])
    return None if code == 0 else f"exit code {code}" if code > 0 else f"it was ended by signal {-code}"


def secrets_of(settings: Settings) -> list[str]:
    """Return the values of settings that are not to be logged."""
    found: list[str] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for each in value if isinstance(value, tuple) else (value,):
            if hasattr(each, "get_secret_value"):
                text = each.get_secret_value()
                found += [text, *text.split(": ", 1)[1:]]  # of a header, its value alone as well
    return found


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return a text without secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET_CHARACTERS:
            text = text.replace(secret, "…")
    return text


def _environment(environment: Mapping[str, str], alert: Alert) -> dict[str, str]:
    own = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith((PREFIX, "PG")) and name not in _NOT_PASSED_ON
    }
    return own | {"ALERT_STATE": alert.reason, "ALERT_SUMMARY": alert.summary, "ALERT_TEXT": alert.text}


async def _read(process: asyncio.subprocess.Process) -> str:
    """Return the beginning of what it prints, and drop the rest, so that it never waits to be read."""
    kept = b""
    while process.stdout is not None and (piece := await process.stdout.read(_MOST_READ_BYTES)):
        kept = (kept + piece)[:_MOST_READ_BYTES]
    return kept.decode(errors="replace")


async def _write(process: asyncio.subprocess.Process, text: str) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError, ConnectionResetError):  # It need not read it.
            process.stdin.write(f"{text}\n".encode())
            await process.stdin.drain()
        process.stdin.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill it and all that it started: they are its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
