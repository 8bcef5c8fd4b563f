"""Progress of commands that may take long: a bar on a terminal, and an end by Ctrl-C at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from cdc_bridge.console import print_line
from cdc_bridge.displays import Bar, bar
from cdc_bridge.tasks import run_together


class ProgressBar:
    """A bar on standard error if that is a terminal; what the work waits for is printed in any case."""

    def __init__(self, drawn: Bar | None) -> None:
        """Start at nothing done.

        Args:
            drawn: The bar; ``None`` draws none.
        """
        self._drawn = drawn
        self._waiting_for: str | None = None

    def show(self, done: int, total: int, note: str = "", waiting_for: str | None = None) -> None:
        """Update the bar.

        Args:
            done: Items done.
            total: Items in all.
            note: Text behind the bar.
            waiting_for: What keeps the work from going on now; printed once, on a line of its own.
        """
        if waiting_for is not None and waiting_for != self._waiting_for:
            self._waiting_for = waiting_for
            self._print(f"Waiting for {waiting_for}.")
        if self._drawn is not None:
            self._drawn.update(done, total, note + ("" if waiting_for is None else ", waiting"))

    def _print(self, text: str) -> None:
        if self._drawn is None:
            print_line(text, err=True)
        else:
            self._drawn.print_above(text)


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressBar]:
    """Show a bar while the block runs."""
    with bar(title) as drawn:
        yield ProgressBar(drawn)


def run_interruptibly(work: Coroutine[Any, Any, None], done_so_far: Callable[[], str]) -> None:
    """Run to the end or to Ctrl-C; what was committed by then stays, and is printed.

    Args:
        work: The coroutine to run.
        done_so_far: Says what was committed.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, and everything has ended.
    """
    try:
        asyncio.run(run_together(work))
    except KeyboardInterrupt:
        print_line(f"Interrupted. {done_so_far()}", err=True)
        raise


def count_reservations(number: int) -> str:
    """Return a number of reservations, in words."""
    return f"{number:,} reservation" + ("" if number == 1 else "s")
