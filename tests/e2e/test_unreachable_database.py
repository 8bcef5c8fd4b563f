"""A database that cannot be reached: each cause is told in its own words, by every command, without the password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc_bridge.demo.ports import free_port
from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import run_command

PASSWORD = "top-secret-word"
ENDPOINT = {"CDC_BRIDGE_ENDPOINT_URL": "https://till.example/reservations"}


class OwnServer:
    """A server whose roles, settings and pg_hba.conf are the test's."""

    def __init__(self, postgres: ThrowawayPostgres) -> None:
        self._postgres = postgres
        self.execute(f"create role till login password '{PASSWORD}'")
        self.execute("create database eres")
        (file,) = self.execute("show hba_file")[0]
        self._hba = Path(file)

    def execute(self, statement: str) -> list[tuple[str, ...]]:
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str = "eres", user: str = "till", password: str = PASSWORD, **more: str) -> str:
        return make_conninfo(self._postgres.url_for(database, user, password), **more)

    @contextmanager
    def admitting(self, *lines: str, others: bool = True) -> Iterator[None]:
        """Have lines in pg_hba.conf, before those that there are or in their place."""
        before = self._hba.read_text(encoding="utf-8")
        self._admit("\n".join([*lines, before if others else "host all postgres all trust"]) + "\n")
        try:
            yield
        finally:
            self._admit(before)

    def _admit(self, text: str) -> None:
        before = self.execute("select pg_conf_load_time()::text")
        self._hba.write_text(text, encoding="utf-8")
        self.execute("select pg_reload_conf()")
        # What is loaded is what each new session reads.
        while self.execute("select pg_conf_load_time()::text") == before:
            pass

    @contextmanager
    def altered(self, statement: str, back: str) -> Iterator[None]:
        self.execute(statement)
        try:
            yield
        finally:
            self.execute(back)


@pytest.fixture
def own(durable_server: ThrowawayPostgres) -> OwnServer:
    return OwnServer(durable_server)


async def assert_told(url: str, problem: str, remedy: str) -> None:
    for command in ("check", "status", "run"):
        code, output, errors = await run_command(command, CDC_BRIDGE_DATABASE_URL=url, **ENDPOINT)
        told = output + errors
        assert code == 1, told
        assert re.search(f"the database cannot be reached: {re.escape(problem)}[;\n]", told), command
        assert "ried as role " in told
        assert remedy in told
        assert PASSWORD not in told
        assert "Traceback" not in told


async def test_each_cause_is_told_with_its_remedy(own: OwnServer) -> None:
    await assert_told(
        own.url(password="wrong"), "it rejects the password of role till, or has no such role", '\\password "till"'
    )
    await assert_told(own.url("not_there"), "it has no database not_there", "psql -l")
    with own.altered("alter role till nologin", "alter role till login"):
        await assert_told(own.url(), "role till may not log in", 'alter role "till" login;')
    with own.altered("alter role till connection limit 0", "alter role till connection limit -1"):
        await assert_told(
            own.url(), "role till has as many connections as it may", 'alter role "till" connection limit'
        )
    with own.altered("alter database eres connection limit 0", "alter database eres connection limit -1"):
        await assert_told(own.url(), "database eres has as many connections as it may", 'alter database "eres"')
    with own.altered("revoke connect on database eres from public", "grant connect on database eres to public"):
        await assert_told(
            own.url(), "the role may not connect to database eres", 'grant connect on database "eres" to "till";'
        )
    with own.admitting("host all nobody all trust"):
        await assert_told(own.url(user="nobody"), "it has no role nobody", "cdc-bridge install")
    with own.admitting("host eres till all reject"):
        await assert_told(
            own.url(), "it does not admit role till to database eres from 127.0.0.1 (pg_hba.conf)", "pg_reload_conf()"
        )


async def test_missing_line_of_pg_hba_and_tls_that_one_side_requires(own: OwnServer) -> None:
    await assert_told(
        own.url(sslmode="require"), "it offers no TLS, which CDC_BRIDGE_DATABASE_URL requires (sslmode)", "ssl = on"
    )
    with own.admitting("hostssl all all all scram-sha-256", others=False):
        await assert_told(
            own.url(),
            "it does not admit role till to database eres from 127.0.0.1 without TLS (pg_hba.conf)",
            "sslmode=require",
        )


async def test_server_without_a_connection_left(own: OwnServer) -> None:
    (limit,) = own.execute("show max_connections")[0]
    with ExitStack() as others:

        def connect_again_and_again() -> None:
            for _ in range(int(limit) + 1):
                others.enter_context(psycopg.connect(own.url()))

        with pytest.raises(psycopg.OperationalError):
            connect_again_and_again()
        await assert_told(own.url(), "it has no connection left", "max_connections")


async def test_server_that_is_not_there() -> None:
    port = free_port()
    url = f"postgresql://till:{PASSWORD}@127.0.0.1:{port}/eres"
    await assert_told(url, f"nothing listens at 127.0.0.1, port {port}", "Start PostgreSQL")
    url = f"postgresql://till:{PASSWORD}@nowhere.invalid/eres"
    await assert_told(url, "the host nowhere.invalid is not known", "getent hosts nowhere.invalid")
    url = f"host=/not/there dbname=eres user=till password={PASSWORD}"
    await assert_told(url, "no server on this machine listens at /not/there/.s.PGSQL.5432", "Start PostgreSQL")
