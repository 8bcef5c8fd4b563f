"""The OpenAPI document is made of the operations, and of nothing else."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from cdc_bridge.access.rights import Right
from cdc_bridge.web.api.openapi import document
from cdc_bridge.web.api.operations import Operation
from cdc_bridge.web.api.problems import TYPES
from cdc_bridge.web.api.routes import OPERATIONS
from cdc_bridge.web.api.schemas import COMPONENTS, schema_of

DOCUMENT = document(OPERATIONS)

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


def test_document_is_valid() -> None:
    validate(DOCUMENT)
    for schema in COMPONENTS.values():
        Draft202012Validator.check_schema(schema)


def test_no_two_operations_have_the_same_name_or_route() -> None:
    assert max(Counter(operation.name for operation in OPERATIONS).values()) == 1
    assert max(Counter((operation.method, operation.path) for operation in OPERATIONS).values()) == 1


@every_operation
def test_operation_is_described(operation: Operation) -> None:
    told = described(operation)
    assert told["operationId"] == operation.name
    assert told["summary"].endswith(".")
    assert ("Needs the right to change." in told["description"]) is (operation.right is Right.CHANGE)
    names = {(each["in"], each["name"]) for each in told["parameters"]}
    expected = {("path", name) for name in re.findall(r"{(\w+)}", operation.path)}
    expected |= {("query", field.name) for field in operation.query}
    expected |= {("header", "Idempotency-Key")} if operation.idempotency_key else set()
    expected |= {("header", "If-Match")} if operation.if_match else set()
    assert names == expected
    assert all(each["description"].endswith(".") for each in told["parameters"])
    assert ("requestBody" in told) is (operation.body is not None)
    if operation.body is not None:
        schema = told["requestBody"]["content"]["application/json"]["schema"]
        assert [*schema["properties"]] == [field.name for field in operation.body]
        assert all(each["description"].endswith(".") for each in schema["properties"].values())
        assert schema["additionalProperties"] is False


@every_operation
def test_post_and_patch_can_be_repeated_safely(operation: Operation) -> None:
    by_nature = {"pauseEndpoint", "resumeEndpoint", "removeEndpoint"}
    assert operation.idempotency_key is (operation.right is Right.CHANGE and operation.name not in by_nature)


@every_operation
def test_responses_are_described(operation: Operation) -> None:
    responses = described(operation)["responses"]
    assert {str(int(status)) for status in operation.success} <= responses.keys()
    assert {"401", "429", "503", "default"} <= responses.keys()
    assert ("403" in responses) is (operation.right is Right.CHANGE)
    assert {"408", "413", "415"}.issubset(responses) is (operation.body is not None)
    assert ("422" in responses) is operation.idempotency_key


def test_every_type_of_problem_is_explained_where_its_status_is() -> None:
    responses = DOCUMENT["components"]["responses"].values()
    told = " ".join(response["description"] for response in responses)
    assert [type_.uri for type_ in TYPES if f"{type_.uri}: {type_.title}." not in told] == []


def test_type_without_a_schema_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="no schema for"):
        schema_of(list[int])
