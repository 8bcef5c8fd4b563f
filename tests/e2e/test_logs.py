"""The log: one delivery can be followed from the change log to its 2xx, and no line has a guest or a secret in it."""

from __future__ import annotations

import re
from pathlib import Path

from cdc_bridge.demo.ports import free_port
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.bridge import SECRET, Bridges, run_command
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.http import get, until_told
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.service_manager import listening_service_manager
from tests.support.waiting import until

TOKEN = "an-unmistakable-token"
GUESTS = """
select distinct value
from (
  select unnest(array[firstname, surname, company, email, phone, mobile, work_phone, notes]) from public.customers
  union all
  select notes from public.reservations
  union all
  select number from public.calls
) as data (value)
where length(value) >= 3
"""


async def test_one_delivery_is_followed_by_its_number_and_by_its_webhook_id(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    receiver.script = lambda _: Response(status=200 if receiver.requests else 422)
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    refused = await bridge.wait_for_log("delivery rejected")
    assert (refused["endpoint"], refused["reservation_id"], refused["attempt"]) == ("default", "R", 1)
    assert refused["status"] == 422
    assert 2 < refused["next_attempt_in_seconds"] < 8
    await run_command("delivery", "retry", str(refused["seq"]), **bridges.settings)
    await bridge.wait_for_log("delivery recorded", state="delivered")
    way = [(line["event"], line.get("attempt")) for line in bridge.log if line.get("seq") == refused["seq"]]
    assert way == [
        ("change read", None),
        ("delivery rejected", 1),
        ("delivery recorded", None),
        ("delivered", 2),
        ("delivery recorded", None),
    ]
    (delivered,) = [line for line in bridge.log if line["event"] == "delivered"]
    (request,) = receiver.delivered
    assert delivered["message_id"] == request.headers["webhook-id"]
    assert delivered["seconds_since_commit"] > delivered["seconds"] > 0


async def test_whole_run_shows_no_guest_and_no_secret(
    database: Database, bridges: Bridges, receiver: Receiver, tmp_path: Path
) -> None:
    """All that anybody can read of a run with the example data, with refusals, an outage and a lost session."""
    receiver.script = lambda request: Response(status=422 if request.seq % 5 == 0 else 200)
    port = free_port()
    settings = {
        "CDC_BRIDGE_ENDPOINT_HEADER": f"authorization: Bearer {TOKEN}",
        "CDC_BRIDGE_ENDPOINT_URL": f"{receiver.url}?token={TOKEN}",
        "CDC_BRIDGE_WEB_PORT": str(port),
        "CDC_BRIDGE_MAX_LAG_SECONDS": "1",
    }
    async with listening_service_manager(tmp_path) as systemd:
        bridge = await bridges.start(NOTIFY_SOCKET=systemd.address, **settings)
        await bridge.until_assigned()
        database.execute((sql_folder() / "example" / "data.sql").read_text())
        count = database.value("select count(*) from reservations")
        assert count >= 10
        await until(lambda: len(receiver.requests) >= count, "all were called")
        await receiver.stop()
        database.execute("update reservations set adults = adults + 1")
        await bridge.wait_for_log("endpoint failing")
        database.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'cdc_bridge'")
        readiness = await until_told(port, 503, "lag: default is ")
        _, health = await get(port, "/healthz")
        _, metrics = await get(port, "/metrics")
        commands = [
            await run_command(*words, **bridges.settings | settings)
            for words in (
                ("status",), ("status", "--json"), ("check",), ("endpoint", "show", "default"), ("endpoint", "list"),
                ("delivery", "show", "5"), ("reconcile", "--json"),
            )
        ]  # fmt: skip
        assert await bridge.terminate() == 0
    delivery_log = database.value("select string_agg(d::text, ' ') from cdc_bridge.delivery d")
    log = database.value("select string_agg(c::text, ' ') from cdc_bridge.change c")
    told = [*bridge.output, readiness, health, metrics, *systemd.lines, delivery_log, log]
    told += [text for _, output, errors in commands for text in (output, errors)]
    written = "\n".join(told)
    assert "HTTP 422" in written
    assert "default" in written
    assert [secret for secret in (TOKEN, SECRET, BRIDGE_PASSWORD) if secret in written] == []
    guests = [value for (value,) in database.execute(GUESTS)]
    assert len(guests) > 20
    found = [value for value in guests if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", written)]
    assert found == []
