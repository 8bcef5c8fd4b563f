"""How pipelines end, and how leases are released, with no database."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from cdc_bridge.errors import InstallationError, LeaseLost
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime import supervisor
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.scripted import Daemon, ScriptedPipeline, listed

BAR = listed(2, "bar")


async def test_release_that_takes_too_long_is_given_up_when_the_daemon_stops(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RELEASE_WITHIN_SECONDS", 0)
    (pipeline,) = await daemon.lease(listed())
    daemon.store.may_release.clear()
    daemon.supervisor.stop_all()
    await daemon.supervisor.ended()
    assert daemon.store.releases == []
    assert not daemon.supervisor.pauses
    # The endpoint has the daemon's position until another daemon ends this one.
    assert daemon.delivering[0].forgotten == []
    assert pipeline.waits_for_shared


async def test_release_that_is_rejected_is_given_up_when_the_daemon_stops(daemon: Daemon) -> None:
    await daemon.lease(listed())
    daemon.store.release_failure = InstallationError("permission denied for table endpoint")
    daemon.supervisor.stop_all()
    await daemon.supervisor.ended()
    assert daemon.store.release_statements == 1
    assert not daemon.supervisor.pauses
    assert not daemon.supervisor.failed.done()


async def test_stop_all_releases_many_endpoints_with_one_statement(daemon: Daemon) -> None:
    daemon.store.listed = [listed(number, f"e{number}") for number in range(3000)]
    while len(daemon.names) < 3000:
        await daemon.coordinator.look()
    daemon.supervisor.stop_all()
    await daemon.supervisor.ended()
    assert len(daemon.store.releases) == 3000
    assert daemon.store.release_statements == 1
    assert len(daemon.delivering[0].forgotten) == 3000


@in_virtual_time
async def test_release_that_fails_is_tried_again_and_nothing_is_forgotten_before() -> None:
    daemon = Daemon()
    await daemon.lease(listed(), BAR)
    daemon.store.release_failure = InstallationError("permission denied for table endpoint")
    leased = daemon.leased("till")
    daemon.supervisor.stop(EndpointId(1))
    await asyncio.sleep(10)
    assert daemon.delivering[0].left == [leased]
    assert daemon.delivering[0].forgotten == []
    assert daemon.supervisor.pauses.keys() == {1}
    daemon.store.release_failure = None
    await daemon.store.wait_for_release(1)
    assert daemon.delivering[0].forgotten == [leased]
    assert not daemon.supervisor.pauses
    await daemon.supervisor.close()


@in_virtual_time
async def test_endpoint_whose_release_is_rejected_does_not_keep_the_others() -> None:
    daemon = Daemon()
    daemon.store.listed = [listed(number, f"e{number}") for number in range(1, 21)]
    await daemon.coordinator.look()
    daemon.store.rejected = {EndpointId(7)}
    for number in range(1, 21):
        daemon.supervisor.stop(EndpointId(number))
    await asyncio.sleep(10)
    assert {released.endpoint_id for released in daemon.store.releases} == {*range(1, 21)} - {7}
    assert daemon.supervisor.pauses.keys() == {7}
    assert len(daemon.delivering[0].forgotten) == 19
    daemon.store.rejected = set()
    await daemon.store.wait_for_release(7)
    assert len(daemon.delivering[0].forgotten) == 20
    await daemon.supervisor.close()


async def test_position_of_the_daemon_waits_no_longer_for_what_a_stopped_pipeline_could_not_finish(
    daemon: Daemon,
) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.is_empty = False
    daemon.supervisor.stop(EndpointId(1))
    assert pipeline.waits_for_shared
    await daemon.store.wait_for_release(1)
    assert not pipeline.waits_for_shared


async def test_endpoint_that_is_stopped_as_its_pipeline_comes_to_rest_is_released_once(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.rest()
    daemon.supervisor.stop(EndpointId(1))
    await daemon.store.wait_for_release(1)
    await daemon.supervisor.ended()
    assert len(daemon.store.releases) == 1
    assert daemon.names == []


class TwoPipelines:
    """An endpoint whose first pipeline is about to end, as it came to rest, and whose second one runs already."""

    def __init__(self, daemon: Daemon, first: ScriptedPipeline) -> None:
        self.leased = daemon.leased("till")
        self.first = first
        first.closed = True
        second = self.leased.activate()
        assert isinstance(second, ScriptedPipeline)
        assert second is not first
        self.second = second


async def test_endpoint_is_released_once_both_of_its_pipelines_have_ended(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    two = TwoPipelines(daemon, pipeline)
    await two.second.started.wait()
    two.first.requests_end.clear()
    daemon.supervisor.stop(EndpointId(1))
    while two.second.open:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert daemon.names == ["till"]
    two.first.requests_end.set()
    await daemon.store.wait_for_release(1)
    assert len(daemon.store.releases) == 1


async def test_pipeline_that_came_to_rest_does_not_take_the_place_of_the_next_one(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    two = TwoPipelines(daemon, pipeline)
    two.first.rest()
    while two.first.open:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert two.leased.pipeline is two.second
    assert daemon.names == ["till"]


async def test_lease_that_one_pipeline_finds_lost_ends_the_other_one_as_well(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    two = TwoPipelines(daemon, pipeline)
    await two.second.started.wait()
    with capture_logs():
        two.first.crash(LeaseLost("leased by another daemon"))
        await daemon.supervisor.ended()
    assert two.second.stopped.is_set()
    assert daemon.delivering[0].left == [two.leased]
    assert daemon.names == []
    assert daemon.store.releases == []


async def test_crash_of_one_pipeline_ends_the_other_one_and_releases_with_the_problem(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    two = TwoPipelines(daemon, pipeline)
    await two.second.started.wait()
    with capture_logs():
        two.second.crash(ZeroDivisionError())
        while two.second.open:
            await asyncio.sleep(0)
        two.first.rest()
        released = await daemon.store.wait_for_release(1)
    assert released.problem == "delivery task crashed and will restart: ZeroDivisionError"
    assert daemon.delivering[0].left == [two.leased]


async def test_nothing_is_made_for_an_endpoint_whose_registration_is_lost(daemon: Daemon) -> None:
    daemon.store.listed = [listed()]
    await daemon.coordinator.look()
    leased = daemon.leased("till")
    await daemon.supervisor.lose(finish=False)
    with pytest.raises(RuntimeError, match="the lease is lost"):
        leased.activate()


async def test_endpoint_that_is_stopped_while_it_is_started_is_released(daemon: Daemon) -> None:
    await daemon.coordinator.look()
    daemon.store.listed = [listed()]
    looking = asyncio.create_task(daemon.coordinator.look())
    while not daemon.names:
        await asyncio.sleep(0)
    assert daemon.delivering[0].added == []
    daemon.supervisor.stop_all()
    await looking
    await daemon.supervisor.ended()
    assert daemon.names == []
    assert [released.endpoint_id for released in daemon.store.releases] == [1]
