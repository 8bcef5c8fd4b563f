"""Install and uninstall beside sessions that hold locks: the blocking session is named, and e-Res goes on."""

from __future__ import annotations

import asyncio

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from cdc_bridge.errors import InstallationError
from cdc_bridge.schema import install as operation
from cdc_bridge.schema import lock_retry
from tests.support.databases import Database
from tests.support.waiting import until

TRIGGERS = "select count(*) from pg_trigger where tgname like 'cdc_bridge%'"


async def test_install_gives_up_on_a_locked_table_and_names_who_locks_it(
    example_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_retry, "LOCK_TRIES", 2)
    monkeypatch.setattr(lock_retry, "LOCK_PAUSE_SECONDS", 0.01)
    lines: list[str] = []
    url = make_conninfo(example_database.url, application_name="e-Res web")
    async with await AsyncConnection.connect(url) as other:
        await other.execute("update reservations set adults = 3")
        pid = other.info.backend_pid
        with pytest.raises(InstallationError, match="reservations stayed locked by pid") as failure:
            await operation.install(example_database.url, None, lines.append)
        session = f'pid {pid} (role postgres, application "e-Res web", idle in transaction, in transaction since '
        assert f"reservations is locked by {session}" in lines[0]
        assert f"reservations stayed locked by {session}" in failure.value.problem
        assert f"select pg_terminate_backend({pid});" in failure.value.remedy
    assert not example_database.value("select to_regnamespace('cdc_bridge') is not null")


async def test_install_succeeds_if_the_lock_is_released_in_time(example_database: Database) -> None:
    lines: list[str] = []
    async with example_database.connection(autocommit=False) as other:
        await other.execute("update reservations set adults = 3")
        installing = asyncio.create_task(operation.install(example_database.url, None, lines.append))
        await until(lambda: bool(lines), "it reports that it waits")
        await other.commit()
        await installing
    assert example_database.value(TRIGGERS) == 2


async def test_blocking_prepared_transaction_is_named(
    example_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_retry, "LOCK_TRIES", 1)
    async with example_database.connection(autocommit=False) as other:
        await other.execute("update reservations set adults = 3")
        await other.execute("prepare transaction 'of e-Res'")
        await other.set_autocommit(True)
        try:
            with pytest.raises(InstallationError, match="a prepared transaction"):
                await operation.install(example_database.url, None, report=lambda _: None)
        finally:
            await other.execute("rollback prepared 'of e-Res'")


async def test_second_install_waits_for_no_writer(database: Database) -> None:
    async with database.connection(autocommit=False) as writer:
        await writer.execute("update reservations set adults = 3")
        lines: list[str] = []
        await operation.install(database.url, None, lines.append)
    assert not [line for line in lines if "locked" in line]


async def test_reader_that_blocks_an_uninstall_is_named_and_nothing_is_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_retry, "LOCK_TRIES", 1)
    async with database.connection(autocommit=False) as other:
        await other.execute("select from reservations")
        with pytest.raises(InstallationError, match=f"stayed locked by pid {other.info.backend_pid}"):
            await operation.uninstall(database.url, report=lambda _: None)
    assert database.value(TRIGGERS) == 2
