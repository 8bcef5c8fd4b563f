"""procrastinate's tasks; ``procrastinate worker`` runs them. See ``on_procrastinate.py``."""

from __future__ import annotations

from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy
from psycopg_pool import AsyncConnectionPool

from tests.bench.peers.workers.posting import IN_FLIGHT, post

_ROW = "select to_json(r)::text from public.reservations r where id = %s"

app = App(connector=PsycopgConnector(max_size=IN_FLIGHT + 1))
_rows = AsyncConnectionPool(open=False)


@app.task(name="deliver", queue="deliveries", retry=RetryStrategy(max_attempts=10, exponential_wait=5))
async def deliver(reservation_id: str) -> None:
    """Post one reservation."""
    await _rows.open()
    async with _rows.connection() as connection:
        cursor = await connection.execute(_ROW, [reservation_id])
        ((body,),) = await cursor.fetchall()
    await post(reservation_id, body)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(_context: JobContext, timestamp: int) -> None:
    """Take the jobs of killed workers again."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)
