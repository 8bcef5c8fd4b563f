"""A standby of a server of the test's own, to fail over to."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import make_conninfo

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

    def promote(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("select pg_promote()")

    def through_either(self, conninfo: str) -> str:
        """Return a conninfo that leads to whichever of the two can be written to."""
        ports = f"{self._primary.port},{self.port}"
        return make_conninfo(conninfo, host="127.0.0.1,127.0.0.1", port=ports, target_session_attrs="read-write")
