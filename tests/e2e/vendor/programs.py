"""The example receivers as programs: in which language, how each is started, what it keeps and where."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from cdc_bridge.transport.message import Message
from cdc_bridge.vendor import contract

FILES = {name: Path(contract.__file__).parent / files[0] for name, files in contract.RECEIVERS.items()}
COMPILE_SECONDS = 120.0
FASTER_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


class Kept(NamedTuple):
    """What a receiver keeps of a reservation."""

    webhook_id: str
    waits: bool
    """The till does not have its body yet."""


class Store(Protocol):
    """What a receiver keeps on disk, read and written from outside."""

    def kept(self) -> dict[str, Kept]:
        """Return what it has of each reservation."""

    def bookings(self) -> dict[str, tuple[int, int]]:
        """Return what the till has: adults of each reservation, and how often it was given it."""

    def put(self, messages: Sequence[Message]) -> None:
        """Write requests as the receiver does that has accepted them, and was killed."""


class SqliteStore:
    """The store in Python and PHP: two tables."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def kept(self) -> dict[str, Kept]:
        rows = self._rows("select id, webhook_id, body is not null from newest")
        return {row[0]: Kept(row[1], bool(row[2])) for row in rows}

    def bookings(self) -> dict[str, tuple[int, int]]:
        return {row[0]: (row[1], row[2]) for row in self._rows("select id, adults, changes from booking")}

    def put(self, messages: Sequence[Message]) -> None:
        with closing(sqlite3.connect(self._file)) as database, database:
            database.executemany(
                "insert into newest values (?, ?, ?, ?, 0)",
                [(each.subject, f"{each.sequence:020d}", each.id, each.body.decode()) for each in messages],
            )

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        if not self._file.exists():  # To connect would create it.
            return []
        with closing(sqlite3.connect(self._file)) as database:
            if database.execute("select count(*) from sqlite_schema where name = 'booking'").fetchone() == (0,):
                return []
            return database.execute(statement).fetchall()


class JournalStore:
    """The store in Node, Java and C#: lines of a file, the last one of a reservation counts."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def kept(self) -> dict[str, Kept]:
        return {id_: Kept(webhook_id, body != "") for id_, (webhook_id, body, _) in self._last_lines().items()}

    def bookings(self) -> dict[str, tuple[int, int]]:
        made = {id_: booking.split(" ") for id_, (_, _, booking) in self._last_lines().items() if booking}
        return {id_: (int(adults), int(passed)) for id_, (_, adults, passed) in made.items()}

    def put(self, messages: Sequence[Message]) -> None:
        with self._file.open("a", encoding="ascii") as journal:
            for each in messages:
                id_, body = (b64encode(raw).decode() for raw in (str(each.subject).encode(), each.body))
                journal.write(f"{id_}\t{each.id}\t{body}\t\n")

    def _last_lines(self) -> dict[str, list[str]]:
        text = self._file.read_text(encoding="ascii") if self._file.exists() else ""
        lines = [line.split("\t") for line in text.split("\n")[:-1]]
        return {b64decode(id_).decode(): state for id_, *state in lines}


@dataclass(frozen=True)
class Program:
    """How an example is run, in a folder of its own."""

    commands: Sequence[Sequence[str]]
    """Each is a process; ``{port}`` is the port to listen at."""
    folder: Path
    store: Callable[[Path], Store]
    serves_tls: bool = False
    umask: int = 0o022
    """The one that its first lines ask for; the usual one if they ask for none."""


def program(language: str, folder: Path) -> Program:
    """Return how the receiver in a language is run; skip the test if this machine does not have the language.

    Args:
        language: Its name in the contract.
        folder: For what a compiler makes.
    """
    file = FILES[language]
    match language:
        case "python":
            return Program([(interpreter(language), file.name)], file.parent, SqliteStore, serves_tls=True)
        case "node":
            return Program([(interpreter(language), file.name)], file.parent, JournalStore, serves_tls=True)
        case "php":
            php = interpreter(language)
            modules = subprocess.run([php, "-m"], capture_output=True, text=True, check=True).stdout.split()
            if "pdo_sqlite" not in modules:
                pytest.skip("needs PHP's pdo_sqlite on this machine")
            return Program([(php, "-S", "127.0.0.1:{port}", file.name), (php, file.name)], file.parent, SqliteStore)
        case "java":
            compile_(installed("javac"), "-Xlint:all", "-Werror", "-d", str(folder), str(file))
            return Program([(installed("java"), *FASTER_START, "Receiver")], folder, JournalStore, umask=0o077)
        case _:
            made = folder / "receiver.exe"
            # 5 is the version of the language that the compiler knows that comes with Windows.
            options = ("-langversion:5", "-warnaserror", f"-out:{made}", "-r:System.Runtime.Serialization.dll")
            compile_(installed("mcs"), *options, str(file))
            return Program([(installed("mono"), str(made))], folder, JournalStore, umask=0o077)


def interpreter(language: str) -> str:
    """Return what runs a program in Python, Node or PHP; skip the test if this machine does not have it."""
    return sys.executable if language == "python" else installed(language)


def installed(command: str) -> str:
    """Return where a command is; skip the test if this machine does not have it."""
    found = shutil.which(command)
    if found is None:
        pytest.skip(f"needs {command} on this machine")
    return found


def compile_(*command: str) -> None:
    """Compile, and fail on the compiler's warnings too."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
