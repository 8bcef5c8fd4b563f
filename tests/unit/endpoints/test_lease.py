from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.endpoints.lease import Lease, Registration
from cdc_bridge.model import EndpointId, History
from tests.unit.runtime.scripted import SERVER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    clock = {"now": 1000.0}
    monkeypatch.setattr(Registration, "now", staticmethod(lambda: clock["now"]))
    return clock


@pytest.fixture
async def registration() -> Registration:
    return Registration(3, SERVER, History(1))


async def test_leases_end_for_their_holder_before_they_end_for_the_others(
    clock: dict[str, float], registration: Registration
) -> None:
    till, bar = Lease(EndpointId(1), 7, registration), Lease(EndpointId(2), 9, registration)
    assert not till.valid
    registration.renew(asked_at=1000.0, lease_seconds=10)
    clock["now"] = 1008.9
    assert till.valid
    assert bar.valid
    clock["now"] = 1009.1
    assert not till.valid
    assert not bar.valid


async def test_time_that_the_response_took_is_part_of_the_leases(
    clock: dict[str, float], registration: Registration
) -> None:
    clock["now"] = 1020.0
    registration.renew(asked_at=1000.0, lease_seconds=10)
    assert not registration.valid


async def test_all_who_have_a_lease_wait_until_the_registration_is_renewed(
    clock: dict[str, float], registration: Registration
) -> None:
    leases = [Lease(EndpointId(number), 7, registration) for number in range(3)]
    waiting = [asyncio.create_task(lease.until_valid()) for lease in leases]
    await asyncio.sleep(0)
    registration.renew(asked_at=900.0, lease_seconds=10)  # a response that came too late
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    registration.renew(asked_at=1000.0, lease_seconds=10)
    await asyncio.wait_for(asyncio.gather(*waiting), timeout=10)


async def test_lease_is_of_the_server_that_it_was_acquired_on(registration: Registration) -> None:
    assert Lease(EndpointId(1), 7, registration).server == SERVER
