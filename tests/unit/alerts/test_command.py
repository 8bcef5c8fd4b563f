from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc_bridge.alerts.command import run_alert_command, scrubbed, secrets_of
from cdc_bridge.alerts.wording import Alert
from cdc_bridge.settings import Settings
from tests.support.waiting import until

ALERT = Alert("red", "in trouble", ("till is failing", "$(touch planted); `id` é"))
URL = "postgresql://cdc_bridge:hunter22@db/eres"


def script(folder: Path, code: str) -> str:
    """Return a command that runs Python code."""
    file = folder / "a script.py"
    file.write_text(code, encoding="utf-8")
    return shlex.join([sys.executable, "-I", str(file), "two words"])


async def test_command_gets_text_variables_and_arguments_and_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDC_BRIDGE_DATABASE_URL", URL)
    monkeypatch.setenv("PGPASSWORD", "hunter22")
    got = tmp_path / "got"
    command = script(
        tmp_path,
        f"""
import os, sys
text = sys.stdin.read()
open({str(got)!r}, "w", encoding="utf-8").write(repr((sys.argv[1:], text, dict(os.environ))))
""",
    )
    monkeypatch.setenv("PYTHONUTF8", "1")
    assert await run_alert_command(command, ALERT, []) is None
    arguments, text, environment = eval(got.read_text(encoding="utf-8"))
    assert arguments == ["two words"]
    assert text == f"{ALERT.text}\n"
    assert environment["ALERT_TEXT"] == ALERT.text
    assert environment["ALERT_STATE"] == "red"
    assert environment["ALERT_SUMMARY"] == "in trouble"
    assert "hunter22" not in repr(environment)
    assert not (tmp_path / "planted").exists()


async def test_output_is_logged_shortened_and_without_secrets_and_is_no_part_of_the_problem(tmp_path: Path) -> None:
    command = script(tmp_path, f"print('{URL} ' + 'x' * 1_000_000); raise SystemExit(3)")
    with capture_logs() as logged:
        assert await run_alert_command(command, ALERT, [URL]) == "exit code 3"
    (line,) = logged
    assert line["output"].startswith("… xxx")
    assert len(line["output"]) == 200


async def test_command_that_reads_nothing_and_one_that_is_not_there(tmp_path: Path) -> None:
    big = Alert("red", "x" * 1_000_00, ())
    assert await run_alert_command(script(tmp_path, "pass"), big, []) is None
    assert "No such file" in (await run_alert_command("/does/not/exist", ALERT, []) or "")


async def test_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(
        tmp_path,
        f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
""",
    )
    problem = await run_alert_command(command, ALERT, [], timeout_seconds=3)
    assert problem == "it did not end within 3 s and was killed"
    for pid in map(int, pids.read_text().split()):
        await until(lambda pid=pid: not runs(pid), f"{pid} has ended")  # type: ignore[misc]


def runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_secrets_of_the_settings_are_scrubbed() -> None:
    values: dict[str, Any] = {
        "database_url": URL,
        "endpoint_url": "https://till.example/x",
        "endpoint_header": ("X-Api-Key: let-me-in",),
        "alert_url": "https://hooks.slack.com/services/T0/B0/s3cr3t",
    }
    settings = Settings(**values)
    printed = f"a {URL} b let-me-in c https://hooks.slack.com/services/T0/B0/s3cr3t"
    assert scrubbed(printed, secrets_of(settings)) == "a … b … c …"
