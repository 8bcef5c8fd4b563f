"""Who counts as deaf to a canary, beside the real database; stand-ins for pipelines rest or read as they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pydantic import SecretStr

from cdc_bridge.database import Database as BridgeDatabase
from cdc_bridge.runtime import canary as module
from cdc_bridge.runtime.canary import Canary, Holder
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.settings import Settings
from cdc_bridge.tasks import end
from tests.support.databases import Database
from tests.support.waiting import until


@dataclass(eq=False)
class Part:
    """An endpoint, a lease, a pipeline or the doorbell, as far as a canary asks."""

    name: str = "till"
    valid: bool = True
    at_rest: bool = True
    canary_read: int = 0
    listening: bool = True


@dataclass(eq=False)
class Listener:
    endpoint: Part = field(default_factory=Part)
    lease: Part = field(default_factory=Part)
    pipeline: Part = field(default_factory=Part)


@dataclass
class LeasedEndpoint:
    held: list[Any]


@pytest.fixture
async def bridge_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BridgeDatabase]:
    monkeypatch.setattr(module, "HEARD_WITHIN_SECONDS", 0.1)
    opened = BridgeDatabase(database.bridge_url)
    await opened.open()
    yield opened
    await opened.close()


def canary_of(database: BridgeDatabase, held: LeasedEndpoint, *, listening: bool = True, **values: float) -> Canary:
    needed: dict[str, Any] = {"database_url": SecretStr("host=unused")}
    settings = CurrentSettings(Settings(**needed | values))
    return Canary(database, cast("Holder", held), Part(listening=listening), settings)


async def sing(database: BridgeDatabase, listeners: list[Listener], held: list[Listener] | None = None) -> str | None:
    canary = canary_of(database, LeasedEndpoint(listeners if held is None else held))
    return await canary._sing(cast("Any", listeners))


async def test_pipeline_that_rests_and_has_not_read_it_is_deaf(bridge_database: BridgeDatabase) -> None:
    hears = Listener(Part("bar"), pipeline=Part(canary_read=2**62))
    problem = await sing(bridge_database, [Listener(), hears])
    assert problem == "a change that was committed was not read within 0.1 s for endpoint till"


async def test_all_that_have_read_it_is_well(bridge_database: BridgeDatabase) -> None:
    assert await sing(bridge_database, [Listener(pipeline=Part(canary_read=2**62))]) is None


async def test_change_that_is_not_in_the_log_is_told(bridge_database: BridgeDatabase, database: Database) -> None:
    database.execute("select cdc_bridge.disable_capture()")
    assert await sing(bridge_database, [Listener()]) == "a change that was committed is not in the change log"


@pytest.mark.parametrize(
    "busy",
    [Listener(pipeline=Part(at_rest=False)), Listener(lease=Part(valid=False))],
    ids=["has much to read", "has lost its lease"],
)
async def test_pipeline_that_may_yet_read_it_is_not_deaf(busy: Listener, bridge_database: BridgeDatabase) -> None:
    assert await sing(bridge_database, [busy]) is None


async def test_pipeline_that_ended_or_came_later_is_not_deaf(bridge_database: BridgeDatabase) -> None:
    assert await sing(bridge_database, [Listener()], held=[Listener()]) is None


async def test_pipeline_that_polls_has_the_time_until_it_looks(
    bridge_database: BridgeDatabase, database: Database
) -> None:
    polls = Listener()
    canary = canary_of(bridge_database, LeasedEndpoint([polls]), listening=False, poll_interval_seconds=60)
    singing = asyncio.create_task(canary._sing(cast("Any", [polls])))
    sung = "select count(*) from cdc_bridge.change where reservation_id = 'cdc-bridge canary'"
    try:
        await until(lambda: database.value(sung), "the canary was sung")
        heard_within = time.monotonic() + module.HEARD_WITHIN_SECONDS
        await until(lambda: time.monotonic() > heard_within, "one that is woken would be deaf")
        assert not singing.done()
        polls.pipeline.canary_read = 2**62
        assert await singing is None
    finally:
        await end([singing])


async def test_problem_is_gone_with_the_endpoint_that_it_was_about(bridge_database: BridgeDatabase) -> None:
    deaf = Listener()
    held = LeasedEndpoint([deaf])
    canary = canary_of(bridge_database, held, canary_interval_seconds=0.05)
    running = asyncio.create_task(canary.run())
    try:
        await until(lambda: canary.problem is not None, "the canary was not heard")
        held.held = [Listener(pipeline=Part(at_rest=False))]
        await until(lambda: canary.problem is None, "nothing is known to be wrong any more")
    finally:
        await end([running])


async def test_nothing_is_sung_while_a_daemon_of_the_version_before_may_run(
    bridge_database: BridgeDatabase, database: Database
) -> None:
    database.execute("update cdc_bridge.schema_version set version = version - 1, next_prepared_at = now()")
    assert await sing(bridge_database, [Listener()]) is None
    assert database.value("select count(*) from cdc_bridge.change") == 0
