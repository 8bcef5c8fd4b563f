"""An event loop in which waiting takes no time."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

_BEGINNING = 1000.0
_LONGEST_TEST_SECONDS = 10 * 24 * 3600.0


class _Selector(selectors.DefaultSelector):
    """Passes the time up to the next timer at once, instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = _BEGINNING

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and nothing can happen any more")
        self.now += max(timeout, 0.0)
        if self.now > _BEGINNING + _LONGEST_TEST_SECONDS:
            raise AssertionError("what is waited for did not come in ten days")
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test without I/O in which an hour passes as soon as all wait for it."""

    @functools.wraps(test)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(test(*arguments, **options))

    return run
