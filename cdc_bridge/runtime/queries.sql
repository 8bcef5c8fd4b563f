-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: try_heartbeat_lock
-- Marks a daemon as live for as long as this session lasts.
select pg_try_advisory_lock(52684, %(daemon_id)s)

-- name: assigned_statuses
-- Status and reason of some endpoints.
select name, status, reason from cdc_bridge.endpoint_status where endpoint_id = any (%(endpoint_ids)s) order by name

-- name: assigned_by_status
-- How many of some endpoints have which status, the most frequent first.
select status, count(*)
from cdc_bridge.endpoint_status
where endpoint_id = any (%(endpoint_ids)s)
group by status
order by count(*) desc, status

-- name: catalog_writes
-- A number that is another one after each change of the database's catalogs, or of what the DBA's functions note, as soon as
-- the session that made it has reported it: after ten seconds at the latest; null: nobody counts. And whether changed rows
-- of related tables have waited for a minute.
select
  case when current_setting('track_counts')::boolean then (
    select sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid))::bigint
    from pg_class c
    where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r'
        and c.relname not in ('pg_statistic', 'pg_largeobject', 'pg_largeobject_metadata')
      or c.oid in (
        'cdc_bridge.payload_definition'::regclass, 'cdc_bridge.captured_table'::regclass, 'cdc_bridge.related_table'::regclass
      )
  ) end,
  exists (select from cdc_bridge.related_change c where c.changed_at < now() - interval '1 minute')

-- name: reconcile_due
-- The endpoints of a daemon whose last reconcile is longest ago, if they are due, each with the start of the period that it
-- can be reconciled for. Not those that are left out, or whose position is another cluster's.
select endpoint_id, fencing_token, greatest(created_at, pruned_until + interval '1 hour', now() - interval '7 days')
from cdc_bridge.endpoint
where daemon_id = %(daemon_id)s and endpoint_id <> all (%(left_out)s::bigint[])
  and cluster = (select system_identifier from pg_control_system())
  and coalesce(reconciled_at + %(interval_seconds)s * interval '1 second' <= now(), true)
order by reconciled_at nulls first, endpoint_id
limit %(limit)s

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

-- name: prune_idempotency_keys
-- Deletes the responses of the HTTP API that have been kept for their 24 hours.
delete from cdc_bridge.idempotency_key where recorded_at < now() - interval '24 hours'

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
