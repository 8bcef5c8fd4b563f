"""What the daemon's event loop logs of its own accord."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from cdc_bridge.event_loop import new_event_loop


class Connection(asyncio.Transport):
    """A connection that was closed, or not."""

    def __init__(self, *, closed: bool) -> None:
        super().__init__()
        self._closed = closed

    def is_closing(self) -> bool:
        return self._closed


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[..., bool]:
    def is_logged(error: Exception, transport: asyncio.Transport | None) -> bool:
        context = {"message": "Fatal error on SSL protocol", "exception": error, "transport": transport}
        loop = new_event_loop()
        try:
            with caplog.at_level(logging.ERROR):
                caplog.clear()
                loop.call_exception_handler({name: value for name, value in context.items() if value is not None})
        finally:
            loop.close()
        return bool(caplog.records)

    return is_logged


def test_connection_that_was_closed_already_is_not_reported(logged: Callable[..., bool]) -> None:
    assert not logged(RuntimeError("the handler is closed"), Connection(closed=True))


@pytest.mark.parametrize(
    ("error", "transport"),
    [
        (RuntimeError("the handler is closed"), Connection(closed=False)),
        (RuntimeError("a fault of ours"), None),
        (ValueError("another fault"), Connection(closed=True)),
    ],
)
def test_everything_else_is_reported(
    error: Exception, transport: asyncio.Transport | None, logged: Callable[..., bool]
) -> None:
    assert logged(error, transport)
