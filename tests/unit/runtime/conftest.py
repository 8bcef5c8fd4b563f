from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cdc_bridge.endpoints import store
from cdc_bridge.runtime import definitions
from tests.unit.runtime.scripted import Daemon


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    daemon = Daemon()
    yield daemon
    await daemon.supervisor.close()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the endpoints whose rows were checked."""
    names: list[str] = []
    definition_of = store.definition_of

    def counting(row: dict[str, Any], *, allow_http: bool) -> object:
        names.append(str(row["name"]))
        return definition_of(row, allow_http=allow_http)

    monkeypatch.setattr(definitions, "definition_of", counting)
    return names
