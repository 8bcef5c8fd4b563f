"""What ``trigger`` sends, and what a response to it means for the bridge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from jsonschema import Draft202012Validator

from cdc_bridge.transport.outcome import Delivered, Failed, Fault, Outcome, judge
from cdc_bridge.vendor.contract import schema
from cdc_bridge.vendor.trigger import NOTES, Event, compose_invented, consequence_of

NOW = datetime(2026, 11, 24, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("event", Event)
def test_body_is_as_the_contract_has_it_and_says_that_it_is_invented(event: Event) -> None:
    body = orjson.loads(compose_invented(event, NOW).body)
    assert [error.message for error in Draft202012Validator(schema()).iter_errors(body)] == []
    assert body["notes"] == NOTES
    assert body["created"] <= body["updated"] == "2026-11-24T23:59:59.999Z"


def test_three_events_are_about_one_reservation_and_the_walk_in_about_another() -> None:
    messages = {event: compose_invented(event, NOW + timedelta(seconds=n)) for n, event in enumerate(Event)}
    bodies = {event: orjson.loads(message.body) for event, message in messages.items()}
    of_one = {messages[event].subject for event in (Event.CREATED, Event.UPDATED, Event.CANCELLED)}
    assert len(of_one) == 1
    assert messages[Event.WALK_IN].subject not in of_one
    assert {event: message.type for event, message in messages.items()} == {
        Event.CREATED: "reservation.created",
        Event.UPDATED: "reservation.updated",
        Event.CANCELLED: "reservation.updated",
        Event.WALK_IN: "reservation.created",
    }
    assert [event for event, body in bodies.items() if body["cancelled"] == "T"] == [Event.CANCELLED]
    assert [event for event, body in bodies.items() if body["walkin"] == "T"] == [Event.WALK_IN]
    assert bodies[Event.CREATED]["adults"] != bodies[Event.UPDATED]["adults"]


def test_visit_of_a_booking_is_to_come_and_that_of_a_walk_in_is_now() -> None:
    visits = {event: orjson.loads(compose_invented(event, NOW).body)["datetime"] for event in Event}
    assert visits.pop(Event.WALK_IN) == "2026-11-24T23:59:00.000Z"
    assert set(visits.values()) == {"2026-11-25T18:30:00.000Z"}


def test_each_request_is_a_newer_change_and_its_number_is_too_long_for_a_floating_point_number() -> None:
    messages = [compose_invented(Event.CREATED, NOW + timedelta(microseconds=n)) for n in range(3)]
    sequences = [message.sequence for message in messages if message.sequence is not None]
    assert sequences == sorted(set(sequences))
    assert len({message.id for message in messages}) == 3
    assert sequences[0] > 2**53


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (204, {}, "Delivered"),
        (302, {}, "Failed"),
        (401, {}, "the same secret"),
        (404, {}, "Check the path"),
        (422, {}, "rejects the content"),
        (500, {}, "See the log"),
        (410, {}, "until the restaurant resumes"),
        (422, {}, "for two days"),
        (429, {}, "for 1 s growing to 60 s"),
        (503, {"retry-after": "30"}, "for 30 s"),
        (503, {}, "No delivery expires"),
    ],
)
def test_every_response_has_a_consequence(status: int, headers: dict[str, str], words: str) -> None:
    assert words in consequence_of(judge(status, headers, NOW))


def test_each_kind_of_outcome_has_a_consequence_of_its_own() -> None:
    outcomes: list[Outcome] = [Delivered(200), *(Failed(None, "why", fault) for fault in Fault)]
    assert len({consequence_of(outcome) for outcome in outcomes}) == len(outcomes)
