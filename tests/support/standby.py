"""Servers made from another one of the test's own: a standby to fail over to, and a recovery to a point in time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from cdc_bridge.demo.ports import free_port
from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.server import SETTINGS, in_memory


class Standby(ThrowawayPostgres):
    """Streams from a primary from the moment it is started, and takes over when it is promoted."""

    def __init__(self, primary: ThrowawayPostgres) -> None:
        super().__init__(primary.binaries, durable=True, settings=SETTINGS, parent=in_memory())
        self._primary = primary
        self._password = primary._password

    def _initialise(self) -> None:
        data = self._home / "data"
        self._home.chmod(0o777)  # pg_basebackup makes the folder, as the user that the server runs as
        self._run("pg_basebackup", "-d", self._primary.url, "-D", str(data), "-R", "-X", "stream", "-c", "fast")

    def cut_off(self) -> None:
        """End the streaming: what the primary commits from now on does not arrive here."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"alter system set primary_conninfo = 'host=127.0.0.1 port={free_port()}'".encode())
            connection.execute("select pg_reload_conf()")

    def receives(self) -> bool:
        """Return whether it is connected to its primary."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute("select 1 from pg_stat_wal_receiver where status = 'streaming'").rowcount > 0

    def promote(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("select pg_promote()")

    def through_either(self, conninfo: str) -> str:
        """Return a conninfo that leads to whichever of the two can be written to."""
        ports = f"{self._primary.port},{self.port}"
        return make_conninfo(conninfo, host="127.0.0.1,127.0.0.1", port=ports, target_session_attrs="read-write")


class Recovery(ThrowawayPostgres):
    """Begins as a copy of another server, and replays what that one wrote, up to a point."""

    def __init__(self, origin: ThrowawayPostgres, log: Path) -> None:
        """Prepare the recovery.

        Args:
            origin: The other server.
            log: The folder that the origin archives its write-ahead log to.
        """
        super().__init__(origin.binaries, durable=True, settings=SETTINGS, parent=in_memory())
        self._origin = origin
        self._password = origin._password
        self._log = log

    def _initialise(self) -> None:
        data = self._home / "data"
        self._home.chmod(0o777)
        self._run("pg_basebackup", "-d", self._origin.url, "-D", str(data), "-X", "fetch", "-c", "fast")

    def start(self) -> None:
        """Wait for :meth:`recover_to`, as it has no target yet."""

    def recover_to(self, restore_point: str) -> None:
        """Replay the log to a named restore point and take over."""
        self._settings |= {
            "restore_command": f"cp {self._log}/%f %p",
            "recovery_target_name": restore_point,
            "recovery_target_action": "promote",
        }
        signal = self._home / "data" / "recovery.signal"
        signal.touch()
        signal.chmod(0o666)
        super().start()


def copy_of_files(postgres: ThrowawayPostgres) -> Path:
    """Copy the files of a server that is stopped."""
    copy = postgres._home / "copy"
    shutil.copytree(postgres._home / "data", copy)
    return copy


def put_back(postgres: ThrowawayPostgres, copy: Path) -> None:
    """Put the copy in place of the files of a server that is stopped."""
    data = postgres._home / "data"
    owner = data.stat()
    shutil.rmtree(data)
    copy.rename(data)
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    data.chmod(0o700)
