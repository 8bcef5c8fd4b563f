"""``delivery retry`` and ``delivery show``, with the real daemon."""

from __future__ import annotations

import json

import pytest

from tests.support.bridge import Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = (
    "insert into customers (id, surname) values ('C', 'Featherstonehaugh') on conflict do nothing; "
    "insert into reservations (id, cust_id, reference) values ('R', 'C', 1)"
)
CHANGE = "update reservations set adults = adults + 1 where id = 'R'"
STATES = "select seq, state from cdc_bridge.delivery order by seq"
SET_STATE = """
update cdc_bridge.delivery
set state = %(state)s, skip_reason = case %(state)s when 'skipped' then 'deleted' end, next_attempt_at = null,
  failures = 11
"""
LATER = "update cdc_bridge.delivery set next_attempt_at = now() + interval '1 hour', failures = 9"


async def settled(database: Database, *states: str) -> None:
    """Wait until the delivery log has exactly these states, by number."""
    await until(
        lambda: [state for _, state in database.execute(STATES)] == list(states), f"the delivery log has {states}"
    )


async def rejected_booking(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    """Have one retrying delivery."""
    receiver.script = lambda _: Response(422)
    await bridges.start()
    database.execute(BOOKING)
    await settled(database, "retrying")


async def test_retrying_delivery_is_due_now_at_the_start_of_its_schedule(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute(LATER)
    receiver.script = lambda _: Response()
    code, output, errors = await run_command("delivery", "retry", "1", **bridges.settings)
    assert (code, output, errors) == (0, "1 (reservation R) is due now\n", "")
    await settled(database, "delivered")
    assert database.execute("select attempts, failures from cdc_bridge.delivery") == [(2, 0)]


@pytest.mark.parametrize("state", ["dead", "skipped"])
async def test_dead_or_skipped_delivery_is_retried_by_its_webhook_id(
    state: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute(SET_STATE, {"state": state})
    receiver.script = lambda _: Response()
    webhook_id = receiver.requests[0].headers["webhook-id"]
    code, _, errors = await run_command("delivery", "retry", webhook_id, **bridges.settings)
    assert (code, errors) == (0, "")
    await settled(database, "delivered")


async def test_newest_delivery_is_due_in_place_of_an_older_one(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute(CHANGE)
    await settled(database, "retrying", "retrying")
    database.execute(SET_STATE, {"state": "dead"})
    receiver.script = lambda _: Response()
    _, output, _ = await run_command("delivery", "retry", "1", **bridges.settings)
    assert output == "1 (reservation R): the newer delivery 2 is due now, for both\n"
    await settled(database, "superseded", "delivered")
    assert [request.seq for request in receiver.delivered] == [2]


async def test_delivery_older_than_a_delivered_one_is_superseded_and_not_sent(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute(SET_STATE, {"state": "dead"})
    receiver.script = lambda _: Response()
    database.execute(CHANGE)
    await settled(database, "dead", "delivered")
    _, output, _ = await run_command("delivery", "retry", "1", **bridges.settings)
    assert output == "1 (reservation R) is superseded: the newer delivery 2 was successful\n"
    assert database.execute(STATES) == [(1, "superseded"), (2, "delivered")]


async def test_delivery_is_not_superseded_by_a_newer_one_that_was_superseded_itself(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    """With ``latest_only`` a change is superseded as soon as there is a newer one, before anything is delivered."""
    await rejected_booking(database, receiver, bridges)
    database.execute(SET_STATE, {"state": "dead"})
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures, next_attempt_at) select endpoint_id, newer.seq, 'R', 'U', now(), newer.state, 0, 0, newer.due "
        "from cdc_bridge.endpoint, (values (2, 'superseded', null), (3, 'retrying', now() + interval '1 hour')) "
        "as newer (seq, state, due)"
    )
    receiver.script = lambda _: Response()
    _, output, _ = await run_command("delivery", "retry", "1", **bridges.settings)
    assert output == "1 (reservation R): the newer delivery 3 is due now, for both\n"
    await settled(database, "superseded", "superseded", "delivered")


async def test_settled_delivery_is_not_retried_but_the_others_are(
    database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await bridges.start()
    database.execute(BOOKING)
    await settled(database, "delivered")
    receiver.script = lambda _: Response(422)
    database.execute(CHANGE)
    await settled(database, "delivered", "retrying")
    code, output, errors = await run_command("delivery", "retry", "1", "2", "99", **bridges.settings)
    assert code == 1
    assert output == "2 (reservation R) is due now\n"
    assert "1 was delivered. To send its reservation again: cdc-bridge replay --endpoint default" in errors
    assert "the delivery log has no delivery 99" in errors
    *_, advised = errors.rstrip().partition("It was pruned, or is queued in the change log: cdc-bridge ")
    code, _, errors = await run_command(*advised.split(), **bridges.settings)
    assert code == 1
    assert errors.rstrip().endswith("To list what there is: cdc-bridge deliveries")
    await receiver.wait_for_requests(3)


async def test_endpoint_has_to_be_named_where_several_have_the_delivery(
    database: Database, receiver: Receiver, bridges: Bridges, certificates: Certificates
) -> None:
    add_endpoint(database, "till", receiver.url, certificates.ca_file)
    await bridges.start()
    database.execute(BOOKING)
    await settled(database, "delivered", "delivered")
    for command in ("show", "retry"):
        code, output, errors = await run_command("delivery", command, "1", **bridges.settings)
        assert (code, output) == (2, "")
        assert "several endpoints have delivery 1: default, till" in errors
        assert "--endpoint NAME" in errors
        code, output, errors = await run_command("delivery", command, "1", "--endpoint", "tll", **bridges.settings)
        assert (code, output) == (1, "")
        assert "there is no endpoint tll; did you mean till?" in errors
    code, output, _ = await run_command("delivery", "show", "1", "--endpoint", "till", **bridges.settings)
    assert code == 0
    assert "1 to till" in output


@pytest.mark.parametrize("command", ["show", "retry"])
@pytest.mark.parametrize("id_", ["nonsense", "0", "12-XYZ", "9" * 19, "9" * 30, "1;drop"])
async def test_invalid_id_is_wrong_usage(command: str, id_: str, bridges: Bridges) -> None:
    code, output, errors = await run_command("delivery", command, id_, **bridges.settings)
    assert (code, output) == (2, "")
    assert "webhook-id" in errors
    assert "Traceback" not in errors


async def test_show_prints_what_the_delivery_log_has(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute(LATER)
    code, output, _ = await run_command("delivery", "show", "1", **bridges.settings)
    assert code == 0
    assert "delivery     1 to default\nreservation  R\nchange       created, " in output
    assert "retrying: next attempt in 60 min" in output or "retrying: next attempt in 59 min" in output
    assert "HTTP 422 Unprocessable" in output
    assert f"webhook-id   {receiver.requests[0].headers['webhook-id']}" in output
    assert "Featherstonehaugh" not in output
    _, output, _ = await run_command("delivery", "show", "1-0123456789abcdef", **bridges.settings)
    assert "1-0123456789abcdef is of an earlier attempt, with another body" in output


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("delivered", "delivered"),
        ("superseded", "delivery 1 is newer and has its content"),
        ("dead", "cdc-bridge delivery retry 1"),
        ("skipped", "the reservation was deleted before it was sent"),
        ("retrying", "delivery 1, which is newer, covers both"),
    ],
)
async def test_show_says_what_each_state_means(
    state: str, words: str, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute(SET_STATE, {"state": state})
    _, output, _ = await run_command("delivery", "show", "1", **bridges.settings)
    assert words in output
    code, output, _ = await run_command("delivery", "show", "1", "--json", **bridges.settings)
    shown = json.loads(output)
    assert code == 0
    assert (shown["seq"], shown["state"], shown["operation"], shown["attempts"]) == (1, state, "created", 1)
    assert shown["skip_reason"] == ("deleted" if state == "skipped" else None)
    assert shown["message_id"] == receiver.requests[0].headers["webhook-id"]
    assert shown["changed_at"].endswith("Z")


async def test_database_error_is_explained(database: Database, receiver: Receiver, bridges: Bridges) -> None:
    await rejected_booking(database, receiver, bridges)
    database.execute("alter table cdc_bridge.delivery rename column failures to refusals")
    code, output, errors = await run_command("delivery", "show", "1", **bridges.settings)
    assert (code, output) == (1, "")
    assert "a statement failed: column d.failures does not exist" in errors
    assert "Traceback" not in errors
