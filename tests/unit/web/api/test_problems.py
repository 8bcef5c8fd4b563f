"""Problem details: which error leads to which status and type, and in which words."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest

from cdc_bridge.endpoints.admin import RevisionDiffers
from cdc_bridge.endpoints.option_input import SecretsForNewHostMissing
from cdc_bridge.errors import (
    BridgeError,
    Conflict,
    DatabaseUnavailable,
    Fault,
    FaultyInput,
    InstallationError,
    NotFound,
    PayloadInvalid,
    StatementFailed,
    WrongUsage,
)
from cdc_bridge.web.api import problems
from cdc_bridge.web.api.problems import TYPES, ApiProblem, Problem, problem_of


def sent(error: Exception) -> tuple[int, dict[str, Any]]:
    problem = problem_of(error)
    assert problem is not None
    response = problem.response()
    assert response.content_type == "application/problem+json"
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (WrongUsage("nothing to change was given"), 400, "invalid-input"),
        (NotFound("there is no endpoint till"), 404, "not-found"),
        (Conflict("there is an endpoint till already"), 409, "conflict"),
        (RevisionDiffers("till"), 412, "revision-differs"),
        (DatabaseUnavailable("the database does not respond"), 503, "database-unavailable"),
        (InstallationError("it is not installed"), 503, "database-unavailable"),
        (StatementFailed("a statement failed"), 503, "database-unavailable"),
        (PayloadInvalid("it does not fit"), 409, "conflict"),
        (BridgeError("endpoint till cannot be used from here"), 409, "conflict"),
        *((ApiProblem(type_, "Why."), int(type_.status), type_.name) for type_ in TYPES),
    ],
    ids=repr,
)
def test_error_has_its_status_and_its_type(error: Exception, status: int, name: str) -> None:
    assert sent(error)[0] == status
    _, body = sent(error)
    assert (body["status"], body["type"]) == (status, f"urn:problem-type:cdc-bridge:{name}")
    assert body["title"]
    assert body["detail"].endswith(".")
    assert body["detail"][0].isupper()


def test_error_that_nobody_foresaw_is_no_problem_of_the_api() -> None:
    assert problem_of(ValueError("a secret")) is None


@pytest.mark.parametrize("type_", [problems.KEY_IN_USE, problems.BUSY, problems.DATABASE_UNAVAILABLE])
def test_what_may_pass_says_when_to_try_again(type_: problems.ProblemType) -> None:
    problem = problem_of(ApiProblem(type_, "Why."))
    assert problem is not None
    assert int(problem.response().headers["retry-after"]) > 0


def test_names_of_types_differ() -> None:
    assert len({type_.uri for type_ in TYPES}) == len(TYPES)


def test_each_faulty_field_is_named_as_json_has_it() -> None:
    faults = [
        Fault("max_in_flight", "--max-in-flight", "should be less than or equal to 1000"),
        Fault("url", "URL", "names no host", "Give --url, or --header and --secret-file."),
    ]
    _, body = sent(FaultyInput(*faults))
    assert body["detail"] == "These fields cannot be used: max_in_flight, url."
    assert body["errors"] == [
        {"field": "max_in_flight", "detail": "max_in_flight should be less than or equal to 1000"},
        {"field": "url", "detail": "url names no host", "remedy": "Give url, or headers and secret."},
    ]


def test_url_of_another_server_is_a_fault_of_the_url_with_a_remedy_of_the_api() -> None:
    _, body = sent(SecretsForNewHostMissing("URL leads to another server", "New headers: --header"))
    assert [(fault["field"], fault["detail"]) for fault in body["errors"]] == [
        ("url", "url leads to another server")
    ]  # fmt: skip
    assert "keep_headers" in body["errors"][0]["remedy"]
    assert "--" not in json.dumps(body)


def test_many_faults_make_no_long_response() -> None:
    _, body = sent(FaultyInput(*(Fault(f"f{number}", "", "is not known") for number in range(5000))))
    assert len(body["errors"]) == 50
    assert len(json.dumps(body)) < 5000


def test_problem_without_a_type_is_that_of_its_status() -> None:
    response = Problem(HTTPStatus.METHOD_NOT_ALLOWED, "", headers={"allow": "GET"}).response()
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {
        "type": "about:blank", "title": "Method Not Allowed", "status": 405, "detail": "Method Not Allowed"
    }  # fmt: skip
    assert response.headers["allow"] == "GET"
