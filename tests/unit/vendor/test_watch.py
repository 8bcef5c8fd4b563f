"""What holds every reservation that a test receives to the schema."""

from __future__ import annotations

import ssl

import aiohttp
import orjson
import pytest

from cdc_bridge.vendor.contract import example
from tests.support import contract
from tests.support.certificates import Certificates
from tests.support.contract import Watch
from tests.support.receiver import Receiver

GOOD, BAD = (orjson.dumps(example() | {"cancelled": value}) for value in ("T", "yes"))


def test_first_ones_are_all_looked_at_and_later_ones_are_a_sample() -> None:
    watch = Watch(departs=False)
    watch.look_at(GOOD)
    assert watch.violations == []
    for _ in range(199):
        watch.look_at(BAD)
    assert len(watch.violations) == 199
    for _ in range(1000):
        watch.look_at(BAD)
    assert len(watch.violations) == 199 + 20


def test_test_that_departs_on_purpose_is_left_alone() -> None:
    watch = Watch(departs=True)
    watch.look_at(BAD)
    assert watch.violations == []


@pytest.mark.parametrize(("type_", "found"), [("reservation.created", 1), ("cdc-bridge.test", 0)])
async def test_receiver_has_its_reservations_looked_at(
    type_: str, found: int, receiver: Receiver, certificates: Certificates
) -> None:
    tls = ssl.create_default_context(cafile=certificates.ca_file)
    async with aiohttp.ClientSession(headers={"ce-type": type_}) as session:
        for body in (GOOD, BAD):
            await (await session.post(receiver.url, data=body, ssl=tls)).read()
    assert len(contract._watch.violations) == found
    contract._watch.violations.clear()  # else this test would fail, too
