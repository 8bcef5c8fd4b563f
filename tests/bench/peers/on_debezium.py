"""Debezium's engine, in Python by pydbzengine: it reads the write-ahead log, a handler posts.

Followed are:

* Documentation of Debezium (https://debezium.io/documentation), "Debezium connector for PostgreSQL": ``wal_level``,
  ``pgoutput``, a slot of its own; of the advanced properties it says that their defaults rarely need to be changed. So
  it waits for up to 500 ms for more changes (``poll.interval.ms``). "Debezium Engine": offsets in a file, and that
  changes since the last flush are repeated after a crash.
* Documentation of pydbzengine (https://memiiso.github.io/pydbzengine), "Configuration Guide": offsets flushed every
  second, the new state of the row alone (``ExtractNewRecordState``); "Custom Handlers".

The slot follows no change that nobody reads, but it is there: a worker has run before writers are measured.
"""

from __future__ import annotations

from tests.bench.peers.peer import Abilities, Peer

PEER = Peer(
    key="debezium",
    name="Debezium engine (pydbzengine)",
    package="pydbzengine",
    abilities=Abilities(joins="your code", orders="yes", signs="your code", retries="your code"),
    worker=("-m", "tests.bench.peers.workers.debezium_engine"),
    remark=(
        "It needs wal_level = logical: its commits are on such a server, those without capture on one with replica. By "
        "default it waits for up to 500 ms for more changes."
    ),
    pending="select 0",
    logical_wal=True,
    java=True,
)
