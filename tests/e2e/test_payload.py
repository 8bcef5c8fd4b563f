"""What is posted is the announcement's JSON: keys, order, types and formats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from cdc_bridge.vendor.contract import example
from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.waiting import until

EXAMPLE_ID = "43B39683AB734A038ADA1B27345E9C90"


def insert(database: Database, table: str, values: Mapping[str, Any]) -> None:
    """Insert a row whose other columns have their defaults."""
    statement = sql.SQL(
        "insert into public.{table} ({columns}) select {columns} from jsonb_populate_record(null::public.{table}, %s)"
    ).format(table=sql.Identifier(table), columns=sql.SQL(", ").join(map(sql.Identifier, values)))
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(statement, (Jsonb(values),))


def load_example_reservation(database: Database) -> dict[str, Any]:
    """Load the announcement's example as rows; return it."""
    reservation = example()
    insert(database, "customers", reservation["customer"])
    insert(database, "calls", reservation["call"])
    columns = {key: value for key, value in reservation.items() if key not in {"customer", "call"}}
    insert(database, "reservations", columns | {"call_id": reservation["call"]["call_id"]})
    return reservation


def with_exact_numbers(text: str | bytes) -> Any:
    """Parse JSON into pairs, numbers as the text they are: equal only if keys, order, types and formats are."""
    return json.loads(
        text, parse_float=lambda n: ("number", n), parse_int=lambda n: ("number", n), object_pairs_hook=list
    )


async def only_call(receiver: Receiver) -> ReceivedRequest:
    (request,) = await receiver.wait_for_delivered(1)
    return request


async def posted(database: Database, receiver: Receiver, **columns: Any) -> ReceivedRequest:
    """Book with these columns, and return the call."""
    insert(database, "customers", {"id": "C"})
    insert(database, "reservations", {"id": "R", "cust_id": "C", "reference": 1} | columns)
    return await only_call(receiver)


async def test_announcements_example_is_posted_key_for_key(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    reservation = load_example_reservation(database)
    await bridges.start()
    request = await only_call(receiver)
    assert with_exact_numbers(request.body) == with_exact_numbers(json.dumps(reservation))
    assert [len(request.json), len(request.json["customer"]), len(request.json["call"])] == [39, 27, 5]
    assert next(iter(request.json)) == "customer"
    assert list(request.json)[-1] == "call"


async def test_reservation_without_a_call_has_null_for_it(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    request = await posted(database, receiver)
    assert request.body.endswith(b',"call":null}')
    assert [*request.json] == [*example()]


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("20", "20"),
        ("20.50", "20.5"),
        ("0.1", "0.1"),
        ("12345678.99", "12345678.99"),
        ("-3.00", "-3"),
        ("0.000001", "0.000001"),
        ("123456789012345678901234567890.12", "123456789012345678901234567890.12"),
    ],
)
async def test_amount_is_exact(
    amount: str, written: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    insert(database, "customers", {"id": "C"})
    database.execute(
        "insert into reservations (id, cust_id, reference, deposit_due) values ('R', 'C', 1, %s::numeric)", (amount,)
    )
    await bridges.start()
    request = await only_call(receiver)
    assert f'"deposit_due":{written},'.encode() in request.body


@pytest.mark.parametrize(
    "text",
    [
        "Ünïcödé: Grüße, ça va, señor, Dvořák, Ελληνικά, Русский, עברית, العربية, हिन्दी, 中文, 日本語, 한국어, ไทย",
        'quotes " and \' and `, backslash \\ and \\n as text, slash /, </script>, {"json": [1]}, %s, $1',
        "line one\nline two\r\nline three\ttab",
        "emoji 🎉 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁷󠁬󠁳󠁿, and \u2028 line separators \u2029, BOM \ufeff",
        "control \u0001\u001f\u007f\u0080",
        "",
        " leading and trailing ",
    ],
)
async def test_text_arrives_as_it_is(text: str, database: Database, receiver: Receiver, bridges: Bridges) -> None:
    insert(database, "customers", {"id": "C", "notes": text})
    insert(database, "reservations", {"id": "R", "cust_id": "C", "reference": 1, "notes": text})
    await bridges.start()
    request = await only_call(receiver)
    assert (request.json["notes"], request.json["customer"]["notes"]) == (text, text)


async def test_instants_are_utc_with_three_decimals_whatever_the_zones_and_styles(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    for setting in ("timezone = 'America/New_York'", "datestyle = 'SQL, DMY'", "intervalstyle = 'sql_standard'"):
        database.execute(f"alter database {database.name} set {setting}")
    insert(database, "customers", {"id": "C", "created": "2021-07-01T12:00:00.999999+02:00"})
    columns = {"datetime": "2021-02-22T22:30:00.123456Z", "created": "2021-12-31T23:59:59.9996-05:00"}
    insert(database, "reservations", {"id": "R", "cust_id": "C", "reference": 1} | columns)
    await bridges.start(TZ="Asia/Kolkata")
    request = await only_call(receiver)
    assert request.json["datetime"] == "2021-02-22T22:30:00.123Z"
    assert request.json["created"] == "2022-01-01T04:59:59.999Z"
    assert request.json["customer"]["created"] == "2021-07-01T10:00:00.999Z"


async def test_body_is_the_reservation_as_it_stands_when_the_call_is_made(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    go_on = asyncio.Event()
    receiver.script = lambda request: Response(after=None if request.reservation_id == "R" else go_on)
    bridge = await bridges.start(CDC_BRIDGE_ENDPOINT_MAX_IN_FLIGHT="1")
    await bridge.wait_for_log("listening")
    insert(database, "customers", {"id": "C", "surname": "before"})
    insert(database, "reservations", {"id": "FIRST", "cust_id": "C", "reference": 1})
    await receiver.wait_for_requests(1)
    insert(database, "reservations", {"id": "R", "cust_id": "C", "reference": 2})
    database.execute("update customers set surname = 'after' where id = 'C'")
    go_on.set()
    _, second = await receiver.wait_for_delivered(2)
    assert second.json["customer"]["surname"] == "after"


async def test_reservation_deleted_before_its_request_is_skipped(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    insert(database, "customers", {"id": "C"})
    for id_ in ("DELETED", "KEPT"):
        insert(database, "reservations", {"id": id_, "cust_id": "C", "reference": 1})
    database.execute("delete from reservations where id = 'DELETED'")
    await bridges.start()
    assert (await only_call(receiver)).reservation_id == "KEPT"
    await until(lambda: database.value("select skipped_deleted from cdc_bridge.endpoint") == 1, "it is counted")
    assert database.value("select count(*) from cdc_bridge.delivery where reservation_id = 'DELETED'") == 0


async def test_reservation_whose_customer_is_missing_is_posted_with_null_for_it(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    database.execute("alter table reservations drop constraint reservations_cust_id_fkey")
    insert(database, "reservations", {"id": "R", "cust_id": "nobody", "reference": 1})
    await bridges.start()
    assert (await only_call(receiver)).json["customer"] is None


async def test_payload_command_prints_the_very_bytes_that_are_posted(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    load_example_reservation(database)
    await bridges.start()
    request = await only_call(receiver)
    code, output, errors = await run_command("payload", EXAMPLE_ID, CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert (code, output, errors) == (0, request.body.decode() + "\n", "")
    code, output, _ = await run_command("payload", EXAMPLE_ID, "--pretty", CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert code == 0
    assert with_exact_numbers(output) == with_exact_numbers(request.body)
    assert '\n  "deposit_due": 20,' in output


async def test_payload_command_says_so_where_there_is_no_such_reservation(database: Database) -> None:
    code, output, errors = await run_command("payload", "NOBODY", CDC_BRIDGE_DATABASE_URL=database.bridge_url)
    assert (code, output) == (1, "")
    assert "there is no reservation NOBODY" in errors
