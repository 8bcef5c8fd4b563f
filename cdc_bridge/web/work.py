"""What takes long and was asked for on the dashboard: it goes on after the response, and its page shows how far it is.

One at a time for an endpoint. If the daemon stops meanwhile, what is queued stays queued, and the rest can be asked for
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from cdc_bridge.errors import BridgeError, Conflict
from cdc_bridge.tasks import end

_log = structlog.get_logger(__name__)

_KEPT_SECONDS = 3600.0
"""For which the result of a work that has ended is shown."""


@dataclass(slots=True, eq=False)
class Work:
    """A work that is under way, or has ended lately."""

    title: str
    progress: Callable[[], str]
    """Says how far it is."""
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime | None = None
    problem: str = ""
    """Why it did not come to its end; empty: it did, or goes on."""
    task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None


class Works:
    """The works of all endpoints, by the endpoint's name."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}

    def of(self, endpoint: str) -> Work | None:
        """Return the work of an endpoint that is under way or has ended lately."""
        work = self._works.get(endpoint)
        ended_at = None if work is None else work.ended_at
        if ended_at is not None and (datetime.now(UTC) - ended_at).total_seconds() > _KEPT_SECONDS:
            del self._works[endpoint]
            return None
        return work

    def start(
        self,
        endpoint: str,
        title: str,
        work: Callable[[], Coroutine[None, None, None]],
        progress: Callable[[], str],
        on_end: Callable[[Work], None],
    ) -> None:
        """Begin a work.

        Args:
            endpoint: Name of the endpoint that it is for.
            title: For people.
            work: Does it.
            progress: Says how far it is.
            on_end: Called when it has ended, however.

        Raises:
            Conflict: Another one is under way for the endpoint.
        """
        before = self.of(endpoint)
        if before is not None and before.under_way:
            raise Conflict(f"{before.title} is under way for {endpoint}", "Wait until it has ended, or stop it.")
        begun = self._works[endpoint] = Work(title, progress)
        begun.task = asyncio.create_task(_run(begun, work, on_end))

    def stop(self, endpoint: str) -> bool:
        """Have the work of an endpoint end; return whether there was one."""
        work = self.of(endpoint)
        if work is None or work.task is None or not work.under_way:
            return False
        work.task.cancel()
        return True

    async def close(self) -> None:
        """End all."""
        await end(work.task for work in self._works.values() if work.task is not None)


async def _run(work: Work, do: Callable[[], Coroutine[None, None, None]], on_end: Callable[[Work], None]) -> None:
    try:
        await do()
    except BridgeError as error:
        work.problem = error.problem
    except asyncio.CancelledError:
        work.problem = "stopped; what is queued by now is delivered"
    except Exception:  # noqa: BLE001 - whatever it is, the daemon goes on
        work.problem = "internal error; see the log"
        _log.exception("dashboard work crashed", what=work.title)
    finally:
        work.ended_at = datetime.now(UTC)
        on_end(work)
