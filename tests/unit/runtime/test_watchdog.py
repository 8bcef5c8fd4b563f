from __future__ import annotations

import sys

import pytest

from cdc_bridge.database import Database
from cdc_bridge.runtime.watchdog import Stuck, Watchdog
from tests.unit.runtime.scripted import Daemon, listed

STUCK_AFTER_SECONDS = 5


class Watch:
    """A watchdog of a daemon, on the daemon's clock."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.database = Database("host=unused")
        self._watchdog = Watchdog(
            self.database,
            daemon.coordinator,
            daemon.supervisor,
            stuck_after_seconds=STUCK_AFTER_SECONDS,
            read_every_seconds=1,
            found_well=lambda: None,
            end_process=lambda: sys.exit("not asked for"),
            clock=lambda: daemon.now,
        )

    async def look_each_second(self, seconds: int) -> None:
        for _ in range(seconds):
            self.daemon.now += 1
            await self._watchdog.look()


@pytest.fixture
async def watch(daemon: Daemon) -> Watch:
    daemon.coordinator.look_every_seconds = 0
    return Watch(daemon)


async def test_endpoints_that_are_not_looked_at_are_stuck(watch: Watch) -> None:
    await watch.look_each_second(5)
    with pytest.raises(Stuck, match="endpoints not checked for 6 s"):
        await watch.look_each_second(1)


async def test_time_without_a_database_does_not_count(watch: Watch) -> None:
    watch.database._failures = 1
    await watch.look_each_second(100)
    watch.database._failures = 0
    await watch.look_each_second(5)
    with pytest.raises(Stuck, match="not checked for 6 s"):
        await watch.look_each_second(1)


async def test_time_without_a_database_does_not_count_where_no_endpoint_is_leased(watch: Watch) -> None:
    watch.daemon.store.failure = TimeoutError()
    await watch.daemon.coordinator.look()
    await watch.look_each_second(100)
    watch.daemon.coordinator._failures = 0
    await watch.look_each_second(5)
    with pytest.raises(Stuck, match="not checked for 6 s"):
        await watch.look_each_second(1)


async def test_time_in_which_the_process_was_stopped_does_not_count(watch: Watch) -> None:
    watch.daemon.now += 1000
    await watch.look_each_second(6)
    with pytest.raises(Stuck, match="not checked for 6 s"):
        await watch.look_each_second(1)


async def test_endpoints_that_are_looked_at_seldom_are_not_stuck(watch: Watch) -> None:
    watch.daemon.coordinator.look_every_seconds = 125
    await watch.look_each_second(130)
    with pytest.raises(Stuck, match="not checked for 131 s"):
        await watch.look_each_second(1)


async def test_stuck_endpoint_is_released_with_the_reason_and_the_other_one_is_not(watch: Watch) -> None:
    pipeline, _ = await watch.daemon.lease(listed(), listed(2, "bar"))
    watch.daemon.coordinator.look_every_seconds = 1000
    pipeline.stalled_since = watch.daemon.now
    await watch.look_each_second(20)  # a request may take 15 s
    with pytest.raises(Stuck, match="endpoint till: no progress for 21 s"):
        await watch.look_each_second(1)
    assert [(one.endpoint_id, one.problem) for one in watch.daemon.store.releases] == [
        (1, "stuck: no progress for 21 s")
    ]


async def test_endpoint_without_a_valid_lease_is_not_stuck(watch: Watch) -> None:
    (pipeline,) = await watch.daemon.lease(listed())
    watch.daemon.coordinator.look_every_seconds = 1000
    pipeline.stalled_since = watch.daemon.now
    watch.daemon.delivering[0].registration.renew(asked_at=0.0, lease_seconds=0.0)
    await watch.look_each_second(100)


async def test_endpoint_without_a_pipeline_is_not_stuck(watch: Watch) -> None:
    (pipeline,) = await watch.daemon.lease(listed())
    watch.daemon.coordinator.look_every_seconds = 1000
    pipeline.stalled_since = watch.daemon.now
    pipeline.rest()
    await watch.daemon.supervisor.ended()
    await watch.look_each_second(100)


async def test_change_log_that_is_not_read_is_stuck_and_no_endpoint_is_given_up(watch: Watch) -> None:
    await watch.daemon.lease(listed(), listed(2, "bar"))
    watch.daemon.coordinator.look_every_seconds = 1000
    watch.daemon.delivering[0].unread_since = watch.daemon.now
    await watch.look_each_second(6)  # it may be read once a second
    with pytest.raises(Stuck, match="change log not read for 7 s"):
        await watch.look_each_second(1)
    assert watch.daemon.store.releases == []
