"""With an endpoint for each restaurant, those that are stalled or down cost the others nothing; memory is bounded."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.hosted import Hosted, endpoint_of
from tests.support.length import chosen
from tests.support.memory import peak_bytes, resident_bytes
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.restaurants import leased
from tests.support.waiting import until

RESTAURANTS = chosen(60, 1000)
STALLED = chosen(2, 10)
CHANGES_EACH = chosen(5, 20)
GROWTH_BYTES = chosen(60, 200) * 1024 * 1024

FOLLOWING = "select name from cdc_bridge.endpoint where following"
DAEMON_HAS_ALL = """
select bool_and(pg_visible_in_snapshot(c.xid, d.position)) from cdc_bridge.change c cross join cdc_bridge.daemon d
"""
NEEDED = """
select c.seq
from cdc_bridge.change c
join reservations r on r.id = c.reservation_id
join cdc_bridge.endpoint e on e.name = 'e' || r.reference
left join cdc_bridge.delivery d on d.endpoint_id = e.endpoint_id and d.seq = c.seq
where e.name = any (%s) and d.seq is null and r.id not like 'MOVED-%%'
"""
"""What is not delivered to some endpoints. A reservation that was moved to one may have changed before that."""
PRUNE = "select deleted from cdc_bridge.prune_changes('0', '0', 0, 10000)"
KEPT = "select seq from cdc_bridge.change"
FAILING = "select count(*) from cdc_bridge.endpoint where failing_since is not null"


@pytest.mark.timeout(chosen(300, 1200))
async def test_endpoint_that_never_responds_holds_neither_the_others_nor_the_position(
    hosted: Hosted, database: Database, hosted_bridges: Bridges, receiver: Receiver, certificates: Certificates
) -> None:
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file, timeout_seconds=300)
    stalled, response = set(hosted.names[:STALLED]), asyncio.Event()
    daemon = await hosted_bridges.start()
    await hosted.until_settled()

    receiver.script = lambda request: Response(after=response if endpoint_of(request) in stalled else None)
    await hosted.change_each(CHANGES_EACH)
    async with hosted.changing():
        await hosted.arrived(RESTAURANTS)
    await hosted.until_settled(but=stalled)
    hosted.assert_promises_kept(but=stalled)
    assert receiver.under_way >= STALLED
    await until(lambda: database.value(DAEMON_HAS_ALL), "the daemon's position has passed every change")
    assert stalled.isdisjoint(name for (name,) in database.execute(FOLLOWING))

    needed = set(database.execute(NEEDED, (list(stalled),)))
    assert database.value(PRUNE) > 0
    assert needed
    assert needed <= set(database.execute(KEPT))

    response.set()
    await hosted.until_settled()
    hosted.assert_promises_kept()
    await until(lambda: len(database.execute(FOLLOWING)) == RESTAURANTS, "they have the daemon's position again")
    assert await daemon.terminate() == 0


@pytest.mark.timeout(chosen(300, 1200))
async def test_endpoints_that_are_down_at_once_hold_nobody_and_get_everything_afterwards(
    hosted: Hosted,
    database: Database,
    hosted_bridges: Bridges,
    receiver: Receiver,
    other: Receiver,
    certificates: Certificates,
    figures: Figures,
) -> None:
    hosted.open(RESTAURANTS, [*[receiver] * 9, other], certificates.ca_file, timeout_seconds=5)
    refused, rejected, hanging = (hosted.names[first::10] for first in (9, 8, 7))
    down = {*refused, *rejected, *hanging}
    daemon = await hosted_bridges.start()
    await until(lambda: leased(database) == {daemon.pid: RESTAURANTS}, "the daemon has all endpoints")
    await hosted.until_settled()
    before = resident_bytes(daemon.pid)

    back = asyncio.Event()

    def respond(request: ReceivedRequest) -> Response:
        name = endpoint_of(request)
        if name in rejected:
            return Response(503)
        return Response(after=back if name in hanging else None)

    receiver.script = respond
    await other.stop()
    async with hosted.changing():
        for _ in range(CHANGES_EACH):
            await hosted.change_each(1)
            await hosted.arrived(RESTAURANTS)
    await hosted.until_settled(but=down)
    hosted.assert_promises_kept(but=down)
    await until(lambda: database.value(FAILING) == len(down), "those that are down are failing, and no others")

    back.set()
    receiver.script = lambda _: Response()
    await other.start()
    await hosted.until_settled()
    hosted.assert_promises_kept()
    grown = peak_bytes(daemon.pid) - before
    figures(f"{len(down)} of {RESTAURANTS} endpoints down: the daemon grew by {grown / 1024 / 1024:.0f} MB")
    assert grown < GROWTH_BYTES
    assert await daemon.terminate() == 0
