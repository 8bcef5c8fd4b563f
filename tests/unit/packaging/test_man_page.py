"""The man page is that of the commands and settings, and is one that every formatter takes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cdc_bridge.settings import PREFIX, Settings
from tests.e2e.test_cli import COMMANDS
from tests.support.man_page import PAGE, date_of, man_page

TEXT = PAGE.read_text(encoding="utf-8")
FORMATTERS = (
    ("groff", "-man", "-Tutf8", "-ww", "-z"),
    ("mandoc", "-Tlint", "-Wwarning"),
)


def test_page_is_up_to_date() -> None:
    assert man_page(date_of(TEXT)) == TEXT, "make man brings it up to date"


def test_page_has_every_command_and_every_setting() -> None:
    words = TEXT.replace("\\-", "-")
    assert [command for command in COMMANDS if f".SS cdc-bridge {command}" not in words] == []
    assert [name for name in Settings.model_fields if f".B {PREFIX}{name.upper()}\n" not in words] == []


@pytest.mark.parametrize("command", FORMATTERS, ids=[command[0] for command in FORMATTERS])
def test_page_is_formatted_without_a_warning(command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    ran = subprocess.run([*command, PAGE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    if command[0] == "mandoc":
        assert not ran.stdout
