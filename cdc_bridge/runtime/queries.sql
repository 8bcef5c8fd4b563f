-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a percent sign of SQL's own is written twice.

-- name: try_heartbeat_lock
-- Says that the daemon of this number lives, for as long as this session does.
select pg_try_advisory_lock(52684, %(daemon_number)s)

-- name: reconcile_due
-- From when on an endpoint can be compared with e-Res's rows, and in how many seconds that is due. No row: it is not ours
-- any more, or its position is of another cluster.
select
  greatest(created_at, pruned_until + interval '1 hour', now() - interval '7 days'),
  extract(epoch from coalesce(reconciled_at + %(interval_seconds)s * interval '1 second', now()) - now())::float8
from cdc_bridge.endpoint
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s
  and cluster = (select system_identifier from pg_control_system())

-- name: note_reconciled
-- What the comparison of an endpoint with e-Res's rows has found.
update cdc_bridge.endpoint
set reconciled_at = now(), reconciled_missing = %(missing)s, reconciled_stale = %(stale)s
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s

-- name: prune
-- Deletes what was settled long ago, page by page, each in a transaction of its own; not inside a transaction.
call cdc_bridge.prune(%(keep_days)s * interval '1 day', %(keep_dead_days)s * interval '1 day')
