"""What an opened pipeline leaves behind once it is closed."""

from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.capture.listener import Listener
from cdc_bridge.database import Database
from cdc_bridge.endpoints.lease import Lease
from cdc_bridge.endpoints.lease_store import NewLease
from cdc_bridge.model import EndpointId
from cdc_bridge.payload.reservations import SuspectReservations
from cdc_bridge.pipeline.assembly import open_pipeline
from cdc_bridge.tasks import end
from cdc_bridge.transport.places import Places
from tests.unit.pipeline.scripted import FENCING_TOKEN, HISTORY, position
from tests.unit.runtime.scripted import SERVER, TILL


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
async def test_closed_pipeline_does_not_keep_the_listener_from_sleeping(error: type[Exception] | None) -> None:
    database = Database("postgresql:///nobody-connects")
    listener = Listener(database, use_notify=True, poll_interval_seconds=1.0)
    idle = asyncio.create_task(listener.reader().until_woken())
    await asyncio.sleep(0)
    assert listener._all_idle()
    try:
        async with open_pipeline(
            database,
            listener,
            TILL,
            NewLease(Lease(EndpointId(1), FENCING_TOKEN, SERVER), position(0), HISTORY, None),
            lambda: None,
            source="/tests",
            page_size=100,
            max_body_bytes=1_000_000,
            suspects={EndpointId(1): SuspectReservations()},
            places=Places(1024),
            payload_invalid=lambda *_: None,
        ):
            assert not listener._all_idle()
            if error is not None:
                raise error
    except ZeroDivisionError:
        pass
    assert listener._all_idle()
    await end([idle])
