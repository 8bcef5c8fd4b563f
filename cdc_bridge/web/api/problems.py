"""Problem details (RFC 9457): the form of every error of the API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from cdc_bridge.endpoints.admin import RevisionDiffers
from cdc_bridge.endpoints.option_input import SecretsForNewHostMissing
from cdc_bridge.endpoints.options import OPTIONS
from cdc_bridge.errors import (
    BridgeError,
    Conflict,
    DatabaseUnavailable,
    Fault,
    FaultyInput,
    InstallationError,
    NotFound,
    WrongUsage,
)
from cdc_bridge.web.api.json_text import json_of

CONTENT_TYPE = "application/problem+json"
_PREFIX = "urn:problem-type:cdc-bridge:"
_RETRY_AFTER_SECONDS = 5
_MOST_FAULTS = 50
_FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem that programs can tell from others."""

    name: str
    status: HTTPStatus
    title: str

    @property
    def uri(self) -> str:
        """The problem's type."""
        return f"{_PREFIX}{self.name}"


INVALID_INPUT = ProblemType("invalid-input", HTTPStatus.BAD_REQUEST, "Invalid input")
NOT_FOUND = ProblemType("not-found", HTTPStatus.NOT_FOUND, "Not found")
CONFLICT = ProblemType("conflict", HTTPStatus.CONFLICT, "Conflict with the present state")
REVISION_DIFFERS = ProblemType("revision-differs", HTTPStatus.PRECONDITION_FAILED, "Changed by somebody else")
KEY_IN_USE = ProblemType("key-in-use", HTTPStatus.CONFLICT, "First request with this idempotency key under way")
KEY_REUSED = ProblemType("key-reused", HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency key of another request")
SECRET_REPLACED = ProblemType("secret-replaced", HTTPStatus.CONFLICT, "Secret of the first response replaced since")
DATABASE_UNAVAILABLE = ProblemType("database-unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "Database unavailable")
BUSY = ProblemType("busy", HTTPStatus.SERVICE_UNAVAILABLE, "Too many tests and replays under way")

TYPES = (
    INVALID_INPUT, NOT_FOUND, CONFLICT, REVISION_DIFFERS, KEY_IN_USE, KEY_REUSED, SECRET_REPLACED, DATABASE_UNAVAILABLE,
    BUSY,
)  # fmt: skip


_PASSING = {KEY_IN_USE, DATABASE_UNAVAILABLE, BUSY}
"""Those that may be over in a moment."""


class ApiProblem(Exception):
    """A request cannot be carried out, for a reason that only the API knows."""

    def __init__(self, type_: ProblemType, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.type = type_
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Problem:
    """A response that reports a problem."""

    status: HTTPStatus
    detail: str
    type: str = "about:blank"
    title: str = ""
    remedy: str = ""
    faults: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Return the response."""
        body: dict[str, Any] = {
            "type": self.type,
            "title": self.title or self.status.phrase,
            "status": int(self.status),
            "detail": self.detail or self.status.phrase,
        }
        if self.remedy:
            body["remedy"] = self.remedy
        if self.faults:
            body["errors"] = [_as_json(fault) for fault in self.faults[:_MOST_FAULTS]]
        return web.Response(
            status=self.status, body=json_of(body).encode(), headers={**self.headers, "content-type": CONTENT_TYPE}
        )


def _as_json(fault: Fault) -> dict[str, str]:
    told = {"field": fault.name, "detail": f"{fault.name} {worded(fault.problem)}"}
    return told | ({"remedy": worded(fault.remedy)} if fault.remedy else {})


def problem_of(error: Exception) -> Problem | None:
    """Return the problem that an error is; ``None``: nobody foresaw it."""
    if isinstance(error, ApiProblem):
        return _problem(error.type, str(error), error.remedy)
    if not isinstance(error, BridgeError):
        return None
    type_ = next(type_ for kind, type_ in _BY_ERROR if isinstance(error, kind))
    if type_ is not INVALID_INPUT:
        return _problem(type_, _sentence(error.problem), error.remedy)
    match error:
        case FaultyInput():
            names = ", ".join(dict.fromkeys(fault.name for fault in error.faults[:_MOST_FAULTS]))
            return _problem(type_, f"These fields cannot be used: {names}.", faults=error.faults)
        case SecretsForNewHostMissing():
            remedy = "Give headers, and new_secret or secret; to send the same to the new server: keep_headers."
            fault = Fault("url", "", error.problem.removeprefix("URL "), remedy)
            return _problem(type_, "These fields cannot be used: url.", faults=[fault])
        case _:
            return _problem(type_, _sentence(error.problem))


_BY_ERROR: Sequence[tuple[type[BridgeError], ProblemType]] = (
    (WrongUsage, INVALID_INPUT),
    (NotFound, NOT_FOUND),
    (RevisionDiffers, REVISION_DIFFERS),
    (Conflict, CONFLICT),
    (DatabaseUnavailable, DATABASE_UNAVAILABLE),
    (InstallationError, DATABASE_UNAVAILABLE),
    (BridgeError, CONFLICT),
)
"""The first that an error is an instance of decides."""


def _problem(type_: ProblemType, detail: str, remedy: str = "", *, faults: Sequence[Fault] = ()) -> Problem:
    headers = {"retry-after": str(_RETRY_AFTER_SECONDS)} if type_ in _PASSING else {}
    return Problem(type_.status, detail, type_.uri, type_.title, remedy, faults, headers)


def worded(text: str) -> str:
    """Return a text of the command line with the API's names in place of flags."""
    return _FLAG.sub(lambda flag: _NAMES.get(flag[1], flag[1].replace("-", "_")), text)


def _sentence(problem: str) -> str:
    text = worded(problem).removesuffix(".")
    return f"{text[:1].upper()}{text[1:]}."


_NAMES = {option.flag.removeprefix("--"): option.name for option in OPTIONS.values()} | {"secret-file": "secret"}
"""Names by flag."""
