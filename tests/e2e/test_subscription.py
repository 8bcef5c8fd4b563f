"""What an endpoint is to get: what the commands refuse, warn of, say and show of it, and a payload that is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands, add_endpoint
from tests.support.payloads import define_payload
from tests.support.receiver import Receiver
from tests.support.waiting import until

URL = "https://till.example/reservations"
COLUMNS = "select payload, \"only\", events, skip_unchanged from cdc_bridge.endpoint where name = 'till'"
DELIVERIES = (
    "insert into cdc_bridge.delivery "
    "(endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures) "
)
KITCHEN = (
    "select r.id, r.adults, r.status, r.room_name, r.cancelled as \"@cancelled\", '{}'::jsonb as data "
    "from {reservation} r"
)
NO_VALUE = 'column "{}" of payload "reservation" cannot have such a value: {}'
REFUSED = [
    (("--payload", "kitchn"), "--payload kitchn: the mapping defines no such payload; did you mean kitchen?"),
    (("--payload", "kitchn"), "There are: kitchen, reservation"),
    (("--payload", "Kitchen"), "--payload has to be the name of a payload definition"),
    (("--only", "room_nam=Bar"), '--only room_nam=Bar: the payload "reservation" has no column "room_nam"'),
    (("--only", "room_nam=Bar"), "did you mean room_name? Its columns: customer.id, customer.title,"),
    (("--payload", "kitchen", "--only", "notes=x"), 'the payload "kitchen" has no column "notes"'),
    (("--payload", "kitchen", "--only", "cancelled=T"), 'has no column "cancelled"; did you mean @cancelled?'),
    (("--only", "adults=2,two"), NO_VALUE.format("adults", "invalid input syntax for type integer")),
    (("--only", "adults="), NO_VALUE.format("adults", "invalid input syntax")),
    (("--only", "datetime=2026-13-01"), NO_VALUE.format("datetime", "date/time field value out of range")),
    (("--payload", "kitchen", "--only", "data={}"), "is of type jsonb, which cannot be compared"),
    (("--only", "status=a", "--only", "status=b"), "--only names status twice; give its values together"),
    (("--only", "room_name"), "--only has to be COLUMN=VALUE or COLUMN=VALUE,VALUE"),
    (("--only", "=x"), "--only has to be COLUMN=VALUE"),
    (("--only", 'room_name="Bar'), "--only has a double quote out of place in the values of room_name"),
]


@pytest.fixture(autouse=True)
def kitchen(database: Database) -> None:
    define_payload(database, KITCHEN, "kitchen")
    database.execute("insert into customers (id) values ('C')")


def book(database: Database, id_: str, **columns: Any) -> None:
    names = ", ".join(["id", "cust_id", "reference", *columns])
    values = ", ".join(["%s", "'C'", "1", *["%s"] * len(columns)])
    database.execute(f"insert into reservations ({names}) values ({values})", (id_, *columns.values()))


async def test_what_cannot_be_given_is_refused_and_changes_nothing(
    database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "bar", URL)
    before = database.execute("select e::text from cdc_bridge.endpoint e")
    for options, words in REFUSED:
        assert words in await endpoint.refused("add", "till", URL, *options, code=2)
        assert words in await endpoint.refused("set", "bar", *options, code=2)
    assert "'deleted' is not one of 'both'" in await endpoint.run("set", "bar", "--events", "deleted", code=2)
    assert database.execute("select e::text from cdc_bridge.endpoint e") == before


async def test_condition_and_payload_are_checked_together_with_what_stays(
    database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL, "--only", "meal_name=Dinner")
    told = await endpoint.refused("set", "till", "--payload", "kitchen", code=2)
    assert 'the payload "kitchen" has no column "meal_name"' in told
    await endpoint.run("set", "till", "--payload", "kitchen", "--only", "room_name=Bar")
    assert database.execute(COLUMNS) == [("kitchen", ["room_name=Bar"], "both", False)]
    database.execute("update cdc_bridge.endpoint set \"only\" = '{no condition}'")
    told = await endpoint.refused("set", "till", "--payload", "reservation", code=2)
    assert "--only has to be COLUMN=VALUE" in told
    assert "To remove it: --only ''" in told
    for written in ("{NULL}", "{{a=1},{b=2}}"):
        database.execute('update cdc_bridge.endpoint set "only" = %s', (written,))
        await endpoint.run("show", "till")
    await endpoint.run("set", "till", "--only", "")
    assert database.execute(COLUMNS) == [("kitchen", [], "both", False)]


async def test_condition_on_what_is_likely_to_change_is_warned_of(endpoint: EndpointCommands) -> None:
    warned = "when {} changes so that a reservation does not meet the condition any more, the endpoint is not told"
    told = await endpoint.run("add", "till", URL, "--only", "walkin=F", "--only", "status=Confirmed,Seated")
    assert f"warning: --only status: {warned.format('status')}" in " ".join(told.split())
    assert "--only walkin" not in told
    told = await endpoint.run("set", "till", "--payload", "kitchen", "--only", "@cancelled=F")
    assert f"warning: --only @cancelled: {warned.format('@cancelled')}" in " ".join(told.split())
    assert "warning" not in await endpoint.run("set", "till", "--max-in-flight", "3")


@pytest.mark.parametrize(
    ("options", "told", "not_told"),
    [
        (("--payload", "kitchen"), ["not delivered yet", "cdc-bridge backfill till --again"], ["did not get before"]),
        (("--only", "room_name=Bar"), ["not delivered yet", "did not get before", "backfill till."], ["--again"]),
        (("--only", ""), ["not delivered yet", "did not get before"], ["--again"]),
        (("--events", "updated"), ["not delivered yet"], ["backfill"]),
        (("--events", "both", "--only", "adults=2", "--payload", "reservation"), [], ["not delivered yet", "backfill"]),
        (("--skip-unchanged",), [], ["not delivered yet", "backfill"]),
        (("--max-in-flight", "3"), [], ["not delivered yet", "backfill"]),
        (("--url", f"{URL}/v2"), [], ["backfill"]),
        (
            ("--url", f"{URL}/v2", "--skip-unchanged"),
            ["counts as delivered", "backfill till --again"],
            ["not delivered yet"],
        ),
        (("--url", URL, "--skip-unchanged"), [], ["backfill"]),
    ],
)
async def test_change_says_what_it_means_for_what_is_queued_and_what_was_delivered(
    options: tuple[str, ...], told: list[str], not_told: list[str], endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL, "--only", "adults=2")
    printed = " ".join((await endpoint.run("set", "till", *options)).split())
    assert "Endpoint till is changed." in printed
    assert [words for words in told if words not in printed] == []
    assert [words for words in not_told if words in printed] == []


async def test_it_is_shown_as_text_and_as_json(database: Database, endpoint: EndpointCommands) -> None:
    await endpoint.run(
        "add", "till", URL, "--payload", "kitchen", "--only", "room_name=Restaurant,Terrace", "--only", "adults=2",
        "--events", "created", "--skip-unchanged",
    )  # fmt: skip
    assert database.execute(COLUMNS) == [("kitchen", ["room_name=Restaurant,Terrace", "adults=2"], "created", True)]
    database.execute("update cdc_bridge.endpoint set skipped_filtered = 1200, skipped_event = 3")
    shown = await endpoint.run("show", "till")
    lines = [" ".join(line.split()) for line in shown.splitlines() if len(line) <= 80]
    for line in (
        "Payload kitchen",
        "Conditions room_name=Restaurant,Terrace and adults=2",
        "Events created",
        "Skip unchanged bodies on",
        "Skipped 1,200 filtered, 3 event (since it was added)",
    ):
        assert line in lines
    as_json = await endpoint.json("show", "till")
    assert (as_json["payload"], as_json["only"]) == ("kitchen", ["room_name=Restaurant,Terrace", "adults=2"])
    assert (as_json["events"], as_json["skip_unchanged"]) == ("created", True)
    assert as_json["skipped"] == {"deleted": 0, "filtered": 1200, "event": 3, "unchanged": 0}
    await endpoint.run("set", "till", "--only", "", "--events", "both", "--send-unchanged", "--payload", "reservation")
    assert database.execute(COLUMNS) == [("reservation", [], "both", False)]
    assert "Conditions none" in [" ".join(line.split()) for line in (await endpoint.run("show", "till")).splitlines()]


async def test_payload_of_an_endpoint_is_what_it_would_get(
    database: Database, bridges: Bridges, endpoint: EndpointCommands
) -> None:
    book(database, "R", room_name="Bar", adults=5)
    book(database, "S", room_name="Terrace")
    await endpoint.run("add", "till", URL, "--payload", "kitchen", "--only", "room_name=Bar")

    async def printed(*arguments: str) -> tuple[int, str]:
        code, output, errors = await run_command("payload", *arguments, **bridges.settings)
        assert "Traceback" not in errors
        return code, output or " ".join(errors.split())

    code, output = await printed("R", "--endpoint", "till")
    assert code == 0
    assert json.loads(output) == {"id": "R", "adults": 5, "status": "Confirmed", "room_name": "Bar", "data": {}}
    code, told = await printed("S", "--endpoint", "till")
    assert code == 1
    assert 'till does not get reservation S: it gets payload "kitchen", only room_name=Bar' in told
    assert "cdc-bridge payload S" in told
    code, told = await printed("T", "--endpoint", "till")
    assert (code, "there is no reservation T" in told) == (1, True)
    code, told = await printed("R", "--endpoint", "tll")
    assert (code, "did you mean till?" in told) == (1, True)
    database.execute("select cdc_bridge.drop_payload('kitchen')")
    code, told = await printed("R", "--endpoint", "till")
    assert (code, 'the payload "kitchen" is not defined' in told) == (1, True)


async def test_skipped_deliveries_are_listed_and_shown_with_their_reason(
    database: Database, bridges: Bridges, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL)
    reasons = {
        "deleted": "the reservation was deleted before it was sent",
        "filtered": "the reservation is not in the endpoint's payload, or does not meet its conditions",
        "event": "the endpoint does not get reservations that were updated",
        "unchanged": "the body is the one that was delivered last",
    }
    for number, reason in enumerate(reasons, 1):
        database.execute(
            f"{DELIVERIES} select endpoint_id, %s, 'R', 'U', now(), 'skipped', %s, 0, 0 from cdc_bridge.endpoint",
            (number, reason),
        )
    skipped = ("deliveries", "--state", "skipped")
    code, output, _ = await run_command(*skipped, "--json", **bridges.settings)
    assert code == 0
    assert [each["skip_reason"] for each in json.loads(output)["deliveries"]] == [*reversed(reasons)]
    _, output, _ = await run_command(*skipped, **bridges.settings | {"COLUMNS": "200"})
    for number, (reason, words) in enumerate(reasons.items(), 1):
        assert f"skipped ({reason})" in output
        _, shown, _ = await run_command("delivery", "show", str(number), **bridges.settings)
        assert f"skipped: {words}" in " ".join(shown.split())
        _, shown, _ = await run_command("delivery", "show", str(number), "--json", **bridges.settings)
        assert json.loads(shown)["skip_reason"] == reason


BROKEN = {
    "gone": ("select cdc_bridge.drop_payload('kitchen')", 'the payload "kitchen" is not defined'),
    "broken": ("drop table dishes", 'relation "public.dishes" does not exist'),
    "with duplicate rows": (
        "insert into dishes values ('R', 'soup'), ('R', 'fish')",
        'the payload "kitchen" has several rows for reservation R; a join has more than one match',
    ),
    "without a column that a condition names": (
        "select cdc_bridge.define_payload('kitchen', 'select r.id from {reservation} r')",
        'a condition (option only) does not fit: payload "kitchen" has no column "dish"',
    ),
}


def define_dishes(database: Database) -> None:
    """Have the kitchen's payload read a table of its own."""
    database.execute(
        "create table if not exists dishes (reservation_id text, dish text); "
        "grant select on dishes to cdc_bridge_loader"
    )
    define_payload(
        database,
        "select r.id, coalesce(d.dish, '') as dish from {reservation} r "
        "left join public.dishes d on d.reservation_id = r.id",
        "kitchen",
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", BROKEN)
async def test_check_names_what_is_wrong_with_a_payload_that_an_endpoint_gets(
    how: str, database: Database, bridges: Bridges, endpoint: EndpointCommands
) -> None:
    async def mapping() -> tuple[str, str]:
        _, output, _ = await run_command("check", "--json", **bridges.settings)
        (check,) = (check for check in json.loads(output)["checks"] if check["name"] == "mapping")
        return check["verdict"], check["detail"]

    define_dishes(database)
    book(database, "R")
    breaks, words = BROKEN[how]
    assert await mapping() == ("ok", "69 columns")
    await endpoint.run("add", "till", URL, "--payload", "kitchen", "--only", "dish=,soup,fish")
    await endpoint.run("add", "bar", URL)
    assert await mapping() == ("ok", "69 columns; payloads in use beside it: kitchen")
    database.execute(breaks)
    verdict, detail = await mapping()
    assert (verdict, words in detail) == ("failed", True), detail
    database.execute("update cdc_bridge.endpoint set payload = 'screen' where name = 'bar'")
    _, detail = await mapping()
    assert words in detail
    assert 'the payload "screen" is not defined' in detail
    database.execute("update cdc_bridge.endpoint set payload = 'reservation' where name = 'bar'")
    await endpoint.run("remove", "till", "--yes")
    assert await mapping() == ("ok", "69 columns")


@pytest.mark.slow
@pytest.mark.departs_from_contract("its payload is another one")
@pytest.mark.parametrize("how", [how for how in BROKEN if how != "with duplicate rows"])
async def test_endpoint_whose_payload_is_gone_is_invalid_alone_and_loses_nothing(
    how: str, database: Database, bridges: Bridges, receiver: Receiver
) -> None:
    define_dishes(database)
    add_endpoint(database, "till", receiver.url, Path(bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"]))
    database.execute("update cdc_bridge.endpoint set payload = 'kitchen', \"only\" = '{dish=}' where name = 'till'")

    def status(name: str) -> str:
        statement = "select concat(status, ': ', reason) from cdc_bridge.endpoint_status where name = %s"
        return str(database.value(statement, (name,)))

    def received(kind: str) -> list[str]:
        found = [each for each in receiver.delivered if ("dish" in each.json) is (kind == "till")]
        return sorted(each.reservation_id for each in found)

    bridge = await bridges.start()
    await bridge.until_assigned("till", "default")
    book(database, "A")
    await until(lambda: received("till") == received("default") == ["A"], "both get the first one")
    breaks, words = BROKEN[how]
    database.execute(breaks)
    book(database, "B")
    await until(lambda: status("till").startswith("invalid: ") and words in status("till"), f"till is invalid: {words}")
    await until(lambda: received("default") == ["A", "B"], "the other one goes on")
    assert status("default").startswith("healthy")
    assert received("till") == ["A"]
    define_dishes(database)
    await until(lambda: received("till") == ["A", "B"], "it gets what was kept")
    assert database.value("select coalesce(sum(failures), 0) from cdc_bridge.delivery") == 0


async def test_endpoint_of_the_settings_gets_what_they_say(
    database: Database, bridges: Bridges, receiver: Receiver, endpoint: EndpointCommands
) -> None:
    wrong = await bridges.start(CDC_BRIDGE_ENDPOINT_ONLY="adults=two")
    reason = "select reason from cdc_bridge.endpoint_status"
    await until(
        lambda: 'does not fit: column "adults"' in str(database.value(reason)), "a value that cannot be is told"
    )
    book(database, "A", adults=7)
    await wrong.terminate()
    bridge = await bridges.start(
        CDC_BRIDGE_ENDPOINT_ONLY="adults=7,8", CDC_BRIDGE_ENDPOINT_EVENTS="created",
        CDC_BRIDGE_ENDPOINT_SKIP_UNCHANGED="true",
    )  # fmt: skip
    await bridge.until_assigned()
    book(database, "B", adults=2)
    book(database, "C", adults=8)
    database.execute("update reservations set notes = 'x' where id = 'C'")
    await receiver.wait_for_delivered(2)
    counts = "select skipped_filtered, skipped_event from cdc_bridge.endpoint"
    await until(lambda: database.execute(counts) == [(0, 1)], "one is an update")
    assert sorted(request.reservation_id for request in receiver.requests) == ["A", "C"]
    shown = await endpoint.json("show", "default")
    assert (shown["only"], shown["events"], shown["skip_unchanged"]) == (["adults=7,8"], "created", True)
