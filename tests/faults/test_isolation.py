"""An endpoint that behaves badly costs the others nothing, and the daemon's memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.bridge import Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.memory import resident_bytes
from tests.support.receiver import Receiver
from tests.support.responses import Manner, Response
from tests.support.waiting import until

RESERVATIONS = chosen(500, 2000)
MANY = """
insert into reservations (id, cust_id, reference)
select 'R' || n, 'C', n from generate_series(1, %s::int) n
"""
GROWTH_BYTES = 60 * 1024 * 1024
"""A window of 1,500 changes for each endpoint fits in many times; a backlog's bodies or an endless answer do not."""


@pytest.fixture
async def bad(request: pytest.FixtureRequest, certificates: Certificates) -> AsyncIterator[Receiver]:
    """A second receiver, which the test makes behave badly."""
    receiver = Receiver(getattr(certificates, getattr(request, "param", "good")))
    await receiver.start()
    yield receiver
    await receiver.stop()


MISDEEDS: dict[str, Callable[[], Response]] = {
    "answers never": lambda: Response(after=asyncio.Event()),
    "answers without an end": lambda: Response(manner=Manner.ENDLESS),
    "resets": lambda: Response(manner=Manner.RESET),
    "breaks off": lambda: Response(manner=Manner.BROKEN_OFF),
    "speaks nonsense": lambda: Response(manner=Manner.RAW, body=b"\x00\xff nonsense \r\n" * 500),
    "refuses": lambda: Response(503),
    "judges all": lambda: Response(422),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_endpoint_that_behaves_badly_costs_the_other_nothing(
    misdeed: str, database: Database, bridges: Bridges, receiver: Receiver, bad: Receiver, figures: Figures
) -> None:
    bad.keep_requests = False
    answer = MISDEEDS[misdeed]()
    bad.script = lambda _: answer
    ca_file = Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"])
    add_endpoint(database, "bad", bad.url, ca_file)
    bridge = await bridges.start(CDC_BRIDGE_LOG_LEVEL="info")
    await bridge.until_assigned("bad")
    await bridge.until_assigned("default")
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('FIRST', 'C', 0)")
    await receiver.wait_for_delivered(1)
    before = resident_bytes(bridge.pid)
    database.execute(MANY, (RESERVATIONS,))
    await receiver.wait_for_delivered(1 + RESERVATIONS)
    assert len(receiver.requests) == 1 + RESERVATIONS
    grown = resident_bytes(bridge.pid) - before
    figures(f"an endpoint that {misdeed}: the daemon grew by {grown / 1024 / 1024:.0f} MB")
    assert grown < GROWTH_BYTES


@pytest.mark.parametrize("bad", ["expired", "for_another_host"], indirect=True)
async def test_endpoint_with_a_bad_certificate_costs_the_other_nothing(
    database: Database, bridges: Bridges, receiver: Receiver, bad: Receiver
) -> None:
    add_endpoint(database, "bad", bad.url, Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"]))
    bridge = await bridges.start()
    database.execute("insert into customers (id) values ('C')")
    database.execute(MANY, (50,))
    await receiver.wait_for_delivered(50)
    line = await bridge.wait_for_log("endpoint failing", endpoint="bad")
    assert "certificate cannot be verified" in line["reason"]
    assert bad.requests == []


async def test_endpoint_that_recovers_gets_everything_it_missed(
    database: Database, bridges: Bridges, receiver: Receiver, bad: Receiver
) -> None:
    bad.script = lambda _: Response(503)
    add_endpoint(database, "bad", bad.url, Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"]))
    bridge = await bridges.start()
    database.execute("insert into customers (id) values ('C')")
    database.execute(MANY, (300,))
    await receiver.wait_for_delivered(300)
    await bridge.wait_for_log("endpoint failing", endpoint="bad")
    bad.script = lambda _: Response()
    await bad.wait_for_delivered(300)
    assert len({call.reservation_id for call in bad.delivered}) == 300


SILENT_NAMES = 40
LATE_SECONDS = """
select extract(epoch from last_attempt_at - changed_at)::float8
from cdc_bridge.delivery join cdc_bridge.endpoint using (endpoint_id)
where name = 'default' and state = 'delivered'
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [Response(headers={"connection": "close"}), Response()], ids=["closes", "keeps"])
async def test_names_that_never_resolve_delay_no_other_endpoint_and_not_the_stop(
    script: Response, database: Database, bridges: Bridges, receiver: Receiver, figures: Figures
) -> None:
    receiver.script = lambda _: script
    ca_file = Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"])
    for number in range(SILENT_NAMES):
        add_endpoint(database, f"silent{number}", f"https://silent{number}.example/reservations", ca_file)
    bridge = await bridges.start(
        "tests.faults.silent_names", CDC_BRIDGE_LOG_LEVEL="info", CDC_BRIDGE_SHUTDOWN_TIMEOUT_SECONDS="5"
    )
    await bridge.until_assigned("default", *(f"silent{number}" for number in range(SILENT_NAMES)))
    database.execute("insert into customers (id) values ('C')")
    for number in range(20):
        database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (f"R{number}",))
        await receiver.wait_for_delivered(number + 1)
    for number in range(SILENT_NAMES):
        line = await bridge.wait_for_log("endpoint failing", endpoint=f"silent{number}")
        assert line["reason"] == (
            f"the name silent{number}.example cannot be resolved: no response from the name server within 5 s"
        )
    await until(lambda: len(database.execute(LATE_SECONDS)) == 20, "all is recorded")
    late = sorted(seconds for (seconds,) in database.execute(LATE_SECONDS))
    figures(f"beside {SILENT_NAMES} silent names: half within {late[10]:.3f} s, all within {late[-1]:.3f} s")
    assert late[10] < 1
    assert not [line for line in bridge.log if line["event"] == "endpoint failing" and line["endpoint"] == "default"]
    assert await bridge.terminate() == 0
