"""Installing and taking out beside sessions that hold locks: who is in the way is named, and e-Res goes on."""

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


async def test_locked_table_is_waited_for_and_then_refused_and_who_locks_it_is_named(
    example_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_retry, "LOCK_TRIES", 2)
    monkeypatch.setattr(lock_retry, "LOCK_PAUSE_SECONDS", 0.01)
    said: list[str] = []
    url = make_conninfo(example_database.url, application_name="e-Res web")
    async with await AsyncConnection.connect(url) as other:
        await other.execute("update reservations set adults = 3")
        pid = other.info.backend_pid
        with pytest.raises(InstallationError, match="reservations stayed locked by pid") as refusal:
            await operation.install(example_database.url, None, said.append)
        session = f'pid {pid} (role postgres, application "e-Res web", idle in transaction, in transaction since '
        assert f"reservations is locked by {session}" in said[0]
        assert f"reservations stayed locked by {session}" in refusal.value.problem
        assert f"select pg_terminate_backend({pid});" in refusal.value.remedy
    assert not example_database.value("select to_regnamespace('cdc_bridge') is not null")


async def test_lock_that_is_let_go_in_time_does_not_stop_the_install(example_database: Database) -> None:
    said: list[str] = []
    async with example_database.connection(autocommit=False) as other:
        await other.execute("update reservations set adults = 3")
        installing = asyncio.create_task(operation.install(example_database.url, None, said.append))
        await until(lambda: bool(said), "it says that it waits")
        await other.commit()
        await installing
    assert example_database.value(TRIGGERS) == 2


async def test_prepared_transaction_in_the_way_is_named(
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
        said: list[str] = []
        await operation.install(database.url, None, said.append)
    assert not [words for words in said if "locked" in words]


async def test_reader_in_the_way_of_an_uninstall_is_named_and_nothing_is_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_retry, "LOCK_TRIES", 1)
    async with database.connection(autocommit=False) as other:
        await other.execute("select from reservations")
        with pytest.raises(InstallationError, match=f"stayed locked by pid {other.info.backend_pid}"):
            await operation.uninstall(database.url, report=lambda _: None)
    assert database.value(TRIGGERS) == 2
