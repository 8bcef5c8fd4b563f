"""pgqueuer: a trigger enqueues a job, a worker posts.

Followed are, in the documentation of pgqueuer (https://pgqueuer.readthedocs.io):

* "PostgREST Integration": what SQL has to insert to enqueue a job, a row in the queue and one in the log.
* "Quick Start" and "Drivers": a consumer with asyncpg, which is recommended for workers; "Shared Resources": one HTTP
  client for all jobs; "Database-Level Retry": exponential.
* "Performance Tuning" and "Deployment Patterns": one direct connection for the queue, ``pgq autovac``, larger batches
  for short jobs, ``--max-concurrent-tasks`` at least twice the batch, ``--shutdown-on-listener-failure``.
* "Heartbeat Monitoring": jobs of a killed worker are taken again after 30 seconds, the default.
"""

from __future__ import annotations

from tests.bench.peers.peer import Abilities, Peer
from tests.bench.peers.workers.posting import IN_FLIGHT

PEER = Peer(
    key="pgqueuer",
    name="pgqueuer",
    package="pgqueuer",
    abilities=Abilities(joins="your code", orders="no", signs="your code", retries="yes"),
    set_up=[("-m", "pgqueuer", "install"), ("-m", "pgqueuer", "autovac")],
    trigger="""
create function public.enqueue_delivery() returns trigger language plpgsql as $$
begin
  with job as (
    insert into pgqueuer (priority, entrypoint, payload, status)
    values (0, 'deliver', convert_to(new.id, 'UTF8'), 'queued')
    returning id
  )
  insert into pgqueuer_log (job_id, status, entrypoint, priority) select id, 'queued', 'deliver', 0 from job;
  return null;
end
$$;
create trigger capture after insert or update on public.reservations
for each row execute function public.enqueue_delivery();
""",
    worker=(
        "-m", "pgqueuer", "run", "tests.bench.peers.workers.pgqueuer_app:main",
        "--batch-size", str(IN_FLIGHT // 2), "--max-concurrent-tasks", str(IN_FLIGHT), "--shutdown-on-listener-failure",
    ),
    pending="select count(*) from pgqueuer",
)  # fmt: skip
