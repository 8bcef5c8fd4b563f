"""Nothing is lost, sent twice without need, or held up for good, whatever happens and in whatever order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator

import pytest
import structlog

from cdc_bridge.runtime import delivering
from tests.support.length import chosen
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.world import Bridge, World, WorldReservations, WorldRouter

SEEDS = chosen(25, 600)


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(delivering, "Router", WorldRouter)
    monkeypatch.setattr(delivering, "SharedReservations", WorldReservations)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


def small_world(seed: int) -> World:
    world = World(seed)
    for number, wants in enumerate(["abcdefgh", "a", "b", "ab", "h", "cdefgh", ""]):
        options = {"latest_only": number % 2 == 1, "max_in_flight": 1 + number}
        world.add(f"till{number}", wants, **options)
    return world


class Chaos:
    """All that may happen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bridge = Bridge(world)
        self._kills = world.chance.choice([0, 0, 1, 3])
        self._busy = True

    async def happen(self, seconds: float) -> None:
        world, chance = self.world, self.world.chance
        end_at = world.now + seconds
        while world.now < end_at:
            await asyncio.sleep(chance.random() * (0.1 if self._busy else 2.0))
            self.bridge.result()
            steps = {
                world.begin: 20,
                world.write: 40,
                world.end_transaction: 20,
                self._change_pace: 1,
                self._change_mood: 4,
                self._pause_endpoint: 2,
                self._resume_all: 1,
                self._reject_delivery: 1,
                self._look_at_schedule: 1,
                world.replicate: 1,
            }
            (step,) = chance.choices(list(steps), list(steps.values()))
            step()
            if chance.random() < 0.004 * self._kills:
                await self._end_bridge()

    def _change_pace(self) -> None:
        self._busy = not self._busy
        self.world.most_seconds = self.world.chance.choice([0.0, 0.005, 0.02, 0.3])
        self.world.undecided = self.world.chance.choice([0.0, 0.0, 0.1])
        self.world.release_fails = self.world.chance.choice([0.0, 0.5])
        self.world.locks = self.world.chance.choice([0.0, 0.0, 0.2])

    def _change_mood(self) -> None:
        till = self.world.chance.choice(list(self.world.tills.values()))
        till.mood = self.world.chance.choice(["well", "well", "slow", "down", "rejecting", "unreliable", "gone"])

    def _pause_endpoint(self) -> None:
        endpoint_id = self.world.chance.choice(list(self.world.endpoints))
        self.world.set_paused(endpoint_id, paused=True)

    def _resume_all(self) -> None:
        for endpoint_id in self.world.endpoints:
            self.world.set_paused(endpoint_id, paused=False)

    def _reject_delivery(self) -> None:
        self.world.rejected.clear()
        if self.world.newest and self.world.chance.random() < 0.5:
            endpoint_id = self.world.chance.choice(list(self.world.endpoints))
            self.world.rejected.add((endpoint_id, self.world.log.next_seq))  # type: ignore[arg-type]

    def _look_at_schedule(self) -> None:
        self.bridge.supervisor.look_at_schedule()

    async def _end_bridge(self) -> None:
        match self.world.chance.choice(["kill", "stop", "lose", "fail over"]):
            case "kill":
                await self.bridge.kill()
                self.bridge = Bridge(self.world)
            case "stop":
                await self.bridge.stop()
                self.bridge = Bridge(self.world)
            case "fail over":
                self.world.fail_over()
            case _:
                if self.bridge.registration is not None:
                    self.world.end_daemon(self.bridge.registration.daemon_id)

    async def calm_down(self) -> None:
        """Have everything work, and wait until everything has arrived."""
        world = self.world
        world.most_seconds, world.undecided, world.release_fails, world.rejected = 0.01, 0.0, 0.0, set()
        world.locks = 0.0
        while world.log.running:
            world.end_transaction()
        for till in world.tills.values():
            till.mood = "well"
        began = world.now
        while world.unsettled() or world.now < began + 30:
            self._resume_all()
            await asyncio.sleep(5.0)
            self.bridge.result()
            world.make_due()
            self._look_at_schedule()
            assert world.now < began + 3000, world.unsettled()


@pytest.mark.parametrize("seed", range(SEEDS))
@in_virtual_time
async def test_nothing_is_lost_and_all_comes_to_rest(seed: int) -> None:
    random.seed(seed)  # of the jitter in pauses
    chaos = Chaos(small_world(seed))
    await chaos.happen(seconds=chaos.world.chance.choice([20, 60, 200]))
    await chaos.calm_down()
    await asyncio.sleep(70)
    chaos.bridge.result()
    check_that_all_is_at_rest(chaos.bridge)
    await chaos.bridge.stop()


def check_that_all_is_at_rest(bridge: Bridge) -> None:
    world, shared = bridge.world, bridge.delivering
    assert shared is not None
    reader, positions = shared._reader, shared._positions
    assert len(bridge.supervisor.leased) == len(world.endpoints)
    assert not bridge.supervisor._running
    assert positions._shared.first_unrecorded is None
    assert not any((reader._holding, reader._to_catch_up, reader._waiting_for_room, reader._ahead))
    assert reader._following.keys() == world.endpoints.keys()
    assert not positions._waiting
    assert not shared._retry_times._due
    assert shared._in_memory.deliveries == shared._in_memory.endpoints == 0
    written = world.daemons[bridge.registration.daemon_id]  # type: ignore[union-attr]
    assert written is not None
    assert all(written.has(xid, seq) for xid, seq in world.log.visible())
    for leased in bridge.supervisor.leased:
        assert leased.follows
        assert leased.is_following
        assert leased.held is None
        assert leased.pipeline is None
    assert all(row.following for row in world.endpoints.values())
