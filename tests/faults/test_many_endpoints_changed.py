"""With an endpoint for each restaurant, somebody changes, pauses, removes and adds many while deliveries run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.hosted import Hosted
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.waiting import PATIENCE_SECONDS, until

RESTAURANTS = chosen(60, 1000)

PAUSE = "update cdc_bridge.endpoint set paused_at = now() where name = any (%s)"
RESUME = "update cdc_bridge.endpoint set paused_at = null, disabled_at = null, resumed_at = now() where name = any (%s)"
LEASED = "select name from cdc_bridge.endpoint where daemon_id is not null"
NEWEST = "select max(seq) from cdc_bridge.change"


def leased(database: Database) -> set[str]:
    return {name for (name,) in database.execute(LEASED)}


@pytest.mark.timeout(chosen(300, 1200))
async def test_promises_are_kept_while_endpoints_are_changed_in_bulk(
    hosted: Hosted,
    database: Database,
    hosted_bridges: Bridges,
    receiver: Receiver,
    certificates: Certificates,
    endpoint: EndpointCommands,
    tmp_path: Path,
) -> None:
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file)
    paused, removed = hosted.names[::3], hosted.names[1::3]
    manifest = tmp_path / "endpoints.json"
    declared = await endpoint.json("export")

    async def apply(names: Collection[str], *options: str) -> None:
        endpoints = {name: each for name, each in declared["endpoints"].items() if name in names}
        manifest.write_text(json.dumps(declared | {"endpoints": endpoints}))
        await endpoint.run("apply", str(manifest), "--yes", *options)

    daemons = [await hosted_bridges.start(CDC_BRIDGE_BATCH_SIZE=hosted.page_size()) for _ in range(2)]
    async with hosted.changing():
        await hosted.arrived(RESTAURANTS)
        database.execute(PAUSE, (paused,))
        await until(lambda: leased(database).isdisjoint(paused), "the paused ones are released")
        await hosted.arrived(RESTAURANTS)
        database.execute(RESUME, (paused,))
        await until(lambda: leased(database).issuperset(paused), "the resumed ones are leased")
        await hosted.arrived(RESTAURANTS)

        for each in declared["endpoints"].values():
            each["url"] = each["url"].replace("/reservations/", "/elsewhere/")
            each["max_in_flight"] = 2
        await apply(hosted.names)
        await until(lambda: leased(database).issuperset(hosted.names), "the changed ones are leased")
        await hosted.arrived(RESTAURANTS)

        await apply(set(hosted.names) - set(removed), "--prune", str(len(removed)))
    await hosted.until_settled()

    async def nothing_goes_to_the_removed() -> bool:
        before = hosted.got_by(removed)
        await hosted.change_each(1)
        await hosted.until_settled()
        return hosted.got_by(removed) == before

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await nothing_goes_to_the_removed():
            pass  # A daemon does not know of it yet.
    assert await nothing_goes_to_the_removed()

    async with hosted.changing():
        await apply(hosted.names, "--secrets-file", str(tmp_path / "secrets"))
        begun = dict.fromkeys(removed, database.value(NEWEST))
        await hosted.arrived(RESTAURANTS)
    await hosted.change_each(1, like="%")
    await hosted.until_settled()
    assert [await daemon.terminate() for daemon in daemons] == [0, 0]
    hosted.assert_promises_kept(begun=begun)
