from __future__ import annotations

import pytest

from cdc_bridge.errors import InstallationError
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime import supervisor
from tests.unit.runtime.scripted import Daemon, listed


async def test_release_that_takes_too_long_is_given_up(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RELEASE_WITHIN_SECONDS", 0)
    await daemon.lease(listed())
    daemon.store.may_release.clear()
    daemon.supervisor.stop_all()
    await daemon.supervisor.ended()
    assert daemon.store.releases == []
    assert not daemon.supervisor.pauses


async def test_release_that_is_refused_is_given_up(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    await daemon.lease(listed())
    refusals: list[set[EndpointId]] = []

    async def refuse(*_: object, **__: object) -> None:
        refusals.append(set(daemon.supervisor.pauses))
        raise InstallationError("permission denied for table endpoint")

    monkeypatch.setattr(daemon.store, "release", refuse)
    daemon.supervisor.stop_all()
    await daemon.supervisor.ended()
    assert refusals == [{EndpointId(1)}]
    assert not daemon.supervisor.pauses
    assert not daemon.supervisor.failed.done()
