"""kill -9 at every step in which a daemon leases many endpoints, moves their positions and lets go of them."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.faults.crash_points import NUMBER_VARIABLE, POINT_VARIABLE, POINTS_OF_MANY, last_words
from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.hosted import Hosted, endpoint_of
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

RESTAURANTS = 12
NUMBERS = chosen([1], [1, 3, 10])
SHORT = [point for point in POINTS_OF_MANY if point.startswith("after")][::3]
"""A part of them: what is before one step is after another one, more or less."""
ONCE = [point for point in POINTS_OF_MANY if point.endswith(("another daemon is ended", "an endpoint falls behind"))]
"""Only one daemon dies before, and only one endpoint is stalled. Others may fall behind, or may not."""
SMALL_PAGES = {"CDC_BRIDGE_BATCH_SIZE": "5"}
CHANGES_FOR_STALLED = 12
"""More than fit into the window of three pages."""

PAUSE = "update cdc_bridge.endpoint set paused_at = now() where name = any (%s)"
RESUME = "update cdc_bridge.endpoint set paused_at = null, resumed_at = now() where name = any (%s)"
RECORDED_BEHIND_POSITION = """
select count(*)
from cdc_bridge.delivery d
join cdc_bridge.endpoint_position p using (endpoint_id)
join cdc_bridge.change c using (seq)
where not pg_visible_in_snapshot(c.xid, p.position)
"""


LEASED = "select count(*) from cdc_bridge.endpoint where name = any (%s) and daemon_id is not null"
FOLLOWING = """
select count(*) filter (where e.following)
from cdc_bridge.endpoint e
join cdc_bridge.daemon d using (daemon_id)
where e.name = any (%s) and split_part(d.name, ':', 2) = %s::text
"""


def stall(receiver: Receiver, name: str) -> asyncio.Event:
    """Have an endpoint get no response until the event is set."""
    response = asyncio.Event()
    receiver.script = lambda request: Response(after=response if endpoint_of(request) == name else None)
    return response


@pytest.mark.timeout(chosen(120, 900))
@pytest.mark.parametrize(
    ("point", "number"),
    [
        (point, number)
        for point in chosen(SHORT, list(POINTS_OF_MANY))
        for number in (NUMBERS[:1] if point in ONCE else NUMBERS)
    ],
)
async def test_nothing_is_missing_or_out_of_order_when_the_daemon_is_killed(
    point: str,
    number: int,
    hosted: Hosted,
    database: Database,
    receiver: Receiver,
    hosted_bridges: Bridges,
    certificates: Certificates,
) -> None:
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file)
    stalled, paused = hosted.names[0], hosted.names[-3:]

    # One dies before, when it has recorded deliveries behind its position.
    before = await hosted_bridges.start(**SMALL_PAGES)
    await hosted.until_settled()
    response = stall(receiver, stalled)
    await hosted.change_each(1)
    await until(lambda: database.value(RECORDED_BEHIND_POSITION), "deliveries are recorded behind the position")
    await before.kill()
    response.set()
    receiver.script = lambda _: Response()

    crash = {POINT_VARIABLE: point, NUMBER_VARIABLE: str(number)}
    dying = hosted_bridges.make("tests.faults.crash_points", **SMALL_PAGES, **crash)
    await dying.start()

    def follow(names: list[str]) -> bool:
        return bool(database.value(FOLLOWING, (names, str(dying.pid))) == len(names))

    await until(lambda: not dying.running or follow(hosted.names), "all follow the next one, or it dies")
    response = stall(receiver, stalled)
    await hosted.change_each(CHANGES_FOR_STALLED)
    while dying.running:
        await hosted.change_each(1)
        database.execute(PAUSE, (paused,))
        await until(lambda: not dying.running or not database.value(LEASED, (paused,)), "some are released")
        database.execute(RESUME, (paused,))
        await until(lambda: not dying.running or follow(paused), "they follow again")
    assert (await dying.wait(), dying.output[-1]) == (-signal.SIGKILL, last_words(point)), dying.text

    database.execute(RESUME, (paused,))
    response.set()
    receiver.script = lambda _: Response()
    after = await hosted_bridges.start()
    await hosted.until_settled()
    assert await after.terminate() == 0
    hosted.assert_promises_kept()
