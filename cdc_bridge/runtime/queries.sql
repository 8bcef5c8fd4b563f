-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: try_heartbeat_lock
-- Marks the daemon of this number as alive for as long as this session lasts.
select pg_try_advisory_lock(52684, %(daemon_number)s)

-- name: assigned_statuses
-- Status and reason of some endpoints.
select name, status, reason from cdc_bridge.endpoint_status where endpoint_id = any (%(endpoint_ids)s) order by name

-- name: reconcile_due
-- Start of the period that an endpoint can be reconciled for, and the seconds until that is due. No row: its lease is not
-- ours any more, or its position is another cluster's.
select
  greatest(created_at, pruned_until + interval '1 hour', now() - interval '7 days'),
  extract(epoch from coalesce(reconciled_at + %(interval_seconds)s * interval '1 second', now()) - now())::float8
from cdc_bridge.endpoint
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s
  and cluster = (select system_identifier from pg_control_system())

-- name: note_reconciled
-- Records the result of a reconcile.
update cdc_bridge.endpoint
set reconciled_at = now(), reconciled_missing = %(missing)s, reconciled_stale = %(stale)s
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s

-- name: expired_secrets
-- Endpoints with a previous secret that signs no more.
select endpoint_id from cdc_bridge.endpoint where previous_secret_until <= now()

-- name: clear_expired_secrets
-- Removes the previous secrets of some endpoints, unless they were rotated again meanwhile.
update cdc_bridge.endpoint
set previous_secret = null, previous_secret_until = null
where endpoint_id = any (%(endpoint_ids)s) and previous_secret_until <= now()

-- name: prune
-- Deletes what was settled long ago, page by page, each in a transaction of its own; cannot run inside a transaction.
call cdc_bridge.prune(%(keep_days)s * interval '1 day', %(keep_dead_days)s * interval '1 day')

-- name: has_related
-- Whether there are related tables, or changes of one that was detached.
select exists (select from cdc_bridge.related_table r where r.detached_at is null) or exists (select from cdc_bridge.related_change)

-- name: changed_rows
-- Changed rows of related tables whose reservations are not all in the change log yet.
select c.related_change_id, c.related_id, c.key, c.done_up_to, r.via is null as is_child
from cdc_bridge.related_change c
join cdc_bridge.related_table r using (related_id)
where c.related_id <> all (%(left_out)s::bigint[])
order by c.related_change_id
limit %(limit)s

-- name: draw_change_numbers
-- Draws numbers from the change log's sequence.
select nextval('cdc_bridge.change_seq_seq') from generate_series(1, %(count)s::integer)

-- name: related_keys
-- The next reservations of a parent. Runs by run_isolated, and names everything with its schema.
select keys.key
from cdc_bridge.related_keys(
  %(related_id)s::pg_catalog.int8, %(key)s::pg_catalog.text, %(after)s::pg_catalog.text, %(limit)s::pg_catalog.int4
) as keys (key)

-- name: append_related
-- Appends reservations of a changed row to the change log; false: another daemon has gone on.
select cdc_bridge.append_related(
  %(id)s, %(done_up_to)s, %(reservation_ids)s::text[], %(seqs)s::bigint[], %(finished)s
)
