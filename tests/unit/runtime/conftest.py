from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from cdc_bridge.endpoints.options import endpoint_from
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

    def counting(name: str, stored: Mapping[str, Any], *, allow_http: bool) -> object:
        names.append(name)
        return endpoint_from(name, stored, allow_http=allow_http)

    monkeypatch.setattr(definitions, "endpoint_from", counting)
    return names
