"""The clock of the daemon's machine is set back by an hour: what is due when, the database's clock says."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

from tests.faults.wrong_clock import SET_BACK_BY
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.load import Load
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.waiting import until

SCHEDULE = """
select extract(epoch from next_attempt_at - recorded_at)::float8, next_attempt_at > now() - interval '1 minute'
from cdc_bridge.delivery
where state in ('queued', 'retrying')
"""


def behind(request: ReceivedRequest) -> float:
    """Return by how many seconds the time that the daemon put on a call is behind ours."""
    return datetime.now(UTC).timestamp() - int(request.headers["webhook-timestamp"])


async def test_nothing_is_lost_and_the_schedule_is_kept_when_the_clock_is_set_back(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    refused = list[ReceivedRequest]()

    def script(request: ReceivedRequest) -> Response:
        if request.reservation_id == "REFUSED" and not refused:
            refused.append(request)
            return Response(422)
        return Response()

    receiver.script = script
    bridge = await bridges.start("tests.faults.wrong_clock")
    async with load.running():
        await load.delivered(20)
        assert behind(receiver.delivered[-1]) < SET_BACK_BY.total_seconds() / 2
        bridge.send(signal.SIGUSR1)
        await receiver.wait_for(
            lambda: behind(receiver.delivered[-1]) > SET_BACK_BY.total_seconds() / 2, "a wrong time"
        )
        load.commit("insert into reservations (id, cust_id, reference, duration) values ('REFUSED', 'C', 1, 1)")
        await until(lambda: bool(database.execute(SCHEDULE)), "the refusal is recorded")
        assert behind(refused[0]) > SET_BACK_BY.total_seconds() / 2
        ((pause_seconds, in_the_future),) = database.execute(SCHEDULE)
        assert 4.5 <= pause_seconds <= 5.5  # 5 s, with jitter: both times are the database's
        assert in_the_future
        await receiver.wait_for(
            lambda: "REFUSED" in {request.reservation_id for request in receiver.delivered}, "the retry"
        )
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0
