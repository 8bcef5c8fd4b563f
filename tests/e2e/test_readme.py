"""The README's commands, as somebody types them who has nothing else."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bridge import SECRET, Bridges, clean_environment, run_command
from tests.support.certificates import Certificates
from tests.support.clone import Clone
from tests.support.databases import Database
from tests.support.generated import README
from tests.support.receiver import Receiver
from tests.support.waiting import until

TEXT = README.read_text(encoding="utf-8")
BLOCK = re.findall(r"^    (.*)$", TEXT, flags=re.MULTILINE)
COMMANDS = [" ".join(words.split()) for words in re.findall(r"`cdc-bridge ([a-z][^`]*)`", TEXT)]
GUIDES = [command for command in COMMANDS if command.startswith("guide ")]
SOME_TESTS = "TESTS=tests/unit/test_documents.py"
"""All of them would have this one among them."""


def make(clone: Clone, command: str, *more: str) -> str:
    """Type a command in a clone, with standard input at its end; return what it prints."""
    ran = subprocess.run(
        [*shlex.split(command), *more],
        cwd=clone.folder, env=clean_environment({}), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_block_of_commands_is_the_one_that_is_run() -> None:
    assert BLOCK == ["make demo", "make test"]


def test_make_runs_demo_and_tests_once_all_is_installed(tmp_path: Path) -> None:
    installed = f"BIN={Path(sys.executable).parent}", "--old-file=.venv/.demo", "--old-file=.venv/.ready"
    clone = Clone(tmp_path)
    assert "Nothing was lost." in make(clone, "make demo", *installed)
    assert re.search(r"\d+ passed", make(clone, "make test", SOME_TESTS, *installed))


@pytest.mark.slow
def test_make_installs_all_that_demo_and_tests_need(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    assert "Nothing was lost." in make(clone, "make demo")
    assert make(clone, ".venv/bin/cdc-bridge guide vendor").startswith("# ")
    assert re.search(r"\d+ passed", make(clone, "make test", SOME_TESTS))


@pytest.mark.parametrize("command", GUIDES)
async def test_guides_are_printed(command: str) -> None:
    code, output, errors = await run_command(*command.split())
    assert (code, errors) == (0, "")
    assert len(output.splitlines()) > 50


async def test_other_commands_lead_to_a_delivery(
    example_database: Database, bridges: Bridges, receiver: Receiver, certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    here = {"URL": receiver.url, "FILE": f"{tmp_path}/secret"}
    commands = [command for command in COMMANDS if command not in GUIDES]
    assert [command.split()[0] for command in commands] == ["install", "run", "trigger", "mapping"]
    for command in commands:
        name, *arguments = (here.get(word, word) for word in command.split())
        if name == "run":
            await bridges.start_on(example_database)
            example_database.execute(
                "insert into customers (id) values ('C'); "
                "insert into reservations (id, cust_id, reference) values ('R1', 'C', 1)"
            )
            await until(lambda: [request.json["id"] for request in receiver.requests] == ["R1"], "R1 has arrived")
            continue
        more = ["--ca-file", str(certificates.ca_file)] if name == "trigger" else []
        code, output, errors = await run_command(name, *arguments, *more, CDC_BRIDGE_DATABASE_URL=example_database.url)
        assert code == 0, errors
        assert output
    assert [request.headers["ce-type"] for request in receiver.requests][1:] == ["reservation.created"]
