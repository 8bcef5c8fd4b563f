"""Sign-ins for the audit log: how many entries they make, and what happens while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cdc_bridge.access.rights import Holder, Right
from cdc_bridge.audit.actor import Actor, Via
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, StatementFailed
from cdc_bridge.web import late_writes
from cdc_bridge.web.late_writes import INTERVAL_SECONDS, SINGLY, LateWrites, SignInCounter

ANNA = Actor("anna", Via.DASHBOARD)


def test_some_sign_ins_of_a_token_are_noted_singly_and_the_others_by_their_number() -> None:
    counter = SignInCounter()
    assert [counter.note("anna", float(second)) for second in range(10)] == [1] * SINGLY + [0] * (10 - SINGLY)
    assert counter.note("bert", 9.0) == 1
    assert counter.note("anna", INTERVAL_SECONDS) == 1 + 10 - SINGLY
    assert counter.note("anna", INTERVAL_SECONDS + 1) == 1


def test_who_signs_in_now_and_then_is_noted_each_time_and_forgotten() -> None:
    counter = SignInCounter()
    for number in range(1000):
        assert counter.note(f"portal of {number}", number * INTERVAL_SECONDS) == 1
    assert len(counter._began_at) == len(counter._noted) == 1


class Database:
    """Counts what is written; at first it is away."""

    def __init__(self, failures: int, error: BridgeError | None = None) -> None:
        self.failures = failures
        self.error = error or DatabaseUnavailable("it does not respond")
        self.written = asyncio.Event()

    async def change(self, operation: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ARG002 - as it is called
        if self.failures:
            self.failures -= 1
            raise self.error
        self.written.set()


async def test_entry_is_written_once_the_database_is_back() -> None:
    database = Database(failures=2)
    writes = LateWrites(database)
    running = asyncio.create_task(writes.run())
    writes.note_sign_in(Holder("anna", Right.VIEW), ANNA)
    await database.written.wait()
    running.cancel()
    assert database.failures == 0


async def test_what_fails_for_good_holds_up_nothing_else() -> None:
    database = Database(failures=1, error=StatementFailed("a statement failed"))
    writes = LateWrites(database)
    running = asyncio.create_task(writes.run())
    for name in ("anna", "bert"):
        writes.note_sign_in(Holder(name, Right.VIEW), Actor(name, Via.DASHBOARD))
    await database.written.wait()
    running.cancel()
    assert (database.failures, writes._waiting.qsize()) == (0, 0)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_writes, "_MOST_WAITING", 3)
    writes = LateWrites(Database(0))
    for number in range(10):
        writes.note_sign_in(Holder(f"t{number}", Right.VIEW, None, number), Actor(f"t{number}", Via.DASHBOARD))
    assert writes._waiting.qsize() == 3
