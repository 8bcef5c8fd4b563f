"""What is usually written first: a row trigger with NOTIFY, a LISTEN, and a POST for each notification."""

from __future__ import annotations

from tests.bench.peers.peer import Abilities, Peer

PEER = Peer(
    key="naive",
    name="row trigger, NOTIFY, aiohttp",
    package=None,
    abilities=Abilities(joins="your code", orders="no", signs="your code", retries="no"),
    capture="naive",
    worker=("-m", "tests.bench.peers.workers.naive"),
    remark="A change that is committed while it does not listen is never posted.",
    pending="select 0",
    keeps_backlog=False,
)
