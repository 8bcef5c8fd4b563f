"""The reservations that ``conformance`` invents: no till has a reason to reject one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from cdc_bridge.transport.message import Message
from cdc_bridge.vendor.conformance.requests import NOTES, SOURCE, RequestFactory
from cdc_bridge.vendor.conformance.requirements import REQUIREMENTS
from cdc_bridge.vendor.contract import LARGEST_BODY_BYTES, schema

NOW = datetime(2026, 11, 24, 23, 59, 59, 999_999, tzinfo=UTC)


def all_messages(of_schema: dict[str, Any] | None = None) -> list[Message]:
    requests = RequestFactory(of_schema, NOW)
    return [message for requirement in REQUIREMENTS for message in requirement.requests(requests)]


def reservations() -> list[dict[str, Any]]:
    return [orjson.loads(message.body) for message in all_messages() if message.subject is not None]


def test_bodies_are_as_the_contract_has_them() -> None:
    validator = Draft202012Validator(schema())
    assert [error.message for body in reservations() for error in validator.iter_errors(body)] == []


def test_visits_are_to_come_and_no_two_reservations_have_the_same_table_at_the_same_time() -> None:
    places: dict[str, set[tuple[str, str, int]]] = {}
    for body in reservations():
        places.setdefault(body["id"], set()).add((body["datetime"], body["tables"], body["reference"]))
    assert {len(of_one) for of_one in places.values()} == {1}
    all_places = [place for of_one in places.values() for place in of_one]
    assert len({(at, table) for at, table, _ in all_places}) == len(all_places) > 60
    assert len({reference for _, _, reference in all_places}) == len(all_places)
    visits = [datetime.fromisoformat(at) for at, _, _ in all_places]
    assert (NOW + timedelta(days=1)).date() == min(visits).date()
    assert max(visits) < NOW + timedelta(days=7)


def test_every_request_says_that_it_is_no_real_reservation() -> None:
    assert {message.source for message in all_messages()} == {SOURCE}
    assert [body["notes"][:80] for body in reservations() if not body["notes"].startswith(NOTES)] == []
    assert max(len(message.body) for message in all_messages()) == LARGEST_BODY_BYTES


def test_what_is_agreed_on_otherwise_is_not_placed() -> None:
    agreed = {
        "type": "object",
        "properties": {
            "id": schema()["properties"]["id"],
            "datetime": {"type": "string", "examples": ["tonight"]},
            "tables": schema()["properties"]["tables"],
        },
        "$defs": schema()["$defs"],
    }
    (body, *_) = [orjson.loads(message.body) for message in all_messages(agreed)]
    assert body.keys() == {"id", "datetime", "tables"}
    assert (body["datetime"], body["tables"]) == ("tonight", "1")
