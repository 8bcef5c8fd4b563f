-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: move_position
-- All changes up to this position are in the delivery log or skipped. No row: another daemon has acquired the lease.
update cdc_bridge.endpoint
set
  position = %(position)s::pg_snapshot, place_xid = %(place_xid)s::text::xid8, place_seq = %(place_seq)s,
  skipped_deleted = skipped_deleted + %(skipped_deleted)s, skipped_filtered = skipped_filtered + %(skipped_filtered)s,
  skipped_event = skipped_event + %(skipped_event)s, skipped_unchanged = skipped_unchanged + %(skipped_unchanged)s
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s
  and tableoid = %(endpoint_table)s  -- A restored dump may have the same number.

-- name: record_deliveries
-- Writes the states of deliveries, if the lease is still ours; repeating it changes nothing. One that is skipped is written
-- only if the delivery log has its reservation.
insert into cdc_bridge.delivery as d (
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures, next_attempt_at,
  last_status, last_error, message_id, last_attempt_at, duration_seconds
)
select
  %(endpoint_id)s, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures, now() + pause * interval '1 second',
  last_status, last_error, message_id, last_attempt_at, duration
from json_to_recordset(%(settlements)s::json) as settled (
  seq bigint, reservation_id text, operation "char", changed_at timestamptz, state text, skip_reason text, attempts integer,
  failures integer, pause float8, last_status integer, last_error text, message_id text, last_attempt_at timestamptz, duration real
)
where exists (select from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s and e.fencing_token = %(fencing_token)s and e.tableoid = %(endpoint_table)s)
  and (
    skip_reason is null
    or (
      select true
      from cdc_bridge.delivery known
      where known.endpoint_id = %(endpoint_id)s
        and hashtextextended(known.reservation_id, 0) = hashtextextended(settled.reservation_id, 0)
        and known.reservation_id = settled.reservation_id
      limit 1
    )
  )
on conflict (endpoint_id, seq) do update set
  state = excluded.state,
  skip_reason = excluded.skip_reason,
  attempts = excluded.attempts,
  failures = excluded.failures,
  next_attempt_at = excluded.next_attempt_at,
  last_status = excluded.last_status,
  last_error = excluded.last_error,
  message_id = excluded.message_id,
  last_attempt_at = excluded.last_attempt_at,
  duration_seconds = excluded.duration_seconds,
  recorded_at = now()

-- name: settle_older
-- Older pending deliveries get the state of the newest one of their reservation; while that one is retried, they wait for it.
-- A change that the endpoint does not get, or whose body it has, settles none: what somebody queued meanwhile is sent. Nor
-- does a superseded one: that is left to the one that supersedes it, whose body may be the one that was delivered last.
update cdc_bridge.delivery d
set
  state = case newest.state when 'delivered' then 'superseded' else newest.state end,
  skip_reason = newest.skip_reason,
  next_attempt_at = null,
  recorded_at = now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(states)s::text[], %(skip_reasons)s::text[])
  as newest (seq, reservation_id, state, skip_reason)
where d.endpoint_id = %(endpoint_id)s
  and hashtextextended(d.reservation_id, 0) = hashtextextended(newest.reservation_id, 0)
  and d.reservation_id = newest.reservation_id
  and d.seq < newest.seq
  and d.state in ('queued', 'retrying')
  and newest.state <> 'superseded'
  and (newest.skip_reason in ('event', 'unchanged')) is not true
  and exists (select from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s and e.fencing_token = %(fencing_token)s and e.tableoid = %(endpoint_table)s)

-- name: last_bodies
-- The webhook-id of the last delivery of some reservations: of those of which nothing was sent since, and nothing is pending.
-- Passed over is what was superseded or skipped as unchanged, without a request.
select wanted.id, last.message_id
from unnest(%(reservation_ids)s::text[]) as wanted (id)
cross join lateral (
  select d.state, d.message_id
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and hashtextextended(d.reservation_id, 0) = hashtextextended(wanted.id, 0)
    and d.reservation_id = wanted.id
    and not (d.attempts = 0 and (d.state = 'superseded' or d.skip_reason = 'unchanged') is true)
  order by hashtextextended(d.reservation_id, 0) desc, d.seq desc
  limit 1
) as last
where last.state = 'delivered' and last.message_id is not null

-- name: due_retries
-- Deliveries whose next attempt is due, the longest due first, without those of reservations that are under way; no more
-- than max_bytes of keys, and at least one delivery.
-- "overtaken": a newer change of the same reservation was delivered.
select
  d.seq, d.reservation_id, d.operation, d.changed_at, d.attempts, d.failures,
  (
    select true
    from cdc_bridge.delivery newer
    where newer.endpoint_id = d.endpoint_id
      and hashtextextended(newer.reservation_id, 0) = hashtextextended(d.reservation_id, 0)
      and newer.reservation_id = d.reservation_id
      and newer.seq > d.seq and newer.state in ('delivered', 'superseded')
    limit 1
  ) is not null as overtaken
from (
  select due.*, sum(octet_length(due.reservation_id)) over (order by due.next_attempt_at rows unbounded preceding) as bytes
  from cdc_bridge.delivery due
  where due.endpoint_id = %(endpoint_id)s
    and due.next_attempt_at <= now()
    and due.reservation_id not in (select unnest(%(occupied)s::text[]))
  order by due.next_attempt_at
  limit %(limit)s
) as d
where d.bytes - octet_length(d.reservation_id) < %(max_bytes)s
order by d.next_attempt_at

-- name: seconds_until_next_due
-- Time until the next retry is due; negative: since when it is. No row: there is none.
select extract(epoch from d.next_attempt_at - now())::float8
from cdc_bridge.delivery d
where d.endpoint_id = %(endpoint_id)s
  and d.next_attempt_at is not null
  and d.reservation_id not in (select unnest(%(occupied)s::text[]))
order by d.next_attempt_at
limit 1

-- name: with_newer_unread
-- Which reservations have a delivery to retry, and a newer change after the position; and the total size of their keys up
-- to each, no more than max_bytes and one key.
with unread as materialized (
  select c.seq, c.reservation_id
  from cdc_bridge.endpoint e
  cross join lateral (
    select c.xid, c.seq, c.reservation_id
    from cdc_bridge.change c
    where c.xid >= pg_snapshot_xmin(e.position)
    order by c.xid
  ) as c
  where e.endpoint_id = %(endpoint_id)s
    and not case c.xid when e.place_xid then c.seq <= e.place_seq else pg_visible_in_snapshot(c.xid, e.position) end
)
select numbered.reservation_id, numbered.bytes
from (
  select found.reservation_id, sum(octet_length(found.reservation_id)) over (rows unbounded preceding) as bytes
  from (
    select distinct d.reservation_id
    from unread
    join cdc_bridge.delivery d
      on hashtextextended(d.reservation_id, 0) = hashtextextended(unread.reservation_id, 0)
      and d.reservation_id = unread.reservation_id
      and d.seq < unread.seq
    where d.endpoint_id = %(endpoint_id)s and d.next_attempt_at is not null
  ) as found
) as numbered
where numbered.bytes - octet_length(numbered.reservation_id) < %(max_bytes)s
order by numbered.bytes
