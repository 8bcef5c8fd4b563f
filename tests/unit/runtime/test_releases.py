from __future__ import annotations

import pytest

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.errors import InstallationError
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime.releases import Releases
from tests.unit.runtime.scripted import ScriptedStore

LEASE = Lease(EndpointId(1), 7)


async def test_release_that_takes_too_long_is_given_up() -> None:
    store = ScriptedStore()
    store.may_release.clear()
    releases = Releases(store, within_seconds=0)
    await releases.release(LEASE, EndpointState())
    assert store.releases == []
    assert not releases.under_way


async def test_release_that_is_refused_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ScriptedStore()
    releases = Releases(store)

    async def refuse(*_: object, **__: object) -> None:
        assert releases.under_way == {LEASE.endpoint_id}
        raise InstallationError("permission denied for table endpoint")

    monkeypatch.setattr(store, "release", refuse)
    await releases.release(LEASE, EndpointState())
    assert not releases.under_way
