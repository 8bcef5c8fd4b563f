"""The OpenAPI document is valid, needs no other file, and describes headers and responses as they are."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from cdc_bridge.model import Operation
from cdc_bridge.transport.outcome import LONGEST_RETRY_AFTER_SECONDS, Delivered, Fault, judge
from cdc_bridge.vendor.contract import EXAMPLES, example, openapi, schema
from cdc_bridge.vendor.test_message import TEST_TYPE
from tests.e2e.vendor.sent import SentRequests, schedule_in_words
from tests.support.bridge import run_command

DOCUMENT = openapi()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
STATUSES = [status for status in range(200, 600) if status != 304]


def resolved(value: Any) -> Any:
    """Return what a reference in the document leads to."""
    while "$ref" in value:
        found: Any = DOCUMENT
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def operation(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["webhooks"][name]["post"]
    return found


def headers_of(name: str) -> dict[str, dict[str, Any]]:
    parameters = [resolved(parameter) for parameter in operation(name)["parameters"]]
    assert {parameter["in"] for parameter in parameters} == {"header"}
    assert all(parameter["description"] for parameter in parameters)
    return {parameter["name"]: parameter for parameter in parameters}


def test_document_is_valid_and_references_no_other_file() -> None:
    validate(DOCUMENT)
    references = re.findall(r'"\$ref": "([^"]*)"', json.dumps(DOCUMENT))
    assert references
    assert all(reference.startswith("#/components/") and resolved({"$ref": reference}) for reference in references)


def test_webhooks_are_the_types_of_requests_that_are_sent() -> None:
    types = [f"reservation.{operation}" for operation in Operation]
    assert list(DOCUMENT["webhooks"]) == [*types, "test"]
    assert [headers_of(name)["ce-type"]["schema"]["const"] for name in DOCUMENT["webhooks"]] == [*types, TEST_TYPE]


@pytest.mark.parametrize("name", EXAMPLES)
def test_body_is_the_schema_itself_and_every_example_keeps_it(name: str) -> None:
    content = operation("reservation.created")["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Reservation"}
    body = Draft202012Validator(DOCUMENT | content["schema"])
    assert [error.message for error in body.iter_errors(example(name))] == []
    assert resolved(content["examples"][name])["value"] == example(name)
    assert [error.json_path for error in body.iter_errors(example(name) | {"cancelled": "yes"})] == ["$.cancelled"]
    assert resolved(content["schema"])["properties"].keys() == schema()["properties"].keys()


@pytest.mark.parametrize("name", ["reservation.created", "reservation.updated", "test"])
async def test_headers_that_are_really_sent_are_those_of_the_document(name: str, sent_requests: SentRequests) -> None:
    request = await sent_requests.of(name)
    documented = headers_of(name)
    sent = {header.lower(): value for header, value in request.headers.items() if header.lower() != "x-api-key"}
    beside = {header for header in sent if header not in documented}
    assert beside == {"content-type", "content-length", "host", "accept"}
    assert all(header in operation(name)["description"] for header in beside)
    assert documented.keys() <= sent.keys()
    for header, parameter in documented.items():
        value = Draft202012Validator(parameter["schema"])
        assert [error.message for error in value.iter_errors(sent[header])] == []
        assert [error.message for error in value.iter_errors(parameter["example"])] == []


def response_to(name: str, status: int) -> dict[str, Any]:
    responses = operation(name)["responses"]
    found: dict[str, Any] = resolved(responses.get(str(status)) or responses[f"{status // 100}XX"])
    return found


@pytest.mark.parametrize("name", ["reservation.created", "reservation.updated"])
def test_effect_of_each_response_is_as_documented(name: str) -> None:
    def judged(status: int, **headers: str) -> str:
        outcome = judge(status, headers, NOW)
        return "delivered" if isinstance(outcome, Delivered) else outcome.fault.value

    documented = {status: response_to(name, status)["x-cdc-bridge-effect"] for status in STATUSES}
    assert documented == {status: judged(status) for status in STATUSES}
    assert judged(503, **{"retry-after": "9"}) == documented[429] == Fault.OVERLOAD
    asked = [status for status in STATUSES if "retry-after" in response_to(name, status).get("headers", {})]
    assert asked == [status for status in STATUSES if documented[status] in {"delivery", "overload"} or status == 503]
    assert "With Retry-After as 429" in response_to(name, 503)["description"]


def test_descriptions_of_responses_have_the_right_numbers() -> None:
    assert schedule_in_words() in response_to("reservation.created", 422)["description"]
    assert LONGEST_RETRY_AFTER_SECONDS == 3600
    assert "at most an hour" in response_to("reservation.created", 429)["description"]
    assert {fault.value for fault in Fault if fault is not Fault.OURS} <= set(
        re.findall(r"\b[a-z]+\b", DOCUMENT["info"]["description"])
    )


async def test_printed_document_is_the_whole_one() -> None:
    code, output, errors = await run_command("contract", "openapi")
    assert (code, errors) == (0, "")
    assert json.loads(output) == DOCUMENT
