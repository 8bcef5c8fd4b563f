"""Which errors mean that the database is away, and what is told of an error."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout

from cdc_bridge.database import is_unavailable, problem_of

PASSING = [
    psycopg.OperationalError("server closed the connection unexpectedly"),
    psycopg.InterfaceError("the connection is closed"),
    PoolTimeout(),
    TimeoutError(),
    errors.AdminShutdown(),
    errors.CannotConnectNow(),
    errors.ConnectionFailure(),
    errors.DiskFull(),
    errors.OutOfMemory(),
    errors.TooManyConnections(),
    errors.DeadlockDetected(),
    errors.SerializationFailure(),
    errors.QueryCanceled(),
    errors.LockNotAvailable(),
    errors.ReadOnlySqlTransaction(),
    errors.IdleInTransactionSessionTimeout(),
]
LASTING = [
    errors.ProgramLimitExceeded("index row size 2712 exceeds btree version 4 maximum 2704"),
    errors.StatementTooComplex(),
    errors.IoError(),
    errors.ObjectNotInPrerequisiteState(),
    errors.ExternalRoutineException(),
    errors.UndefinedTable(),
    errors.InsufficientPrivilege(),
    errors.CheckViolation(),
    errors.InternalError_(),
    psycopg.ProgrammingError("the query has 2 placeholders"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_same_again_may_help(error: Exception) -> None:
    assert is_unavailable(error)


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_same_again_does_not_help(error: Exception) -> None:
    assert not is_unavailable(error)


def test_problem_is_of_a_sane_length_whoever_raised_it() -> None:
    problem = problem_of(errors.ProgramLimitExceeded("\N{PILE OF POO}" * 10_000))
    assert problem == "\N{PILE OF POO}" * 499 + "…"
