"""``cdc-bridge contract``, asked for names that do not exist. Its output is tested with the installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_bridge.vendor.contract import EXAMPLES, RECEIVERS, text_of
from tests.support.bridge import run_command


async def test_example_that_is_not_there_is_told_with_those_that_are() -> None:
    code, output, errors = await run_command("contract", "example", "no-such")
    assert (code, output) == (2, "")
    assert "there is no example no-such" in errors
    assert all(name in errors for name in EXAMPLES)


async def test_receiver_that_is_not_there_is_told_with_those_that_are() -> None:
    code, output, errors = await run_command("contract", "receiver", "cobol")
    assert (code, output) == (2, "")
    assert "there is no receiver cobol" in errors
    assert all(name in errors for name in RECEIVERS)


@pytest.mark.parametrize("name", RECEIVERS)
async def test_receiver_is_written_with_what_it_needs_and_over_nothing_that_is_there(name: str, tmp_path: Path) -> None:
    command = ("contract", "receiver", name, "--save", str(tmp_path / "deep" / "till"))
    code, output, errors = await run_command(*command)
    assert (code, errors) == (0, "")
    written = [Path(line) for line in output.splitlines()]
    assert [path.read_text() for path in written] == [text_of(file) for file in RECEIVERS[name]]
    written[0].write_text("mine")
    code, output, errors = await run_command(*command)
    assert (code, output) == (1, "")
    assert f"{written[0]} exists already, and was not overwritten" in errors
    assert written[0].read_text() == "mine"


async def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, errors = await run_command("contract", "receiver", "python", "--save", str(tmp_path / "file" / "till"))
    assert code == 1
    assert "cannot be written: Not a directory" in errors


async def test_needs_no_settings_and_does_not_mind_wrong_ones() -> None:
    code, output, _ = await run_command("contract", "schema", CDC_BRIDGE_ENDPOINT_URL="nonsense")
    assert (code, output[:1]) == (0, "{")
