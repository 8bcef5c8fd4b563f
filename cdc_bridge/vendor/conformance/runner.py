"""Runs the conformance test: sends the requests of every requirement and judges the responses.

An endpoint may ask for a pause (429, or 503 with ``Retry-After``). The daemon grants it and sends again, so this does
too: the final response is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import BridgeError
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.message import Message
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome
from cdc_bridge.transport.reach import Unreached, reach
from cdc_bridge.vendor.conformance.requests import RequestFactory
from cdc_bridge.vendor.conformance.requirements import REQUIREMENTS, Requirement
from cdc_bridge.vendor.response_advice import UNSIGNED, advice_on

_REACHED = (400, 422)

_ATTEMPTS = 3
"""Attempts of a request for as long as the endpoint asks for a pause."""

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""The daemon grants an hour; here somebody is waiting for the result."""


class Verdict(StrEnum):
    """Whether a requirement is met."""

    MET = "met"
    NOT_MET = "not met"
    SKIPPED = "skipped"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Booking:
    """What to look up in the till."""

    reservation_id: str
    content: Mapping[str, Any] | None
    """The body that the till has to have in the end; ``None``: no booking."""
    because: str
    """What was sent, in a few words."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one requirement."""

    requirement: Requirement
    verdict: Verdict
    detail: str
    slowest_seconds: float = 0.0
    """Slowest response."""
    response: str = ""
    """What the response that failed it began with, as the endpoint wrote it."""
    advice: str = ""
    """What to look at, by that response."""
    booking: Booking | None = None
    """What the till has to have if it is met."""

    @property
    def why(self) -> str:
        """Why it matters, and what to do."""
        return f"{self.requirement.why} {self.advice}".rstrip()


async def run_conformance_test(endpoint: Endpoint, requests: RequestFactory) -> AsyncIterator[Result]:
    """Test every requirement in order; skip the rest if not even a valid request is accepted.

    Args:
        endpoint: The endpoint.
        requests: Makes what is sent to it.

    Raises:
        BridgeError: The endpoint cannot be reached, a certificate file cannot be read, or the environment names a proxy
            that cannot be used.
    """
    try:
        if isinstance(reached := await reach(endpoint), Unreached):
            raise BridgeError(f"nothing was tested: {reached.reason}")
        sender = HttpTransport(replace(endpoint, keep_responses=True), may_send=lambda: True)
    except OSError as error:
        raise BridgeError(f"a certificate file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BridgeError(str(error)) from None
    accepts = True
    try:
        for number, requirement in enumerate(REQUIREMENTS):
            if not accepts:
                yield Result(requirement, Verdict.NOT_TESTED, "a valid request was not accepted")
            elif requirement.needs_secret and endpoint.secret is None:
                yield Result(requirement, Verdict.SKIPPED, "no --secret-file was given, so requests are not signed")
            elif requirement.about is not None and requirement.about not in requests.keys:
                yield Result(requirement, Verdict.SKIPPED, f"bodies have no {requirement.about}")
            else:
                result = await _run(sender, requirement, requests)
                accepts = number > 0 or result.verdict is Verdict.MET
                unsigned = "" if accepts or endpoint.secret is not None else UNSIGNED
                yield replace(result, advice=f"{result.advice} {unsigned}".strip() if number == 0 else "")
    finally:
        await sender.close()


async def _run(sender: HttpTransport, requirement: Requirement, requests: RequestFactory) -> Result:
    messages = requirement.requests(requests)
    if requirement.concurrent:
        return await _run_concurrently(sender, requirement, messages)
    attempts = []
    for message in messages[:-1]:
        attempts.append(await _send_with_pauses(sender, message))
        if not isinstance(attempts[-1].outcome, Delivered):
            return _not_met(requirement, attempts, attempts[-1], "a request before it was not accepted: ")
    attempts.append(await _send_with_pauses(sender, messages[-1]))
    outcome = attempts[-1].outcome
    if not _is_wanted(requirement, outcome):
        return _not_met(requirement, attempts, attempts[-1])
    return _result(requirement, attempts, Verdict.MET, _said(outcome), booking=_booking(requirement, messages))


async def _run_concurrently(sender: HttpTransport, requirement: Requirement, messages: Sequence[Message]) -> Result:
    attempts = await asyncio.gather(*(_send(sender, message) for message in messages))
    deferred = [number for number, attempt in enumerate(attempts) if _pause_seconds(attempt.outcome)]
    await asyncio.sleep(max((_pause_seconds(attempts[number].outcome) for number in deferred), default=0.0))
    for number in deferred:
        attempts[number] = await _send_with_pauses(sender, messages[number])
        if not isinstance(attempts[number].outcome, Delivered):
            break
    failed = [attempt for attempt in attempts if not isinstance(attempt.outcome, Delivered)]
    if failed:
        return _not_met(requirement, attempts, failed[0], f"{len(failed)} were not accepted: ")
    later = f", {len(deferred)} of them after a pause that it asked for" if deferred else ""
    return _result(requirement, attempts, Verdict.MET, f"all were accepted{later}")


async def _send_with_pauses(sender: HttpTransport, message: Message) -> Attempt:
    attempt = await _send(sender, message)
    for _ in range(_ATTEMPTS - 1):
        if not (pause_seconds := _pause_seconds(attempt.outcome)):
            break
        await asyncio.sleep(pause_seconds)
        attempt = await _send(sender, message)
    return attempt


async def _send(sender: HttpTransport, message: Message) -> Attempt:
    attempt = await sender.send(message)
    if attempt is None:  # Only a lost lease withholds a request, and there is no lease.
        raise BridgeError("the request was not sent")
    return attempt


def _is_wanted(requirement: Requirement, outcome: Outcome) -> bool:
    match requirement.wanted:
        case "accepted":
            return isinstance(outcome, Delivered)
        case "reached":
            return isinstance(outcome, Delivered) or outcome.status in _REACHED
        case "rejected":
            # A server error, or a request to try again later, is no rejection.
            return not _pause_seconds(outcome) and outcome.status is not None and 400 <= outcome.status < 500


def _pause_seconds(outcome: Outcome) -> float:
    """Return how long to pause; 0 if the endpoint asks for none."""
    if not isinstance(outcome, Failed) or outcome.fault is not Fault.OVERLOAD:
        return 0.0
    return min(max(outcome.retry_after_seconds or 0.0, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _said(outcome: Outcome) -> str:
    return f"HTTP {outcome.status}" if isinstance(outcome, Delivered) else outcome.reason


def _booking(requirement: Requirement, messages: Sequence[Message]) -> Booking | None:
    if requirement.stored is None:
        return None
    number, because = requirement.stored.request, requirement.stored.because
    content = None if number is None else orjson.loads(messages[number].body)
    return Booking(str(messages[-1].subject), content, because)


def _not_met(requirement: Requirement, attempts: Sequence[Attempt], failed: Attempt, before: str = "") -> Result:
    detail = before + _said(failed.outcome)
    response, advice = (failed.response or "").strip(), advice_on(failed.outcome)
    return _result(requirement, attempts, Verdict.NOT_MET, detail, response=response, advice=advice)


def _result(
    requirement: Requirement, attempts: Sequence[Attempt], verdict: Verdict, detail: str, **more: Any
) -> Result:
    slowest = max(attempt.duration_seconds for attempt in attempts)
    flaw = next((attempt.flaw for attempt in attempts if attempt.flaw is not None), None)
    told = f"{detail}; malformed response: it has {flaw}" if flaw else detail
    return Result(requirement, verdict, told, slowest, **more)
