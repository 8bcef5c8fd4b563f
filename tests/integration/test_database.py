"""What the daemon does with an error of a real PostgreSQL: try the same again, or report it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_bridge.database import Database as DaemonDatabase
from cdc_bridge.errors import StatementFailed
from tests.support.databases import Database

RAISE = "do $$ begin raise exception 'Featherstonehaugh' using errcode = '{}'; end $$"
END_OWN_SESSION = "select pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
async def daemons(database: Database) -> AsyncIterator[DaemonDatabase]:
    opened = DaemonDatabase(database.bridge_url)
    await opened.open()
    yield opened
    await opened.close()


class Operation:
    """Fails in its first two runs."""

    def __init__(self, *statements: str) -> None:
        self.runs = 0
        self._statements = statements

    async def __call__(self, connection: AsyncConnection[TupleRow]) -> str:
        self.runs += 1
        if self.runs <= 2:
            for statement in self._statements:
                await connection.execute(statement.encode())
        return "done"


@pytest.mark.parametrize(
    "statements",
    [
        (END_OWN_SESSION,),
        ("set statement_timeout = 1", "select pg_sleep(60)"),
        ("set default_transaction_read_only = on", "delete from cdc_bridge.delivery"),
        *[(RAISE.format(code),) for code in ("53000", "53100", "53200", "40001", "40P01", "57P01", "57014", "55P03")],
    ],
    ids=str,
)
async def test_operation_is_repeated_until_the_server_can_serve_it(
    statements: tuple[str, ...], daemons: DaemonDatabase
) -> None:
    operation = Operation(*statements)
    assert await daemons.patiently(operation) == "done"
    assert operation.runs == 3
    assert not daemons.lost


@pytest.mark.parametrize(
    "statement",
    [
        "select repeat('x', 1 << 30)",  # 54000, as an entry too long for an index
        "select 1 / 0",
        "select * from nowhere",
        *[RAISE.format(code) for code in ("54000", "55000", "58030", "38000", "XX000", "P0001")],
    ],
)
async def test_statement_that_would_fail_again_is_not_repeated(statement: str, daemons: DaemonDatabase) -> None:
    operation = Operation(statement)
    with pytest.raises(StatementFailed) as raised:
        await daemons.patiently(operation)
    assert operation.runs == 1
    assert "Featherstonehaugh" not in str(raised.value)
    assert not daemons.lost
