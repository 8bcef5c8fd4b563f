"""Asks everything of an endpoint, and judges its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdc_bridge.delivery.message import Message
from cdc_bridge.delivery.outcome import Accepted, Outcome, Refused
from cdc_bridge.delivery.sender import Sender
from cdc_bridge.delivery.settlement import Attempt
from cdc_bridge.errors import BridgeError
from cdc_bridge.model import Endpoint
from cdc_bridge.operations.conformance.calls import Calls
from cdc_bridge.operations.conformance.requirements import REQUIREMENTS, Requirement

_KNOWS_NO_PING = (400, 422)


class Verdict(StrEnum):
    """How a requirement is met."""

    MET = "met"
    NOT_MET = "not met"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One requirement, and how it is met."""

    requirement: Requirement
    verdict: Verdict
    detail: str
    slowest_seconds: float = 0.0
    """The longest that an answer took."""


async def try_endpoint(endpoint: Endpoint) -> AsyncIterator[Result]:
    """Ask everything of an endpoint, in order. Where not even a right call is taken, the rest is skipped.

    Raises:
        BridgeError: a certificate's file cannot be read.
    """
    try:
        sender = Sender(endpoint, may_call=lambda: True)
    except OSError as error:
        raise BridgeError(f"a certificate's file cannot be read: {error.strerror or error}") from error
    calls, taken = Calls(), True
    try:
        for number, requirement in enumerate(REQUIREMENTS):
            if not taken:
                yield Result(requirement, Verdict.SKIPPED, "a right call has to be taken first")
            elif requirement.of_signatures and endpoint.secret is None:
                yield Result(requirement, Verdict.SKIPPED, "no secret was given, so calls are not signed")
            else:
                result = await _try(sender, requirement, calls)
                taken = number > 0 or result.verdict is Verdict.MET
                yield result
    finally:
        await sender.close()


async def _try(sender: Sender, requirement: Requirement, calls: Calls) -> Result:
    messages = requirement.calls(calls)
    if requirement.at_once:
        attempts = await asyncio.gather(*(_send(sender, message) for message in messages))
        wrong = [attempt for attempt in attempts if not isinstance(attempt.outcome, Accepted)]
        detail = f"{len(wrong)} were not accepted: {_said(wrong[0].outcome)}" if wrong else "all were accepted"
        return _result(requirement, attempts, detail, met=not wrong)
    attempts = []
    for message in messages[:-1]:
        attempts.append(await _send(sender, message))
        if not isinstance(attempts[-1].outcome, Accepted):
            return _result(requirement, attempts, f"the call before was not accepted: {_said(attempts[-1].outcome)}")
    attempts.append(await _send(sender, messages[-1]))
    outcome = attempts[-1].outcome
    return _result(requirement, attempts, _said(outcome), met=_is_wanted(requirement, outcome))


async def _send(sender: Sender, message: Message) -> Attempt:
    attempt = await sender.send(message)
    if attempt is None:  # Only a lease withholds a call, and there is none.
        raise BridgeError("the call was not made")
    return attempt


def _is_wanted(requirement: Requirement, outcome: Outcome) -> bool:
    match requirement.wanted:
        case "accepted":
            return isinstance(outcome, Accepted)
        case "reached":
            return isinstance(outcome, Accepted) or outcome.status in _KNOWS_NO_PING
        case "refused":
            # A server that breaks over a forgery has not refused it.
            return isinstance(outcome, Refused) and outcome.status is not None and 400 <= outcome.status < 500


def _said(outcome: Outcome) -> str:
    return f"HTTP {outcome.status}" if isinstance(outcome, Accepted) else outcome.reason


def _result(requirement: Requirement, attempts: Sequence[Attempt], detail: str, *, met: bool = False) -> Result:
    slowest = max(attempt.duration_seconds for attempt in attempts)
    return Result(requirement, Verdict.MET if met else Verdict.NOT_MET, detail, slowest)
