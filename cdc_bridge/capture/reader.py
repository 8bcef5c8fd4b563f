"""One reader of the change log, as the listener sees and wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

ReaderState = Literal["reading", "idle", "blocked"]


class Reader:
    """A reader's side of the wake-up.

    It is *reading* while it works towards the end of the log, *idle* once it is there, and *blocked* while it cannot
    take more changes, whatever is committed. The listener sleeps only if a reader is idle and none is reading.
    """

    def __init__(self, readers_changed: asyncio.Event) -> None:
        self._readers_changed = readers_changed
        self._woken = asyncio.Event()
        self.state: ReaderState = "reading"
        self.found_changes = False

    def _enter(self, state: ReaderState) -> None:
        self.state = state
        self._readers_changed.set()

    def found(self) -> None:
        """Note that there was something to read, so there may be more."""
        self.found_changes = True
        self._readers_changed.set()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Mark a time in which it cannot take more changes; afterwards it reads again."""
        self._enter("blocked")
        yield
        self._enter("reading")

    async def until_woken(self) -> None:
        """Wait at the end of the log until there may be more."""
        self._woken.clear()
        self._enter("idle")
        await self._woken.wait()

    def wake(self) -> None:
        """Have an idle reader read again."""
        self.found_changes = False
        if self.state == "idle":
            self._enter("reading")
            self._woken.set()
