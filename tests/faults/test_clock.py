"""The clock of the daemon's machine is set back by an hour: what is due when, the database's clock says."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

from tests.faults.wrong_clock import SET_BACK_BY
from tests.support.answers import Answer
from tests.support.bridge import Bridges
from tests.support.databases import Database
from tests.support.load import Load
from tests.support.receiver import Call, Receiver
from tests.support.waiting import until

SCHEDULE = """
select extract(epoch from next_attempt_at - recorded_at)::float8, next_attempt_at > now() - interval '1 minute'
from cdc_bridge.delivery
where state in ('queued', 'retrying')
"""


def behind(call: Call) -> float:
    """Return by how many seconds the time that the daemon put on a call is behind ours."""
    return datetime.now(UTC).timestamp() - int(call.headers["webhook-timestamp"])


async def test_nothing_is_lost_and_the_schedule_is_kept_when_the_clock_is_set_back(
    load: Load, database: Database, receiver: Receiver, bridges: Bridges
) -> None:
    refused = list[Call]()

    def script(call: Call) -> Answer:
        if call.reservation_id == "REFUSED" and not refused:
            refused.append(call)
            return Answer(422)
        return Answer()

    receiver.script = script
    bridge = await bridges.start("tests.faults.wrong_clock")
    async with load.running():
        await load.accepted(20)
        assert behind(receiver.accepted[-1]) < SET_BACK_BY.total_seconds() / 2
        bridge.send(signal.SIGUSR1)
        await receiver.wait_for(lambda: behind(receiver.accepted[-1]) > SET_BACK_BY.total_seconds() / 2, "a wrong time")
        load.commit("insert into reservations (id, cust_id, reference, duration) values ('REFUSED', 'C', 1, 1)")
        await until(lambda: bool(database.execute(SCHEDULE)), "the refusal is recorded")
        assert behind(refused[0]) > SET_BACK_BY.total_seconds() / 2
        ((pause_seconds, in_the_future),) = database.execute(SCHEDULE)
        assert 4.5 <= pause_seconds <= 5.5  # 5 s, with jitter: both times are the database's
        assert in_the_future
        await receiver.wait_for(lambda: "REFUSED" in {call.reservation_id for call in receiver.accepted}, "the retry")
    found = await load.assert_promises_kept()
    assert found.duplicates == 0
    assert await bridge.terminate() == 0
