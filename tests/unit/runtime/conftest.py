from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.runtime.scripted import Daemon


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    daemon = Daemon()
    yield daemon
    await daemon.supervisor.close()
