"""procrastinate: a trigger defers a job, a worker posts.

Followed are, in the documentation of procrastinate (https://procrastinate.readthedocs.io):

* Discussions, "Procrastinate's usage of PostgreSQL functions and procedures": jobs are deferred by an SQL function, so
  that clients in other languages can. Its own connectors send ``procrastinate_defer_jobs_v1``; so does the trigger.
* "Ensure jobs run sequentially and in order": the lock is the reservation.
* "Execute multiple jobs at the same time": ``--concurrency``; Discussions, "Mind the size of your PostgreSQL pool":
  short jobs want as many connections as jobs run at once, and one more.
* "Define a retry strategy on a task": exponential.
* "Retry stalled jobs": the periodic task stands there as it is here, but for every tenth minute. Here it runs every
  minute, so that a measure takes less time.
"""

from __future__ import annotations

from tests.bench.peers.peer import Abilities, Peer
from tests.bench.peers.workers.posting import IN_FLIGHT

_APP = "--app=tests.bench.peers.workers.procrastinate_app.app"

PEER = Peer(
    key="procrastinate",
    name="procrastinate",
    package="procrastinate",
    abilities=Abilities(joins="your code", orders="yes", signs="your code", retries="yes"),
    set_up=[("-m", "procrastinate", _APP, "schema", "--apply")],
    trigger="""
create function public.defer_delivery() returns trigger language plpgsql as $$
begin
  perform procrastinate_defer_jobs_v1(array[
    row('deliveries', 'deliver', 0, new.id, null, jsonb_build_object('reservation_id', new.id), null)
  ]::procrastinate_job_to_defer_v1[]);
  return null;
end
$$;
create trigger capture after insert or update on public.reservations
for each row execute function public.defer_delivery();
""",
    worker=("-m", "procrastinate", _APP, "worker", f"--concurrency={IN_FLIGHT}"),
    remark="It retries the jobs of a killed worker every minute here, every tenth in its documentation.",
    pending="select count(*) from procrastinate_jobs where task_name = 'deliver' and status in ('todo', 'doing')",
)
