from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from cdc_bridge.tasks import end, run_together


async def _forever() -> None:
    await asyncio.Event().wait()


async def _deaf_to_the_first_cancellation() -> None:
    with suppress(asyncio.CancelledError):
        await _forever()
    await _forever()


async def test_task_that_loses_a_cancellation_is_ended_nevertheless() -> None:
    task = asyncio.create_task(_deaf_to_the_first_cancellation())
    await asyncio.sleep(0)
    await end([task])
    assert task.cancelled()


async def test_error_of_a_task_that_had_ended_before_is_dropped_too(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("no")

    tasks = [asyncio.create_task(fail()), asyncio.create_task(_forever())]
    await asyncio.sleep(0)
    await end(tasks)
    tasks.clear()
    gc.collect()
    assert caplog.records == []


async def test_first_work_to_fail_ends_the_others() -> None:
    others_end = asyncio.Event()

    async def other() -> None:
        try:
            await _forever()
        finally:
            others_end.set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run_together(other(), fail())
    assert others_end.is_set()


async def test_cancelling_the_whole_ends_each_part() -> None:
    whole = asyncio.create_task(run_together(_forever(), _deaf_to_the_first_cancellation()))
    await asyncio.sleep(0)
    await end([whole])
    assert whole.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
