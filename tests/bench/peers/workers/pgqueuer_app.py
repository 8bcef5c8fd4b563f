"""pgqueuer's consumer; ``pgq run`` runs it. See ``on_pgqueuer.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.executors import DatabaseRetryEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.models import Context, Job

from tests.bench.peers.workers.posting import post

_ROW = "select to_json(r)::text from public.reservations r where id = $1"


def _retried(parameters: EntrypointExecutorParameters) -> DatabaseRetryEntrypointExecutor:
    return DatabaseRetryEntrypointExecutor(parameters=parameters, max_attempts=20, max_delay=timedelta(days=1))


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    """Make the consumer."""
    queue = await asyncpg.connect()
    async with asyncpg.create_pool(min_size=4, max_size=10) as rows:
        pgq = PgQueuer.from_asyncpg_connection(queue, resources={"rows": rows})

        @pgq.entrypoint("deliver", executor_factory=_retried)
        async def deliver(job: Job, context: Context) -> None:
            assert job.payload is not None
            reservation_id = job.payload.decode()
            await post(reservation_id, await context.resources["rows"].fetchval(_ROW, reservation_id))

        yield pgq
