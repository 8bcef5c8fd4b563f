"""``cdc-bridge contract``, asked for what is not there. What it prints is in ``tests/test_package.py``."""

from __future__ import annotations

from cdc_bridge.contract import EXAMPLES
from tests.support.bridge import run_command


async def test_example_that_is_not_there_is_told_with_those_that_are() -> None:
    code, output, errors = await run_command("contract", "example", "no-such")
    assert (code, output) == (2, "")
    assert "there is no example no-such" in errors
    assert all(name in errors for name in EXAMPLES)


async def test_needs_no_settings_and_does_not_mind_wrong_ones() -> None:
    code, output, _ = await run_command("contract", "schema", CDC_BRIDGE_ENDPOINT_URL="nonsense")
    assert (code, output[:1]) == (0, "{")
