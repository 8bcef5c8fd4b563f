from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.model import EndpointId
from tests.unit.runtime.scripted import SERVER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    clock = {"now": 1000.0}
    monkeypatch.setattr(Lease, "now", staticmethod(lambda: clock["now"]))
    return clock


async def test_lease_ends_for_its_holder_before_it_ends_for_the_others(clock: dict[str, float]) -> None:
    lease = Lease(EndpointId(1), 7, SERVER)
    assert not lease.valid
    lease.renew(asked_at=1000.0, lease_seconds=10)
    clock["now"] = 1008.9
    assert lease.valid
    clock["now"] = 1009.1
    assert not lease.valid


async def test_time_that_the_answer_took_is_part_of_the_lease(clock: dict[str, float]) -> None:
    lease = Lease(EndpointId(1), 7, SERVER)
    clock["now"] = 1020.0
    lease.renew(asked_at=1000.0, lease_seconds=10)
    assert not lease.valid


async def test_caller_waits_until_it_is_renewed(clock: dict[str, float]) -> None:
    lease = Lease(EndpointId(1), 7, SERVER)
    waiting = asyncio.create_task(lease.until_valid())
    await asyncio.sleep(0)
    lease.renew(asked_at=900.0, lease_seconds=10)  # an answer that came too late
    await asyncio.sleep(0)
    assert not waiting.done()
    lease.renew(asked_at=1000.0, lease_seconds=10)
    await asyncio.wait_for(waiting, timeout=10)
