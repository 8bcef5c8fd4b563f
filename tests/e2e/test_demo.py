"""The demo, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.bridge import clean_environment
from tests.support.waiting import PATIENCE_SECONDS, until


@pytest.fixture
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # Run by root, the demo's PostgreSQL is another user's.
        yield folder


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


@asynccontextmanager
async def _demo(
    temporary_folder: Path, *arguments: str, before: Callable[[], object] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", "demo", *arguments,
        env=clean_environment({"TMPDIR": str(temporary_folder)}),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=before,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _first_request(demo: asyncio.subprocess.Process) -> None:
    assert demo.stdout is not None
    async for line in demo.stdout:
        if b"signature valid" in line:
            return
    _, errors = await demo.communicate()
    pytest.fail(f"the demo ended by itself: {errors.decode()}")


async def test_demo_loses_nothing_and_leaves_nothing_behind(temporary_folder: Path) -> None:
    async with _demo(temporary_folder) as demo:
        output, errors = await demo.communicate()
    assert demo.returncode == 0, errors.decode()
    shown = output.decode()
    for words in ("created", "updated", "signature valid", "missing", "duplicates", "p50 / p95", "Nothing was lost."):
        assert words in shown
    assert "schema" not in shown
    assert "(5006 was rolled back; the next one is committed)" in shown
    assert "  5006 " not in shown
    assert "What is next" in shown
    assert " guide mapping " in shown
    assert _is_empty(temporary_folder)


@pytest.mark.slow
@pytest.mark.parametrize("end_by", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_demo_that_is_ended_leaves_nothing_behind(end_by: signal.Signals, temporary_folder: Path) -> None:
    async with _demo(temporary_folder, "--stay") as demo:
        await _first_request(demo)
        demo.send_signal(end_by)
        await demo.communicate()
    assert demo.returncode == 130
    await until(lambda: _is_empty(temporary_folder), "all files of the demo are gone")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
async def test_commands_that_it_says_to_try_work(temporary_folder: Path) -> None:
    async with _demo(temporary_folder, "--stay") as demo:
        assert demo.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "Ctrl-C" not in (line := (await demo.stdout.readline()).decode()):
                assert line
                lines.append(line.strip())
        commands = [line for line in lines[lines.index("Try, in another terminal:") :] if " -c " in line]
        assert len(commands) >= 3
        for command in commands:
            ran = await asyncio.create_subprocess_exec(
                "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output, _ = await ran.communicate()
            assert ran.returncode == 0, (command, output.decode())
        demo.send_signal(signal.SIGTERM)
        await demo.communicate()


async def test_demo_in_the_background_of_a_shell_can_be_ended(temporary_folder: Path) -> None:
    ignores_interrupts = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    async with _demo(temporary_folder, "--stay", before=ignores_interrupts) as demo:
        await _first_request(demo)
        demo.send_signal(signal.SIGTERM)
        await demo.communicate()
    assert demo.returncode == 130
    await until(lambda: _is_empty(temporary_folder), "all files of the demo are gone")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
async def test_demo_that_is_killed_leaves_no_daemon_behind(temporary_folder: Path) -> None:
    async with _demo(temporary_folder, "--stay") as demo:
        await _first_request(demo)
        demo.kill()
        async with asyncio.timeout(60):  # PostgreSQL has ended as well, so the daemon may use up its time for stopping.
            await demo.communicate()  # The daemon holds the demo's standard output, for as long as it lives.
    await until(lambda: not any(temporary_folder.rglob("postmaster.pid")), "PostgreSQL has ended, too")
