"""Sessions depend on nothing that role, database, environment or conninfo say of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cdc_bridge.model import ReservationId
from cdc_bridge.payload.loader import ReservationLoader
from cdc_bridge.sessions import Session, connect, connect_to_load
from cdc_bridge.vendor.contract import example
from tests.e2e.test_payload import EXAMPLE_ID, load_example_reservation, with_exact_numbers
from tests.support.databases import Database

HOSTILE = {
    "search_path": "hostile, public",
    "client_encoding": "LATIN1",
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "statement_timeout": "300ms",
    "lock_timeout": "1ms",
    "idle_session_timeout": "300ms",
    "idle_in_transaction_session_timeout": "300ms",
    "transaction_timeout": "300ms",
    "row_security": "on",
    "exit_on_error": "on",
    "client_min_messages": "error",
    "check_function_bodies": "off",
    "restrict_nonsystem_relation_kind": "view",
    "plan_cache_mode": "force_custom_plan",
    "plpgsql.extra_errors": "all",
    "jit": "on",
    "jit_above_cost": "0",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "work_mem": "64kB",
    "lc_numeric": "de_DE.UTF-8",
    "debug_parallel_query": "on",
}
"""What a DBA may have set for others; statements are to work, and read and write the same as ever."""

LEVELS = ["role", "database", "role in the database", "environment", "conninfo"]


def settings_of(database: Database) -> dict[str, str]:
    """Return those that this server has and takes."""
    taken = {}
    with psycopg.connect(database.url, autocommit=True) as connection:
        for name, value in HOSTILE.items():
            try:
                connection.execute(sql.SQL("set {} to {}").format(sql.Identifier(name), sql.SQL(value_of(value))))
            except psycopg.Error:
                continue
            taken[name] = value
            connection.execute("reset all; set statement_timeout to 0")
    return taken


def value_of(value: str) -> str:
    return ", ".join(f"'{part.strip()}'" for part in value.split(","))


@pytest.fixture(params=LEVELS)
def hostile_url(request: pytest.FixtureRequest, database: Database) -> Iterator[str]:
    """The daemon's way in, with every setting as hostile as it can be."""
    settings = settings_of(database)
    assert len(settings) > 30
    as_options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in settings.items())
    targets = {
        "role": "role cdc_bridge",
        "database": f"database {database.name}",
        "role in the database": f"role cdc_bridge in database {database.name}",
    }
    url = database.bridge_url
    load_example_reservation(database)
    with psycopg.connect(database.url, autocommit=True) as connection, pytest.MonkeyPatch.context() as monkeypatch:
        connection.execute("set statement_timeout to 0; set idle_session_timeout to 0")
        if request.param in targets:
            for name, value in settings.items():
                connection.execute(f"alter {targets[request.param]} set {name} to {value_of(value)}".encode())
        elif request.param == "environment":
            monkeypatch.setenv("PGOPTIONS", as_options)
            for name, value in {
                "PGTZ": "Asia/Kathmandu",
                "PGDATESTYLE": "German",
                "PGCLIENTENCODING": "LATIN1",
            }.items():
                monkeypatch.setenv(name, value)
        else:
            url = make_conninfo(url, options=as_options, client_encoding="LATIN1")
        yield url
        if request.param in targets:
            connection.execute(f"alter {targets[request.param]} reset all".encode())


async def test_golden_payload_is_loaded_whatever_the_session_inherits(hostile_url: str) -> None:
    assert with_exact_numbers(await loaded(hostile_url)) == with_exact_numbers(json.dumps(example()))


async def loaded(url: str) -> bytes:
    async with await connect_to_load(url) as session:
        found = await ReservationLoader().load(session, [ReservationId(EXAMPLE_ID)])
    return found.reservations[ReservationId(EXAMPLE_ID)].body


async def test_session_reads_and_writes_whatever_it_inherits(hostile_url: str) -> None:
    async with await connect(hostile_url) as session:
        assert (await shown(session, "TimeZone"), await shown(session, "synchronous_commit")) == ("UTC", "on")
        assert session.info.encoding == "utf-8"
        await asyncio.sleep(0.4)  # longer than any of the limits
        await session.execute("delete from cdc_bridge.endpoint")
        async with session.transaction():
            cursor = await session.execute("select pg_catalog.pg_sleep(0.4), 'Novák 😀'")
            assert (await cursor.fetchall())[0][1] == "Novák 😀"


async def shown(session: psycopg.AsyncConnection[tuple[str]], name: str) -> str:
    cursor = await session.execute("select pg_catalog.current_setting(%s)", (name,))
    ((value,),) = await cursor.fetchall()
    return value


async def test_remote_apply_is_kept(database: Database) -> None:
    database.execute(f"alter role cdc_bridge in database {database.name} set synchronous_commit = remote_apply")
    async with await connect(database.bridge_url) as session:
        assert await shown(session, "synchronous_commit") == "remote_apply"


TEXTS = [
    "",
    " ",
    "null",
    "NULL",
    "a,b",
    "{}",
    '"',
    "\\",
    '\\"',
    "\n\t",
    "'",
    "%s",
    "Zoë",
    "\u2028\u3000",
    "x" * 100_000,
    None,
]


@pytest.mark.parametrize("connecting", [connect, connect_to_load], ids=["connect", "connect_to_load"])
@pytest.mark.parametrize("texts", [TEXTS, [], [None], *([text] for text in TEXTS[:6])], ids=range(9))
async def test_lists_of_text_arrive_as_they_are(
    connecting: Callable[[str], Awaitable[Session]], texts: list[str | None], database: Database
) -> None:
    async with await connecting(database.bridge_url) as session:
        cursor = await session.execute("select %s::text[], %s::bigint[]", (texts, [1, -(2**62), None]))
        assert await cursor.fetchall() == [(texts, [1, -(2**62), None])]


async def test_list_with_what_postgresql_does_not_take_is_rejected(database: Database) -> None:
    async with await connect(database.bridge_url) as session:
        with pytest.raises(psycopg.DataError, match="NUL"):
            await session.execute("select %s::text[]", (["a\0b"],))
