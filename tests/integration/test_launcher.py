"""A forked command or daemon behaves as one that was started from scratch."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.support import launcher
from tests.support.bridge import Bridges, run_command
from tests.support.length import AT_LENGTH

pytestmark = pytest.mark.skipif(sys.platform != "linux" or AT_LENGTH, reason="nothing is forked here")


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--version"], {}),
        (["nonsense"], {}),
        (["endpoint", "list", "--help"], {"COLUMNS": "60"}),
        (["check"], {"CDC_BRIDGE_DATABASE_URL": "host=127.0.0.1 port=1", "CDC_BRIDGE_BATCH_SIZE": "many"}),
    ],
)
async def test_forked_command_prints_and_ends_as_one_that_was_started_from_scratch(
    arguments: list[str], settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = await run_command(*arguments, **settings)
    monkeypatch.setattr(launcher, "_launcher", None)
    assert await run_command(*arguments, **settings) == forked


async def test_what_one_is_told_the_next_one_does_not_know(bridges: Bridges) -> None:
    await run_command("check", CDC_BRIDGE_NO_SUCH_SETTING="1")
    code, _, errors = await run_command("check", **bridges.settings)
    assert (code, errors) == (0, "")


async def test_forked_daemon_is_ended_by_signals_and_says_how(bridges: Bridges) -> None:
    first, second = await bridges.start(), await bridges.start()
    assert first.pid != second.pid
    first.send(signal.SIGINT)
    assert await first.wait() == 0
    await second.kill()
    assert await second.wait() == -signal.SIGKILL
