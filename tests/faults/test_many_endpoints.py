"""The promises with an endpoint for each restaurant of a hosted e-Res, while daemons are killed and frozen."""

from __future__ import annotations

import asyncio
import signal

import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.faults.conftest import without_endpoint
from tests.faults.test_server_incarnation import caught_up, on, streaming
from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.hosted import RESERVATIONS_EACH, Hosted
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.restaurants import leased
from tests.support.standby import Standby
from tests.support.waiting import until

RESTAURANTS = chosen(60, 1000)
KILLS = chosen(4, 15)
CHANGES_EACH = chosen(20, 50)
LEASE = {"CDC_BRIDGE_LEASE_SECONDS": "4"}

RECORDED = """
select md5(string_agg(d::text, ',' order by d.endpoint_id, d.seq)) from cdc_bridge.delivery d where d.seq <= %s
"""
LEASES = "select endpoint_id, fencing_token, daemon_id from cdc_bridge.endpoint order by endpoint_id"
LIVE = "select count(*) from cdc_bridge.daemon where alive_until > now()"


@pytest.mark.timeout(chosen(300, 1800))
async def test_nothing_is_missing_or_out_of_order_after_random_kills(
    hosted: Hosted, hosted_bridges: Bridges, receiver: Receiver, certificates: Certificates, figures: Figures
) -> None:
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file)
    daemons = [await hosted_bridges.start(CDC_BRIDGE_BATCH_SIZE=hosted.page_size()) for _ in range(2)]
    had: list[int] = []
    async with hosted.changing():
        for _ in range(KILLS):
            await hosted.arrived(hosted.chance.randint(0, 2 * RESTAURANTS))
            number = hosted.chance.randrange(2)
            had.append(leased(hosted.database).get(daemons[number].pid, 0))
            await hosted.kill(daemons[number])
            daemons[number] = await hosted_bridges.start(CDC_BRIDGE_BATCH_SIZE=hosted.page_size())
    await hosted.until_settled()
    assert [await daemon.terminate() for daemon in daemons] == [0, 0]
    hosted.assert_promises_kept()
    figures(f"{KILLS} kills of daemons that had {had} of {RESTAURANTS} endpoints")


@pytest.mark.timeout(chosen(300, 900))
async def test_frozen_daemon_sends_and_records_nothing_when_it_goes_on(
    hosted: Hosted,
    database: Database,
    hosted_bridges: Bridges,
    receiver: Receiver,
    certificates: Certificates,
) -> None:
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file)
    frozen = await hosted_bridges.start(**LEASE, CDC_BRIDGE_BATCH_SIZE=hosted.page_size())
    await until(lambda: leased(database) == {frozen.pid: RESTAURANTS}, "the first daemon has all endpoints")
    await hosted.until_settled()

    # Some of the responses are under way to it when it is frozen, and most deliveries wait for their turn.
    withheld = asyncio.Event()
    receiver.script = lambda _: Response(after=withheld)
    await hosted.change_each(2)
    await hosted.arrived(RESTAURANTS)
    frozen.send(signal.SIGSTOP)
    receiver.script = lambda _: Response()
    withheld.set()
    other = await hosted_bridges.start(**LEASE)
    await until(lambda: leased(database) == {other.pid: RESTAURANTS}, "the other daemon has all endpoints")
    await hosted.change_each(1)
    await hosted.until_settled()

    number_got, leases = hosted.number_got, database.execute(LEASES)
    highest = database.value("select max(seq) from cdc_bridge.change")
    recorded = database.value(RECORDED, (highest,))
    frozen.send(signal.SIGCONT)
    await frozen.wait_for_log("endpoint leases lost")
    await until(lambda: database.value(LIVE) == 2, "it is registered again")
    assert hosted.number_got == number_got
    await hosted.change_each(1)
    await hosted.until_settled()
    assert database.value(RECORDED, (highest,)) == recorded
    assert database.execute(LEASES) == leases
    assert [await daemon.terminate() for daemon in (frozen, other)] == [0, 0]
    hosted.assert_promises_kept()


@pytest.mark.timeout(chosen(300, 900))
@pytest.mark.parametrize("daemon", [pytest.param("stays", marks=pytest.mark.slow), "is started again"])
async def test_standby_that_was_behind_takes_over(
    daemon: str,
    durable_server: ThrowawayPostgres,
    durable_database: Database,
    bridge_settings: dict[str, str],
    receiver: Receiver,
    certificates: Certificates,
    figures: Figures,
) -> None:
    hosted = Hosted(durable_database, figures)
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file)
    with Standby(durable_server) as standby:
        await streaming(durable_database)
        through = {"CDC_BRIDGE_DATABASE_URL": standby.through_either(durable_database.bridge_url)}
        bridges = Bridges(without_endpoint(bridge_settings) | through, durable_database)
        bridge = await bridges.start(CDC_BRIDGE_BATCH_SIZE=hosted.page_size())
        async with hosted.changing():
            await hosted.arrived(2 * RESTAURANTS)
            await caught_up(durable_database)
            standby.cut_off()
            await until(lambda: not standby.receives(), "the standby is cut off")
            await hosted.arrived(2 * RESTAURANTS)
            durable_server.stop("immediate")
            if daemon == "is started again":
                await hosted.kill(bridge)
        await asyncio.to_thread(standby.promote)
        now = on(standby)
        if daemon == "is started again":
            bridge = await bridges.start(CDC_BRIDGE_BATCH_SIZE=hosted.page_size())
        async with hosted.changing(now):
            await hosted.arrived(RESTAURANTS)
        await hosted.change_each(1, now, like="%")  # The endpoints may have a change that was lost.
        await hosted.until_settled(now)
        assert await bridge.terminate() == 0
        hosted.assert_promises_kept(now)
        await bridges.close()


@pytest.mark.timeout(chosen(300, 1800))
@pytest.mark.parametrize("end", [pytest.param("is stopped", marks=pytest.mark.slow), "is killed"])
async def test_all_endpoints_catch_up_in_order_after_an_outage_of_the_daemon(
    end: str, hosted: Hosted, hosted_bridges: Bridges, receiver: Receiver, certificates: Certificates
) -> None:
    hosted.open(RESTAURANTS, [receiver], certificates.ca_file)
    first = await hosted_bridges.start()
    await hosted.until_settled()
    assert await first.terminate() == 0
    await hosted.change_each(CHANGES_EACH)
    left = RESTAURANTS * (RESERVATIONS_EACH - 1) * CHANGES_EACH

    catching_up = await hosted_bridges.start(CDC_BRIDGE_BATCH_SIZE=hosted.page_size())
    await hosted.arrived(left // 3)
    match end:
        case "is stopped":
            assert await catching_up.terminate() == 0
        case "is killed":
            await hosted.kill(catching_up)
    last = await hosted_bridges.start()
    await hosted.until_settled()
    assert await last.terminate() == 0
    times = hosted.assert_promises_kept().times
    assert times.keys() <= ({1} if end == "is stopped" else {1, 2})
