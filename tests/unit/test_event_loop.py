"""What the daemon's event loop logs of its own accord."""

from __future__ import annotations

import asyncio
import logging

import pytest
import uvloop

from cdc_bridge.event_loop import new_event_loop


def write_when_closed() -> RuntimeError:
    """Return what uvloop raises when something is written to a connection that was closed."""

    async def write() -> RuntimeError:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(RuntimeError) as raised:
            transport.write(b"x")
        return raised.value

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(write())


def is_logged(error: Exception, caplog: pytest.LogCaptureFixture, of: str = "Fatal error on SSL protocol") -> bool:
    loop = new_event_loop()
    try:
        with caplog.at_level(logging.ERROR):
            loop.call_exception_handler({"message": of, "exception": error})
    finally:
        loop.close()
    return bool(caplog.records)


def test_connection_that_was_closed_already_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert not is_logged(write_when_closed(), caplog)


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), ValueError("the handler is closed")])
def test_everything_else_is_reported(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert is_logged(error, caplog)


def test_task_of_ours_that_writes_to_a_closed_connection_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert is_logged(write_when_closed(), caplog, of="Task exception was never retrieved")
