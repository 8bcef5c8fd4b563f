"""A pgbouncer in front of a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_bridge.demo.ports import free_port
from tests.support.databases import Database
from tests.support.waiting import PATIENCE_SECONDS

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooler(database: Database, mode: str, size: int = 20) -> Iterator[str]:
    """Run a pooler; yield the daemon's way in through it. Skips the test where the program is missing."""
    if _PROGRAM is None:
        pytest.skip("pgbouncer is not here (Debian: apt-get install pgbouncer)")
    url = conninfo_to_dict(database.bridge_url)
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{url["user"]}" "{url["password"]}"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host={url['host']} port={url['port']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {folder}/users\npool_mode = {mode}\ndefault_pool_size = {size}\n"
        )
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        with subprocess.Popen([_PROGRAM, "-q", *as_nobody, folder / "ini"], stderr=subprocess.DEVNULL) as process:
            through = make_conninfo(database.bridge_url, host="127.0.0.1", port=port)
            try:
                _wait(through)
                yield through
            finally:
                process.terminate()


def _wait(conninfo: str) -> None:
    for _ in range(round(PATIENCE_SECONDS * 20)):
        try:
            psycopg.connect(conninfo, connect_timeout=1).close()
        except psycopg.OperationalError:
            continue
        return
    pytest.fail("pgbouncer does not start")
