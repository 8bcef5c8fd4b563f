from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import typer

from cdc_bridge import __version__
from cdc_bridge.cli.app import app
from cdc_bridge.errors import BridgeError
from tests.support.bridge import clean_environment, run_command

ENDPOINT_COMMANDS = (
    "add", "list", "show", "set", "pause", "resume", "remove", "rotate-secret", "encrypt-secrets", "test",
    "apply", "export", "portal",
)  # fmt: skip
COMMANDS = (
    "run",
    "status",
    "check",
    "install",
    "mapping check",
    "mapping draft",
    "uninstall",
    *(f"endpoint {command}" for command in ENDPOINT_COMMANDS),
    "payload",
    "deliveries",
    "delivery show",
    "delivery retry",
    "replay",
    "backfill",
    "reconcile",
    "erase",
    *(f"token {command}" for command in ("add", "list", "remove")),
    "audit",
    "systemd print",
    "systemd install",
    "systemd exec",
    *(f"contract {command}" for command in ("schema", "openapi", "api", "example", "vector", "receiver")),
    "guide",
    "receive",
    "trigger",
    "conformance",
    "demo",
)
PANELS = ("Run and watch", "Endpoints", "Deliveries", "Database", "Vendors", "Help")


def top_commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    commands: dict[str, Any] = root.commands
    return commands


async def test_help_lists_every_command_in_panels_and_the_exit_codes() -> None:
    code, output, _ = await run_command("--help")
    assert code == 0
    assert {command.split()[0] for command in COMMANDS} == set(top_commands())
    assert [command for command in top_commands() if f"\n  {command} " not in output] == []
    assert [line for line in output.splitlines() if line in PANELS] == list(PANELS)
    assert "78" in output


@pytest.mark.parametrize("name", top_commands())
def test_help_in_the_table_is_that_of_the_command(name: str) -> None:
    listed = top_commands()[name]
    command = listed.load()
    assert command.name == name
    if not hasattr(command, "commands"):  # A group's own help says more.
        assert command.help.partition("\n")[0] == listed.help


def run_alone(*arguments: str, **variables: str) -> tuple[str, str]:
    """Run a command in a process that has imported nothing yet; return its output and what it imports."""
    environment = clean_environment({"PYTHONPROFILEIMPORTTIME": "1"} | variables)
    ran = subprocess.run(
        [sys.executable, "-m", "cdc_bridge", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return ran.stdout, ran.stderr


def completed(line: str) -> list[str]:
    variables = {"_CDC_BRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    output, _ = run_alone(**variables)
    return output.split()


def test_help_and_completion_of_commands_import_none_of_them() -> None:
    output, imports = run_alone("--help")
    assert "reconcile" in output
    assert "cdc_bridge.cli.app" in imports
    heavy = ("cdc_bridge.cli.run", "cdc_bridge.settings", "psycopg", "aiohttp")
    assert [name for name in heavy if name in imports] == []
    assert completed("cdc-bridge re") == ["replay", "reconcile", "receive"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cdc-bridge endpoint re", {"resume", "remove"}),
        ("cdc-bridge deliveries --st", {"--state"}),
        ("cdc-bridge deliveries --state de", {"delivered", "dead"}),
    ],
)
def test_completion_knows_subcommands_options_and_values(line: str, words: set[str]) -> None:
    assert set(completed(line)) == words


@pytest.mark.parametrize(("command", "extra"), [("demo", "demo"), ("receive", "receive")])
async def test_command_of_an_extra_that_is_not_installed_says_how_to_install_it(
    command: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("cdc_bridge.vendor.receive", "cdc_bridge.demo"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"cdc_bridge.cli.{command}", raising=False)
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    with pytest.raises(BridgeError) as raised:
        top_commands()[command].load()
    assert raised.value.problem == f"{command} needs standardwebhooks, which is not installed"
    assert f"'cdc-bridge[{extra}]'" in raised.value.remedy


async def test_help_of_endpoint_lists_its_commands() -> None:
    code, output, _ = await run_command("endpoint", "--help")
    assert code == 0
    assert [command for command in ENDPOINT_COMMANDS if f" {command} " not in output] == []


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    code, output, _ = await run_command(*command.split(), "--help")
    assert code == 0
    assert f"cdc-bridge {command}" in one_line(output.partition("Example:")[2])


def one_line(example: str) -> str:
    """Return an example as a shell reads it."""
    return " ".join(example.replace("\\\n", " ").split())


PAGES = ("", *dict.fromkeys(command.split()[0] for command in COMMANDS if " " in command), *COMMANDS)


@pytest.mark.parametrize("command", PAGES)
async def test_every_help_page_fits_into_80_columns_and_names_no_type(command: str) -> None:
    code, output, _ = await run_command(*command.split(), "--help", COLUMNS="80")
    assert code == 0
    assert [line for line in output.splitlines() if len(line) > 80] == []
    assert not re.search(r"<\w+( \w+)?>|\b(INTEGER|FLOAT|BOOLEAN)\b|…", output)


def test_options_of_an_endpoint_are_grouped() -> None:
    flags = {each.opts[0]: each.rich_help_panel for each in top_commands()["endpoint"].load().commands["add"].params}
    assert flags["--header"] == flags["--timeout-seconds"] == flags["--proxy-file"] == "Request"
    assert flags["--only"] == flags["--events"] == "What is sent"
    assert flags["--max-in-flight"] == flags["--latest-only"] == "Pace"
    assert flags["--ca-file"] == "TLS"


@pytest.mark.parametrize("arguments", [(), ("endpoint",)])
async def test_program_and_group_without_arguments_explain_themselves(arguments: tuple[str, ...]) -> None:
    code, output, errors = await run_command(*arguments, COLUMNS="80")
    assert (code, output) == (2, "")
    assert errors.startswith("Usage: cdc-bridge")
    assert "Options\n" in errors


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
