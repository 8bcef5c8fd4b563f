"""Whatever bytes come in place of a response: the daemon goes on, delivers, and does not grow.

Each is given once, to the first request for a reservation of its own, with one beside it that gets a good response.
That has the failed one sent again, so all is settled in the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.faults.almost_http import raw_responses
from tests.support.audit import wait_until_settled
from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.figures import Figures
from tests.support.length import chosen
from tests.support.memory import resident_bytes
from tests.support.raw_receiver import RawReceiver, RawResponse

WARM_UP_ANSWERS = 40
GROWTH_LIMIT_BYTES = 16 * 1024 * 1024
"""Beyond what it has after the warm-up. At length, a leak of a few kilobytes a response shows."""


@dataclass
class Fuzz:
    """A daemon and its endpoint, the same for all examples."""

    bridge: Bridge
    database: Database
    receiver: RawReceiver
    given: int = 0
    warm_bytes: int = 0
    most_bytes: int = 0

    async def answer_with(self, answer: RawResponse) -> None:
        """Respond so to one request, and well to one beside it."""
        self.receiver.responses[f"FUZZED-{self.given}"] = answer
        for id_ in (f"FUZZED-{self.given}", f"WELL-{self.given}"):
            self.database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (id_,))
            await self.receiver.wait_for_request_for(id_)
        self.given += 1

    def look_at_memory(self) -> None:
        resident = resident_bytes(self.bridge.pid)
        if self.given < WARM_UP_ANSWERS:
            self.warm_bytes = max(self.warm_bytes, resident)
        self.most_bytes = max(self.most_bytes, resident)


@pytest.fixture
async def fuzz(
    database: Database, raw_receiver: RawReceiver, bridges: Bridges, figures: Figures
) -> AsyncIterator[Fuzz]:
    database.execute("insert into customers (id) values ('C')")
    bridge = await bridges.start(
        CDC_BRIDGE_ENDPOINT_URL=raw_receiver.url, CDC_BRIDGE_ENDPOINT_TIMEOUT_SECONDS="1", CDC_BRIDGE_LOG_LEVEL="info"
    )
    fuzz = Fuzz(bridge, database, raw_receiver)
    yield fuzz
    await wait_until_settled(database)
    assert await bridge.terminate() == 0
    figures(f"{fuzz.given} responses; {fuzz.warm_bytes >> 20} MiB in the warm-up, {fuzz.most_bytes >> 20} MiB at most")


@pytest.mark.slow
@pytest.mark.timeout(chosen(180, 1200))
@given(answers=st.lists(raw_responses, min_size=1, max_size=8))
@settings(
    max_examples=chosen(40, 500),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # no shrinking: the daemon it takes has ended by then
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_answer_ends_the_daemon_or_makes_it_grow(fuzz: Fuzz, answers: list[RawResponse]) -> None:
    for answer in answers:
        await fuzz.answer_with(answer)
        assert fuzz.bridge.running, fuzz.bridge.text
    fuzz.look_at_memory()
    assert fuzz.most_bytes <= fuzz.warm_bytes + GROWTH_LIMIT_BYTES
