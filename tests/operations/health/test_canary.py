"""Who counts as deaf to a canary, beside the real database; stand-ins for pipelines rest or read as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pydantic import SecretStr

from cdc_bridge.database import Database as BridgeDatabase
from cdc_bridge.operations.health import canary as module
from cdc_bridge.operations.health.canary import Canary, Holder
from cdc_bridge.operations.reload import CurrentSettings
from cdc_bridge.settings import Settings
from tests.support.databases import Database


@dataclass(eq=False)
class Part:
    """An endpoint, a lease or a pipeline, as far as a canary asks."""

    name: str = "till"
    valid: bool = True
    at_rest: bool = True
    canary_read: int = 0


@dataclass(eq=False)
class Listener:
    endpoint: Part = field(default_factory=Part)
    lease: Part = field(default_factory=Part)
    pipeline: Part = field(default_factory=Part)


@dataclass
class Held:
    held: list[Any]


@pytest.fixture
async def bridge_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BridgeDatabase]:
    monkeypatch.setattr(module, "HEARD_WITHIN_SECONDS", 0.1)
    opened = BridgeDatabase(database.bridge_url)
    await opened.open()
    yield opened
    await opened.close()


async def sing(database: BridgeDatabase, listeners: list[Listener], held: list[Listener] | None = None) -> str | None:
    values: dict[str, Any] = {"database_url": SecretStr("host=unused")}
    settings = CurrentSettings(Settings(**values))
    canary = Canary(database, cast("Holder", Held(listeners if held is None else held)), settings)
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
