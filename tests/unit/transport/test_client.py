"""Whether a request may be sent is asked when its body is about to be written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cdc_bridge.model import Change, Operation, ReservationId, Seq
from cdc_bridge.transport.client import HttpTransport
from cdc_bridge.transport.message import compose
from cdc_bridge.transport.outcome import Delivered
from tests.support.certificates import Certificates
from tests.support.receiver import Receiver
from tests.unit.runtime.scripted import TILL

CHANGE = Change(Seq(1), ReservationId("R"), Operation.CREATED, datetime.now(UTC))
MESSAGE = compose(CHANGE, "R", "/tests", b'{"id":"R"}')


@pytest.mark.departs_from_contract("its body is a short one, not from a database")
async def test_request_is_withheld_when_the_lease_ends_while_it_connects(
    receiver: Receiver, certificates: Certificates
) -> None:
    may_send = False
    transport = HttpTransport(replace(TILL, url=receiver.url, ca_file=certificates.ca_file), lambda: may_send)
    try:
        assert await transport.send(MESSAGE) is None
        assert receiver.requests == []
        may_send = True
        attempt = await transport.send(MESSAGE)
    finally:
        await transport.close()
    assert attempt is not None
    assert attempt.outcome == Delivered(200)
    assert [request.body for request in receiver.requests] == [MESSAGE.body]
