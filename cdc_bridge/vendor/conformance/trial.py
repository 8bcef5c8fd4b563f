"""Asks everything of an endpoint, and judges its answers.

An endpoint may ask for a pause (429, or 503 with ``Retry-After``). The daemon grants it and calls again, so it is
granted here, too: what is judged is the answer that comes in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdc_bridge.endpoints.options import Endpoint
from cdc_bridge.errors import BridgeError
from cdc_bridge.transport.client import Sender
from cdc_bridge.transport.message import Message
from cdc_bridge.transport.outcome import Attempt, Delivered, Failed, Fault, Outcome
from cdc_bridge.vendor.conformance.requests import Calls
from cdc_bridge.vendor.conformance.requirements import REQUIREMENTS, Requirement

_KNOWS_NO_PING = (400, 422)

_TRIES = 3
"""So often a call is made while a pause is asked for."""

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""The daemon grants an hour. Here somebody is waiting for the result."""


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
        return await _try_at_once(sender, requirement, messages)
    attempts = []
    for message in messages[:-1]:
        attempts.append(await _send_patiently(sender, message))
        if not isinstance(attempts[-1].outcome, Delivered):
            return _result(requirement, attempts, f"the call before was not accepted: {_said(attempts[-1].outcome)}")
    attempts.append(await _send_patiently(sender, messages[-1]))
    outcome = attempts[-1].outcome
    return _result(requirement, attempts, _said(outcome), met=_is_wanted(requirement, outcome))


async def _try_at_once(sender: Sender, requirement: Requirement, messages: Sequence[Message]) -> Result:
    attempts = await asyncio.gather(*(_send(sender, message) for message in messages))
    put_off = [number for number, attempt in enumerate(attempts) if _pause_seconds(attempt.outcome)]
    await asyncio.sleep(max((_pause_seconds(attempts[number].outcome) for number in put_off), default=0.0))
    for number in put_off:
        attempts[number] = await _send_patiently(sender, messages[number])
        if not isinstance(attempts[number].outcome, Delivered):
            break
    wrong = [attempt for attempt in attempts if not isinstance(attempt.outcome, Delivered)]
    if wrong:
        return _result(requirement, attempts, f"{len(wrong)} were not accepted: {_said(wrong[0].outcome)}")
    later = f", {len(put_off)} of them after a pause that it asked for" if put_off else ""
    return _result(requirement, attempts, f"all were accepted{later}", met=True)


async def _send_patiently(sender: Sender, message: Message) -> Attempt:
    attempt = await _send(sender, message)
    for _ in range(_TRIES - 1):
        if not (pause_seconds := _pause_seconds(attempt.outcome)):
            break
        await asyncio.sleep(pause_seconds)
        attempt = await _send(sender, message)
    return attempt


async def _send(sender: Sender, message: Message) -> Attempt:
    attempt = await sender.send(message)
    if attempt is None:  # Only a lease withholds a call, and there is none.
        raise BridgeError("the call was not made")
    return attempt


def _is_wanted(requirement: Requirement, outcome: Outcome) -> bool:
    match requirement.wanted:
        case "accepted":
            return isinstance(outcome, Delivered)
        case "reached":
            return isinstance(outcome, Delivered) or outcome.status in _KNOWS_NO_PING
        case "refused":
            # A server that breaks over a forgery, or puts it off, has not refused it.
            return not _pause_seconds(outcome) and outcome.status is not None and 400 <= outcome.status < 500


def _pause_seconds(outcome: Outcome) -> float:
    """Return how long a pause to grant; 0: none is asked for."""
    if not isinstance(outcome, Failed) or outcome.fault is not Fault.OVERLOAD:
        return 0.0
    return min(max(outcome.retry_after_seconds or 0.0, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


def _said(outcome: Outcome) -> str:
    return f"HTTP {outcome.status}" if isinstance(outcome, Delivered) else outcome.reason


def _result(requirement: Requirement, attempts: Sequence[Attempt], detail: str, *, met: bool = False) -> Result:
    slowest = max(attempt.duration_seconds for attempt in attempts)
    return Result(requirement, Verdict.MET if met else Verdict.NOT_MET, detail, slowest)
