from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from cdc_bridge.endpoints.secrets_cipher import SecretsCipher
from cdc_bridge.endpoints.store import endpoint_of_row
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

    def counting(row: Mapping[str, Any], cipher: SecretsCipher, *, allow_http: bool) -> object:
        names.append(row["name"])
        return endpoint_of_row(row, cipher, allow_http=allow_http)

    monkeypatch.setattr(definitions, "endpoint_of_row", counting)
    return names
