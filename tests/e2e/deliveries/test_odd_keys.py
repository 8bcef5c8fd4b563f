"""Keys of any length and of any characters go the whole way: from capture to every command and page."""

from __future__ import annotations

import asyncio
import json
import random
import re
import string
from hashlib import sha256
from urllib.parse import unquote, urlencode

import pytest

from tests.support.bridge import Bridge, Bridges, run_command
from tests.support.databases import Database
from tests.support.page import Visitor
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.waiting import until

RANDOM = random.Random(4)
KEYS = {
    "empty": "",
    "a blank": " ",
    "blanks around": "  R 1\t ",
    "controls": "\x01\x1b]0;PWNED\x07\x1b[2J\x7f\x85",
    "line ends": "a\r\nce-subject: b\n",
    "right to left": "\u202e\u05d0\u05d1\u200f \u0645\u0631\u2066",
    "emoji": "\U0001f469\u200d\U0001f467 \U0001f4a9",
    "combining": "e\u0301" * 40,
    "quotes": """'"\\%s%(a)s%%$1""",
    "an array": '{a,"b",NULL}',
    "a comma": ",",
    "braces": "{}",
    "null": "NULL",
    "JSON": '"}],"x":[{"',
    "a URL": "../?a=b&c=d#e;/%2F%00",
    "a pattern": "%_*.[a-z]\\",
    "an option": "--all",
    "HTML": "<script>alert(1)</script>&amp;{{ 7 * 7 }}",
    "beyond the BMP": "\U0010ffff\ufffe",
    "as long as an index takes": "".join(RANDOM.choices(string.ascii_letters + string.digits, k=2692)),
    "many bytes a character": "\u4e00" * 1500,
    "100 kB": "x" * 100_000,
}
BOOK = "insert into reservations (id, cust_id, reference) values (%s, 'C', %s)"
LEAST_ATTEMPTS = "select min(attempts) from cdc_bridge.delivery"
DELIVERED = "select count(*) from cdc_bridge.delivery where state = 'delivered'"


async def output_of(bridges: Bridges, *arguments: str) -> str:
    code, output, errors = await run_command(*arguments, **bridges.settings)
    assert code == 0, errors
    return output


def subject_of(key: str, header: str) -> bool:
    """Return whether a header stands for a key, as the vendor guide says."""
    return (
        unquote(header) == key if not header.startswith("sha256:") else header[7:] == sha256(key.encode()).hexdigest()
    )


async def delivered_keys(database: Database, bridges: Bridges, receiver: Receiver) -> dict[str, ReceivedRequest]:
    """Have a reservation of each key delivered and recorded; return the requests."""
    bridge = await bridges.start()
    await bridge.until_assigned()
    database.execute("insert into customers (id) values ('C')")
    for number, key in enumerate(KEYS.values()):
        database.execute(BOOK, (key, number))
    sent = {request.reservation_id: request for request in await receiver.wait_for_delivered(len(KEYS))}
    await until(lambda: database.value(DELIVERED) == len(KEYS), "all are recorded")
    return sent


async def test_each_key_is_delivered_and_recorded(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    sent = await delivered_keys(database, bridges, receiver)
    assert sent.keys() == set(KEYS.values())
    for name, key in KEYS.items():
        assert len(sent[key].headers["ce-subject"]) <= 2048, name
        assert subject_of(key, sent[key].headers["ce-subject"]), name
    recorded = database.execute("select seq, reservation_id from cdc_bridge.delivery")
    assert dict(recorded) == {request.seq: key for key, request in sent.items()}


@pytest.mark.slow
async def test_commands_take_and_show_each_key(database: Database, bridges: Bridges, receiver: Receiver) -> None:
    sent = await delivered_keys(database, bridges, receiver)
    for name, key in KEYS.items():
        seq = sent[key].seq
        listed, table, shown, details, body, replayed = await asyncio.gather(
            output_of(bridges, "deliveries", f"--reservation={key}", "--json"),
            output_of(bridges, "deliveries", f"--reservation={key}"),
            output_of(bridges, "delivery", "show", str(seq), "--json"),
            output_of(bridges, "delivery", "show", str(seq)),
            output_of(bridges, "payload", "--", key),
            output_of(bridges, "replay", f"--reservation={key}"),
        )
        assert [one["reservation_id"] for one in json.loads(listed)["deliveries"]] == [key], name
        assert re.search(rf"^ *{seq} ", table, re.MULTILINE), name
        assert json.loads(shown)["reservation_id"] == key, name
        assert f"{seq} to default" in details, name
        assert json.loads(body)["id"] == key, name
        assert replayed.startswith("Queued for default: 1 reservation."), name
    await until(lambda: database.value(LEAST_ATTEMPTS) == 2, "each is sent again")


async def test_each_key_is_found_missing_or_stale_and_repaired(
    database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    database.execute("alter table reservations disable trigger user")
    database.execute("insert into customers (id) values ('C')")
    for number, key in enumerate(KEYS.values()):
        database.execute(BOOK, (key, number))
    bridge = await bridges.start()
    await bridge.until_assigned()

    async def found(command: str, count: str) -> None:
        _, output, _ = await run_command(*command.split(), **bridges.settings)
        assert count.format(f"{len(KEYS)} reservations") in output, output

    await found("backfill default", "Queued for default: {}")
    await until(lambda: database.value(DELIVERED) == len(KEYS), "all are recorded")
    assert {request.reservation_id for request in receiver.delivered} == set(KEYS.values())
    database.execute("update reservations set adults = 7, updated = now()")
    await found("reconcile --repair", "Queued: {}")
    await until(lambda: database.value(DELIVERED) == 2 * len(KEYS), "all repairs are recorded")
    assert re.search(rf"in sync +{len(KEYS)}$", await output_of(bridges, "reconcile"), re.MULTILINE)
    await found("replay --state delivered", "Queued for default: {}")
    await until(
        lambda: database.value("select count(*) from cdc_bridge.delivery where attempts = 2") == len(KEYS), "again"
    )


async def test_dashboard_shows_and_finds_each_by_its_delivery(
    operator: Visitor, page_bridge: Bridge, database: Database, receiver: Receiver
) -> None:
    for number, key in enumerate(KEYS.values()):
        database.execute(BOOK, (key, number))
    database.execute("update reservations set adults = 3")
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery") == 2 * len(KEYS), "all are recorded")
    rows = database.execute("select seq, reservation_id from cdc_bridge.delivery order by seq")
    page = await operator.get("/deliveries")
    assert len(page.html) < 200_000
    for seq, key in rows:
        link = f"/deliveries?{urlencode({'of': f'default/{seq}'}, safe='/')}"
        assert len(link) < 100
        found = await operator.get(link)
        assert found.status == 200
        numbers = {int(number) for number in re.findall(r'href="/deliveries/default/(\d+)">\d', found.html)}
        assert numbers == {other for other, of in rows if of == key}, key
        shown = await operator.get(f"/deliveries/default/{seq}")
        assert f'href="{link}"' in shown.html
    seq, _ = rows[-1]
    assert "queued in its current state" in (await operator.send(f"/deliveries/default/{seq}/send")).text
    for wrong, words in [
        ("default/x", "is neither a change"),
        ("none/1", "no endpoint none"),
        ("default/999", "no delivery"),
    ]:
        assert words in (await operator.get(f"/deliveries?of={wrong}")).text
    assert page_bridge.running
