"""Reading what the daemon serves."""

from __future__ import annotations

import asyncio
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import PATIENCE_SECONDS


async def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Return status and text."""

    def read() -> tuple[int, str]:
        try:
            with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=15) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(read)


async def figures(port: int) -> dict[tuple[str, ...], float]:
    """Return all metrics by name and label values."""
    _, text = await get(port, "/metrics")
    families = list(text_string_to_metric_families(text))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def until_told(port: int, status: int, *words: str) -> str:
    """Wait until /readyz answers so, with all of the words; return its text."""
    answer = (0, "")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while answer[0] != status or not all(word in answer[1] for word in words):
                answer = await get(port, "/readyz")
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"/readyz did not answer {status} with {words}, but {answer}")
    return answer[1]
