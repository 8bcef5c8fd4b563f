from __future__ import annotations

import pytest

from cdc_bridge import __version__
from tests.support.bridge import run_command

ENDPOINT_COMMANDS = ("add", "list", "show", "set", "pause", "resume", "remove", "rotate-secret", "test")
COMMANDS = (
    "run",
    "check",
    "install",
    "uninstall",
    *(f"endpoint {command}" for command in ENDPOINT_COMMANDS),
    "payload",
    "delivery show",
    "delivery retry",
    "replay",
    "backfill",
    "reconcile",
    "systemd print",
    "systemd install",
    *(f"contract {command}" for command in ("guide", "schema", "openapi", "example", "vector")),
    "demo",
)


async def test_help_lists_the_commands_and_the_exit_codes() -> None:
    code, output, _ = await run_command("--help")
    assert code == 0
    assert [command for command in COMMANDS if f" {command.split()[0]} " not in output] == []
    assert "78" in output


async def test_help_of_endpoint_lists_its_commands() -> None:
    code, output, _ = await run_command("endpoint", "--help")
    assert code == 0
    assert [command for command in ENDPOINT_COMMANDS if f" {command} " not in output] == []


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    code, output, _ = await run_command(*command.split(), "--help")
    assert code == 0
    assert f"cdc-bridge {command}" in output.partition("Example:")[2]


async def test_version() -> None:
    assert await run_command("--version") == (0, f"cdc-bridge {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("run", "--nonsense"),
        ("payload",),
        ("run", "--wake", "never"),
        ("endpoint", "nonsense"),
        ("endpoint", "add", "till"),
        ("endpoint", "add", "till", "https://x", "--start", "never"),
        ("endpoint", "set", "till", "--max-in-flight", "many"),
    ],
)
async def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    code, _, errors = await run_command(*arguments)
    assert code == 2
    assert "Usage" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "command",
    [
        ("install",),
        ("uninstall", "--yes"),
        ("check",),
        ("payload", "X"),
        ("run",),
        ("endpoint", "list"),
        ("endpoint", "test", "till"),
    ],
)
@pytest.mark.parametrize(
    "url", ["postgresql://u:top-secret-word@localhost/d", "host=localhost password=top-secret-word"]
)
async def test_password_on_the_command_line_is_refused(command: tuple[str, ...], url: str) -> None:
    code, output, errors = await run_command(*command, "--database-url", url)
    assert code == 78
    assert "every user of this machine can read" in errors
    assert "top-secret-word" not in output + errors


async def test_database_url_that_is_none_is_refused() -> None:
    for source in ({"CDC_BRIDGE_DATABASE_URL": "postgresql://u:top-secret-word@@@:x/?y"}, {}):
        arguments = ("check",) if source else ("check", "--database-url", "nonsense with top-secret-word")
        code, output, errors = await run_command(*arguments, **source)
        assert code == 78
        assert "conninfo" in errors
        assert "top-secret-word" not in output + errors
        assert "Traceback" not in errors
