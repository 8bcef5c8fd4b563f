"""The OpenAPI 3.1 document of the API, made from its operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from cdc_bridge import __version__
from cdc_bridge.access.rights import Right
from cdc_bridge.web.api import problems
from cdc_bridge.web.api.fields import Field
from cdc_bridge.web.api.idempotency import MOST_CHARACTERS
from cdc_bridge.web.api.input import JSON
from cdc_bridge.web.api.operations import PREFIX, Operation, Success
from cdc_bridge.web.api.results import REPEATED
from cdc_bridge.web.api.schemas import COMPONENTS, object_of, ref

_PATH_PARAMETERS = {
    "name": ("Name of the endpoint.", "till"),
    "endpoint": ("Name of the endpoint.", "till"),
    "id": ("Number of the change, or webhook-id: 4711-0123456789abcdef.", "4711"),
}
"""What each is, and an example."""
_RIGHTS = {
    Right.VIEW: "Needs the right to view.",
    Right.CONTENT: "Needs the right to see the content of reservations.",
    Right.CHANGE: "Needs the right to change.",
}
_HEADERS = {
    "Location": "The endpoint's URL.",
    "ETag": "The revision of the endpoint's options, for If-Match; not its status. Only if your token may change them.",
}
_ALWAYS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_OF_BODIES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
_OF_KEYS = (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)
_DESCRIPTION = """\
What the commands of cdc-bridge do with endpoints and deliveries, for programs. Off unless the settings have a token.

Every error is a problem (RFC 9457) whose type tells programs what is wrong; bad input is named field by field. Lists
come in pages: follow next. With an Idempotency-Key a request can be repeated safely: for 24 hours the same key and body
get the first response, also from another daemon."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "cdc-bridge", "version": __version__, "description": _DESCRIPTION},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(COMPONENTS),
            "responses": {_name(status): _problem(status) for status in sorted({*_statuses(operations)})},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    description = f"{operation.description} {_RIGHTS[operation.right]}".strip()
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": f"{operation.summary}.",
        "description": description,
        "parameters": _parameters(operation),
    }
    if operation.body is not None:
        told["requestBody"] = _body(operation.body)
    told["responses"] = {
        **{str(int(status)): _success(success, operation) for status, success in operation.success.items()},
        **{str(int(status)): {"$ref": f"#/components/responses/{_name(status)}"} for status in _problems(operation)},
        "default": {"$ref": f"#/components/responses/{_name(HTTPStatus.INTERNAL_SERVER_ERROR)}"},
    }
    return told


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", operation.path)
    found: list[dict[str, Any]] = [_path_parameter(name) for name in names]
    found += [
        {"name": field.name, "in": "query", "description": field.description, "schema": field.schema}
        for field in operation.query
    ]
    if operation.idempotency_key:
        found.append(_header("Idempotency-Key", _KEY, "To repeat the request safely, for 24 hours."))
    if operation.if_match:
        found.append(_header("If-Match", _TAG, "Change only these options: ETag of a response, or *."))
    return found


def _path_parameter(name: str) -> dict[str, Any]:
    description, example = _PATH_PARAMETERS[name]
    schema = {"type": "string", "examples": [example]}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


_KEY = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": "^[!-~]([ -~]*[!-~])?$"}
_TAG = {"type": "string", "pattern": '^("[0-9a-f]*"|[*])$'}


def _header(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _body(fields: Sequence[Field]) -> dict[str, Any]:
    schema = object_of({field.name: {**field.schema, "description": field.description} for field in fields})
    schema["required"] = [field.name for field in fields if field.required]
    if not schema["required"]:
        del schema["required"]
    return {"required": any(field.required for field in fields), "content": {JSON: {"schema": schema}}}


def _success(success: Success, operation: Operation) -> dict[str, Any]:
    headers = {name: _response_header(_HEADERS[name]) for name in success.headers}
    if operation.idempotency_key:
        headers[REPEATED.title()] = _response_header("true: this is the response to an earlier request with this key.")
    told: dict[str, Any] = {"description": success.description}
    if headers:
        told["headers"] = headers
    if success.schema is not None:
        told["content"] = {JSON: {"schema": success.schema}}
    if success.links:
        told["links"] = dict(success.links)
    return told


def _response_header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _problems(operation: Operation) -> list[HTTPStatus]:
    found = {*_ALWAYS, *operation.problems}
    if operation.right is not Right.VIEW:
        found.add(HTTPStatus.FORBIDDEN)
    if operation.body is not None:
        found |= {*_OF_BODIES}
    if operation.idempotency_key:
        found |= {*_OF_KEYS}
    return sorted(found)


def _statuses(operations: Sequence[Operation]) -> list[HTTPStatus]:
    return [HTTPStatus.INTERNAL_SERVER_ERROR, *(status for operation in operations for status in _problems(operation))]


def _name(status: HTTPStatus) -> str:
    return "".join(word.capitalize() for word in status.name.split("_"))


def _problem(status: HTTPStatus) -> dict[str, Any]:
    types = [f"{each.uri}: {each.title}." for each in problems.TYPES if each.status is status]
    headers = {
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": _response_header("How to authenticate.")},
        HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": _response_header("Seconds to wait.")},
    }
    told: dict[str, Any] = {"description": " ".join([f"{status.phrase}.", *types])}
    if status in headers:
        told["headers"] = headers[status]
    return told | {"content": {problems.CONTENT_TYPE: {"schema": ref("Problem")}}}
