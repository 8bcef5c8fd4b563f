"""Holds the unit tests to what they may use."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def server() -> None:
    pytest.fail("a unit test has no database: this one belongs to tests/integration or tests/e2e")
