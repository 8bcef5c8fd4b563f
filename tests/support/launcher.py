"""Starts ``python -m cdc_bridge`` in a moment: forks it from a process that has already imported the product.

Importing takes most of a second of processor time, and the tests start the product some two thousand times; it was more
than half of all that they took. A forked process is a process like any other, with its own memory, signals and exit
code; only the imports are shared. What is not started this way: a daemon with a fault built in, another release, the
installed wheel, the benchmark, and everything in a run at length (``make test-faults``).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cdc_bridge
from tests.support.length import AT_LENGTH

PROJECT = Path(__file__).parents[2]
PRODUCT = "cdc_bridge"
_LONGEST_MESSAGE = 128 * 1024
_LINE_LIMIT = 1024 * 1024
_NOT_OURS_TO_IMPORT = ("__main__", ".receivers.")
"""The example receivers are programs."""

_IMPORTED_LATE = ("jsonschema", "rich.markdown", "standardwebhooks", "trustme", "typer.rich_utils")
"""What the product's dependencies import only when they are used."""


class Process:
    """A forked process: as much of ``asyncio.subprocess.Process`` as the tests use."""

    def __init__(
        self, pid: int, status: asyncio.StreamReader, stdout: asyncio.StreamReader | None, stderr: asyncio.StreamReader
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr: asyncio.StreamReader | None = stderr
        self.returncode: int | None = None
        self._ending = asyncio.create_task(self._end(status))

    async def _end(self, status: asyncio.StreamReader) -> int:
        self.returncode = int(await status.read())
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._ending)

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that has imported the product; started when it is needed first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, files: Sequence[int]) -> int:
        """Start the product; return its process id.

        Args:
            arguments: Of its command line.
            environment: All of it.
            folder: Where it works.
            files: Standard input, output and error, and where its exit code is to be written.
        """
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.launcher", str(theirs.fileno())],
                    cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                )  # fmt: skip
        message = json.dumps([list(arguments), dict(environment), str(folder)]).encode()
        socket.send_fds(self._control, [message], list(files))
        answer = self._control.recv(_LONGEST_MESSAGE)
        if not answer:
            raise RuntimeError("the process that forks the product has ended")
        return int(answer)

    def end(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()


_launcher: Launcher | None = None


@contextmanager
def forking() -> Iterator[None]:
    """Have the product forked for as long as the block runs, where that is possible and wanted."""
    global _launcher  # noqa: PLW0603 - one a process, as it is a process itself
    if sys.platform != "linux" or AT_LENGTH:
        yield
        return
    _launcher = Launcher()
    try:
        yield
    finally:
        _launcher.end()
        _launcher = None


async def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    standard_input: bytes = b"",
    with_output: bool = True,
    project: Path = PROJECT,
) -> Process | asyncio.subprocess.Process:
    """Start ``python -m module``.

    Args:
        module: The product, or a module that runs it with a fault built in.
        arguments: Of its command line.
        environment: All of it.
        standard_input: What it can read.
        with_output: Have a pipe for its standard output, not only for its standard error.
        project: Where the code is.
    """
    with _file_with(standard_input) as stdin:
        if _launcher is not None and (module, project) == (PRODUCT, PROJECT):
            return await _forked(_launcher, arguments, environment, stdin, with_output=with_output)
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, env=environment, cwd=project, stdin=stdin,
            stdout=asyncio.subprocess.PIPE if with_output else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, limit=_LINE_LIMIT,
        )  # fmt: skip


@contextmanager
def _file_with(content: bytes) -> Iterator[int]:
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)  # no more than a pipe holds
        yield reading
    finally:
        os.close(reading)


async def _forked(
    launcher: Launcher,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: int,
    *,
    with_output: bool,
) -> Process:
    stdout, theirs = os.pipe() if with_output else (None, os.open(os.devnull, os.O_WRONLY))
    stderr, their_stderr = os.pipe()
    status, their_status = os.pipe()
    their_files = [stdin, theirs, their_stderr, their_status]
    try:
        pid = launcher.fork(arguments, environment, Path.cwd(), their_files)
    finally:
        for file in their_files[1:]:
            os.close(file)
    return Process(
        pid,
        status=await _reader(status),
        stdout=None if stdout is None else await _reader(stdout),
        stderr=await _reader(stderr),
    )


async def _reader(file: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader),
        os.fdopen(file, "rb", buffering=0),
    )
    return reader


def _serve(control: socket.socket) -> list[str] | None:
    """Fork for each request until nobody can ask any more.

    Returns:
        In a forked process the arguments of its command line, in the process itself nothing.
    """
    status_files: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if woken in ready:
            os.read(woken, 4096)
            _tell_exit_codes(status_files)
        if control.fileno() not in ready:
            continue
        message, files, *_ = socket.recv_fds(control, _LONGEST_MESSAGE, maxfds=4)
        if not message:
            return None
        if (pid := os.fork()) == 0:
            for file in (woken, wake, *status_files.values()):
                os.close(file)
            selector.close()
            control.close()
            return _become(json.loads(message), files)
        status_files[pid] = files.pop()
        for file in files:
            os.close(file)
        control.send(str(pid).encode())


def _tell_exit_codes(status_files: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            file = status_files.pop(pid)
            with suppress(BrokenPipeError):  # nobody wants to know
                os.write(file, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(file)


def _become(request: list[Any], files: list[int]) -> list[str]:
    """Be as a process is that was started from scratch; return the arguments of its command line."""
    arguments, environment, folder = request
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    return list(arguments)


def _import_the_product() -> None:
    packages = pkgutil.walk_packages(cdc_bridge.__path__, f"{PRODUCT}.")
    ours = [module.name for module in packages if not any(part in module.name for part in _NOT_OURS_TO_IMPORT)]
    for name in (*ours, *_IMPORTED_LATE):
        with suppress(ImportError):  # the product says so where it is used
            importlib.import_module(name)


def main() -> None:
    """Fork the product again and again; in a forked process, run it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which ends this process
    _import_the_product()
    gc.collect()
    gc.freeze()
    arguments = _serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module(PRODUCT, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
