"""The daemon with a death built in: ``python -m tests.faults.crash_points run``.

It wraps functions of the real daemon by their names, and sends itself SIGKILL when the point that
``CDC_BRIDGE_TEST_CRASH_POINT`` names is reached for the n-th time (``CDC_BRIDGE_TEST_CRASH_AT``). The product has no
hook for this. A name that does not exist any more raises :class:`NoSuchPoint` before the daemon starts, so that a
renamed function does not leave a test that tests nothing.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import aiohttp
import psycopg

from cdc_bridge.queries import all_queries

POINT_VARIABLE = "CDC_BRIDGE_TEST_CRASH_POINT"
NUMBER_VARIABLE = "CDC_BRIDGE_TEST_CRASH_AT"

_RECORD = "cdc_bridge.pipeline.delivery_log:DeliveryLog.record"
_WRITE = "cdc_bridge.pipeline.delivery_log_writer:DeliveryLogWriter._write_together"

When = Literal["before", "after"]
Reached = Callable[[], None]


class NoSuchPoint(Exception):
    """What a point wraps does not exist (any more)."""


@dataclass(frozen=True)
class Function:
    """Before or after a function, named as ``module:attribute``; a name imported elsewhere is that module's own."""

    when: When
    name: str

    def check(self) -> None:
        find(self.name)

    def arm(self, reached: Reached) -> None:
        owner, attribute = find(self.name)
        setattr(owner, attribute, _wrapped(getattr(owner, attribute), self.when, reached))


@dataclass(frozen=True)
class Statement:
    """Before or after a statement of queries.sql is given to psycopg, which may send it together with the next."""

    when: When
    name: str

    def check(self) -> None:
        if self.name not in all_queries():
            raise NoSuchPoint(f"queries.sql has no statement {self.name}")

    def arm(self, reached: Reached) -> None:
        original = psycopg.AsyncConnection.execute
        armed = _wrapped(original, self.when, reached)

        async def execute(connection: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            chosen = armed if query == all_queries()[self.name] else original
            return await chosen(connection, query, *arguments, **options)

        psycopg.AsyncConnection.execute = execute  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class InRecordingTransaction:
    """Before or after a step of psycopg's transactions, of those alone in which deliveries are recorded."""

    when: When
    step: Literal["__aenter__", "__aexit__"]

    def check(self) -> None:
        find(_WRITE)
        find(f"psycopg:AsyncTransaction.{self.step}")

    def arm(self, reached: Reached) -> None:
        recording = ContextVar("recording", default=False)
        owner, attribute = find(_WRITE)
        write = getattr(owner, attribute)

        async def marked(*arguments: Any, **options: Any) -> Any:
            recording.set(True)
            try:
                return await write(*arguments, **options)
            finally:
                recording.set(False)

        setattr(owner, attribute, marked)
        original = getattr(psycopg.AsyncTransaction, self.step)
        step = _wrapped(original, self.when, lambda: reached() if recording.get() else None)
        setattr(psycopg.AsyncTransaction, self.step, step)


@dataclass(frozen=True)
class Request:
    """At a signal of aiohttp's client tracing."""

    traced: str

    def check(self) -> None:
        if not hasattr(aiohttp.TraceConfig(), self.traced):
            raise NoSuchPoint(f"aiohttp does not trace {self.traced}")

    def arm(self, reached: Reached) -> None:
        trace = aiohttp.TraceConfig()

        async def on_signal(*_: object) -> None:
            reached()

        getattr(trace, self.traced).append(on_signal)
        original = aiohttp.ClientSession.__init__

        @functools.wraps(original)
        def with_trace(session: aiohttp.ClientSession, *arguments: Any, **options: Any) -> None:
            original(session, *arguments, **options | {"trace_configs": [trace]})

        aiohttp.ClientSession.__init__ = with_trace  # type: ignore[assignment, method-assign]


def around(what: str, name: str) -> dict[str, Function]:
    """Return the points before and after a function."""
    return {f"before {what}": Function("before", name), f"after {what}": Function("after", name)}


Point = Function | Statement | InRecordingTransaction | Request

_LEASE_STORE = "cdc_bridge.endpoints.lease_store:DatabaseLeaseStore"
_READER = "cdc_bridge.runtime.change_reader:ChangeReader"
_TAKING = {
    **around("a daemon is registered", f"{_LEASE_STORE}.register"),
    **around("endpoints are acquired", f"{_LEASE_STORE}.acquire"),
    **around("it is known what endpoints want", "cdc_bridge.payload.routing:Router.add"),
}
_SCHEDULE = around("it is asked what is due", "cdc_bridge.pipeline.delivery_log:DeliveryLog.seconds_until_next_due")
_DUE = {
    **around("due retries are read", "cdc_bridge.pipeline.delivery_log:DeliveryLog.due_retries"),
    **around("due retries are handed over", "cdc_bridge.pipeline.queue:DeliveryQueue.hand_over_due"),
}
_ATTEMPTS: dict[str, Point] = {
    **around("an attempt is kept", "cdc_bridge.pipeline.queue:DeliveryQueue.keep_attempt"),
    "after attempts are written": Statement("after", "keep_attempts"),
}
_MOVING = {"after the position is moved": Statement("after", "move_daemon")}
SELDOM = dict.fromkeys(_TAKING | _DUE | _MOVING | _ATTEMPTS, 1) | dict.fromkeys(_SCHEDULE, 2)
"""How often points are sure to be reached that are not reached for each change."""

POINTS: dict[str, Point] = {
    **_TAKING,
    **_SCHEDULE,
    **_DUE,
    **_ATTEMPTS,
    **around("a page is read", "cdc_bridge.capture.change_log:read_page"),
    **around("a page is routed", "cdc_bridge.payload.routing:Router.route"),
    **around("a page is handed over", "cdc_bridge.pipeline.queue:DeliveryQueue.hand_over"),
    **around("deliveries are taken", "cdc_bridge.pipeline.queue:DeliveryQueue.take"),
    **around("reservations are loaded", "cdc_bridge.payload.payload_loader:PayloadLoader.load"),
    **around("a message is composed", "cdc_bridge.pipeline.dispatcher:compose"),
    "after a message is signed": Function("after", "cdc_bridge.transport.message:sign"),
    "when a request begins": Request("on_request_start"),
    "when a connection is made": Request("on_connection_create_end"),
    "when a request's headers are written": Request("on_request_headers_sent"),
    "when a request's body is written": Request("on_request_chunk_sent"),
    "when the head of a response is read": Request("on_request_end"),
    **around("a response is judged", "cdc_bridge.transport.client:judge"),
    "after a request is sent": Function("after", "cdc_bridge.transport.client:HttpTransport.send"),
    **around("a delivery is settled", "cdc_bridge.pipeline.queue:DeliveryQueue.settle"),
    **around("a batch is taken", "cdc_bridge.pipeline.queue:DeliveryQueue.next_batch"),
    **around("the position is computed", "cdc_bridge.pipeline.recorded_position:RecordedPosition.reached"),
    "before deliveries are recorded": Function("before", _RECORD),
    "after the recording transaction has begun": InRecordingTransaction("after", "__aenter__"),
    "after nobody can end the leases": Statement("after", "hold_registration"),
    "after deliveries are written": Statement("after", "record_deliveries"),
    "after older deliveries are settled": Statement("after", "settle_older"),
    **_MOVING,
    "before the recording transaction commits": InRecordingTransaction("before", "__aexit__"),
    "after the recording transaction has committed": InRecordingTransaction("after", "__aexit__"),
    **around("recorded deliveries are forgotten", "cdc_bridge.pipeline.queue:DeliveryQueue.recorded"),
}
"""The way of a change from the change log into the delivery log."""

POINTS_OF_MANY: dict[str, Point] = {
    **around("another daemon is ended", f"{_LEASE_STORE}.end"),
    **around("endpoints are listed", f"{_LEASE_STORE}.list_changed"),
    **around("it is renewed", f"{_LEASE_STORE}.renew"),
    **around("states are reported", f"{_LEASE_STORE}.report"),
    **around("the delivery logs are asked for changes", "cdc_bridge.capture.change_log:known_changes"),
    **around("an endpoint gets its part of a page", "cdc_bridge.runtime.change_reader:_give"),
    **around("endpoints have caught up", f"{_READER}._follow"),
    **around("an endpoint falls behind", f"{_READER}._fall_behind"),
    **around("an endpoint is made to hold the position", f"{_READER}._hold"),
    **around("positions are moved", "cdc_bridge.pipeline.delivery_log_writer:DeliveryLogWriter.move"),
    "after endpoints get positions of their own": Statement("after", "move_endpoints"),
    "after endpoints get the position of the daemon": Statement("after", "follow"),
    **around("the position goes on without an endpoint", f"{_READER}.forget"),
    **around("an endpoint is told to stop", f"{_READER}.leave"),
    **around("leases are released", "cdc_bridge.endpoints.lease_store:_release"),
    "after leases are released and not committed": Statement("after", "release_leases"),
    **around("a pipeline has come to rest", "cdc_bridge.runtime.leased_endpoint:LeasedEndpoint.ended"),
}
"""What a daemon with many endpoints does to lease them, to move their positions, and to let go of them."""


def find(name: str) -> tuple[Any, str]:
    """Return what owns a function, and the function's name there.

    Raises:
        NoSuchPoint: there is none.
    """
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    try:
        owner: Any = functools.reduce(getattr, owners, import_module(module))
    except (ImportError, AttributeError) as error:
        raise NoSuchPoint(f"{name}: {error}") from None
    if not callable(getattr(owner, attribute, None)):
        raise NoSuchPoint(f"{name} is not there, or is no function")
    return owner, attribute


def _wrapped(function: Any, when: When, reached: Reached) -> Any:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*arguments: Any, **options: Any) -> Any:
            if when == "before":
                reached()
            result = await function(*arguments, **options)
            if when == "after":
                reached()
            return result

        return coroutine

    @functools.wraps(function)
    def plain(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            reached()
        result = function(*arguments, **options)
        if when == "after":
            reached()
        return result

    return plain


def last_words(point: str) -> str:
    """Return what the daemon says on standard error when it dies at a point."""
    return f"dies here: {point}\n"


def _death_at(point: str, number: int) -> Reached:
    left = number

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.write(sys.stderr.fileno(), last_words(point).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def main() -> None:
    """Arm the point and run the daemon."""
    point = os.environ[POINT_VARIABLE]
    armed = (POINTS | POINTS_OF_MANY)[point]
    armed.check()
    armed.arm(_death_at(point, int(os.environ[NUMBER_VARIABLE])))
    from cdc_bridge.cli.app import main as run_command  # noqa: PLC0415 - after the point is armed

    run_command()


if __name__ == "__main__":
    main()
