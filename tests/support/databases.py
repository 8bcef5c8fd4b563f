"""A fresh database for each test, copied from a template that is made once a session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from cdc_bridge.schema.sql_text import install_text, sql_folder
from cdc_bridge.sessions import LoadingConnection, connect_to_load
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

    @asynccontextmanager
    async def loading_connection(self, *, as_superuser: bool = False) -> AsyncIterator[LoadingConnection]:
        """Open a connection to load reservations, as the daemon does."""
        async with await connect_to_load(self.url if as_superuser else self.bridge_url) as connection:
            yield LoadingConnection(connection)

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


def unique_name(prefix: str) -> str:
    return f"cdc_bridge_test_{prefix}_{os.getpid()}_{next(_numbers)}"


def load_example(database: Database) -> None:
    database.execute((sql_folder() / "example" / "schema.sql").read_text())


def install_bridge(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(install_text().encode())
        connection.execute(sql.SQL("alter role cdc_bridge password {}").format(sql.Literal(BRIDGE_PASSWORD)))
