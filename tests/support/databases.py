"""A fresh database for each test, copied from a template that is made once a session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from cdc_bridge.schema.sql_text import install_text, sql_folder
from tests.support.server import Server

BRIDGE_PASSWORD = "of-a-throw-away-server"

_numbers = count(1)


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    server: Server
    name: str

    @property
    def url(self) -> str:
        """The superuser's way in, as a DBA's or e-Res's."""
        return self.server.url_for(self.name)

    @property
    def bridge_url(self) -> str:
        """The daemon's way in, as role cdc_bridge."""
        return self.server.url_for(self.name, user="cdc_bridge", password=BRIDGE_PASSWORD)

    @asynccontextmanager
    async def connection(self, *, autocommit: bool = True) -> AsyncIterator[AsyncConnection[tuple[Any, ...]]]:
        """Open a superuser's connection."""
        async with await AsyncConnection.connect(self.url, autocommit=autocommit) as connection:
            yield connection

    def execute(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement as superuser, committed; return what it returns."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        """Run one statement as superuser; return its one value."""
        ((value,),) = self.execute(statement, parameters)
        return value


def create(server: Server, name: str, template: str | None = None) -> Database:
    database = Database(server, name)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
    return database


def drop(database: Database) -> None:
    with psycopg.connect(database.server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database.name)))


def _unique(prefix: str) -> str:
    return f"cdc_bridge_test_{prefix}_{os.getpid()}_{next(_numbers)}"


def load_example(database: Database) -> None:
    database.execute((sql_folder() / "example" / "schema.sql").read_text())


def install_bridge(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(install_text().encode())
        connection.execute(sql.SQL("alter role cdc_bridge password {}").format(sql.Literal(BRIDGE_PASSWORD)))


@pytest.fixture(scope="session")
def example_template(server: Server) -> Iterator[Database]:
    database = create(server, _unique("example"))
    load_example(database)
    yield database
    drop(database)


@pytest.fixture(scope="session")
def installed_template(server: Server, example_template: Database) -> Iterator[Database]:
    database = create(server, _unique("installed"), example_template.name)
    install_bridge(database)
    yield database
    drop(database)


@pytest.fixture(scope="session")
def roles(installed_template: Database) -> None:
    """Keep the roles, which are the cluster's: no test's uninstall can drop them while the template needs them."""


@pytest.fixture
def empty_database(server: Server, roles: None) -> Iterator[Database]:
    """A database with nothing in it."""
    database = create(server, _unique("empty"))
    yield database
    drop(database)


@pytest.fixture
def example_database(server: Server, example_template: Database, roles: None) -> Iterator[Database]:
    """The example e-Res, without the bridge."""
    database = create(server, _unique("e"), example_template.name)
    yield database
    drop(database)


@pytest.fixture
def database(server: Server, installed_template: Database) -> Iterator[Database]:
    """The example e-Res with the bridge installed."""
    database = create(server, _unique("d"), installed_template.name)
    yield database
    drop(database)


@pytest.fixture
def programs(server: Server) -> Path:
    """The folder with pg_dump and psql of the server's version or newer."""
    if server.programs is None:
        pytest.skip("needs pg_dump and psql on this machine")
    return server.programs


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no CDC_BRIDGE_ settings but their own."""
    for name in list(os.environ):
        if name.startswith("CDC_BRIDGE_") and not name.startswith("CDC_BRIDGE_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("CDC_BRIDGE_CONFIG", os.devnull)
