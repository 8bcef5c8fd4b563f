-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: lock_endpoint
-- Keeps the daemon from recording until the end of this short transaction. No row: the endpoint was removed.
select from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s for no key update

-- name: find_deliveries
-- A change's deliveries, at one endpoint or all, and the newest deliveries of its reservation there. Here and below, the
-- newest one is never of a change that the endpoint does not get (skip_reason "event"): that one stands for nothing. (The
-- order names the reservation's hash so that the planner takes the index by reservation, and does not read the whole
-- delivery log backwards.)
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.skip_reason, d.attempts,
  d.failures, d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at,
  (
    select n.seq
    from cdc_bridge.delivery n
    where n.endpoint_id = d.endpoint_id
      and hashtextextended(n.reservation_id, 0) = hashtextextended(d.reservation_id, 0)
      and n.reservation_id = d.reservation_id
      and (n.skip_reason is distinct from 'event' or n.seq = d.seq)
    order by hashtextextended(n.reservation_id, 0) desc, n.seq desc
    limit 1
  ) as newest_seq,
  (
    select n.seq
    from cdc_bridge.delivery n
    where n.endpoint_id = d.endpoint_id
      and hashtextextended(n.reservation_id, 0) = hashtextextended(d.reservation_id, 0)
      and n.reservation_id = d.reservation_id
      and n.seq > d.seq and n.state = 'delivered'
    order by hashtextextended(n.reservation_id, 0) desc, n.seq desc
    limit 1
  ) as newer_delivered_seq,
  now() as read_at
from cdc_bridge.endpoint e
join cdc_bridge.delivery d on d.endpoint_id = e.endpoint_id and d.seq = %(seq)s
where %(endpoint_id)s::bigint is null or e.endpoint_id = %(endpoint_id)s
order by e.name

-- name: make_due
-- Makes a delivery due now, at the start of its schedule.
update cdc_bridge.delivery
set state = 'queued', skip_reason = null, failures = 0, next_attempt_at = now(), recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: queue_behind_newer
-- Queues a delivery that a newer one of its reservation covers.
update cdc_bridge.delivery
set state = 'queued', skip_reason = null, failures = 0, next_attempt_at = null, recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: supersede
-- Supersedes a delivery: a newer one of its reservation was delivered.
update cdc_bridge.delivery
set state = 'superseded', skip_reason = null, next_attempt_at = null, recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: newest_deliveries
-- The newest delivery of each selected reservation, in the order of the index: by the hash of their ids, and by the id where
-- several have one hash; no more than max_bytes of ids, and at least one.
select page.*
from (
  select newest.reservation_id, newest.seq, newest.state, selected.hash,
    sum(octet_length(newest.reservation_id)) over (order by selected.hash, newest.reservation_id rows unbounded preceding) as bytes
  from (
    select hashtextextended(d.reservation_id, 0) as hash
    from cdc_bridge.delivery d
    where d.endpoint_id = %(endpoint_id)s
      and hashtextextended(d.reservation_id, 0) >= %(after_hash)s
      and (
        %(reservation_ids)s::text[] is null
        or hashtextextended(d.reservation_id, 0) = any (
          array(select hashtextextended(asked.id, 0) from unnest(%(reservation_ids)s::text[]) as asked (id))
        )
      )
    group by hashtextextended(d.reservation_id, 0)  -- PostgreSQL 15 would sort the whole delivery log for DISTINCT ON
  ) as selected
  cross join lateral (
    select distinct on (d.reservation_id) d.reservation_id, d.seq, d.state, d.skip_reason
    from cdc_bridge.delivery d
    where d.endpoint_id = %(endpoint_id)s and hashtextextended(d.reservation_id, 0) = selected.hash
      and d.skip_reason is distinct from 'event'
    order by d.reservation_id, d.seq desc
  ) as newest
  where (selected.hash > %(after_hash)s or (newest.reservation_id > %(after_id)s::text) is not false)
    and (%(reservation_ids)s::text[] is null or newest.reservation_id = any (%(reservation_ids)s::text[]))
    and (
      %(states)s::text[] is null
      or case when newest.state = 'superseded' or newest.skip_reason = 'unchanged' then 'delivered' else newest.state end
        = any (%(states)s::text[])
    )
    and (
      (%(since)s::timestamptz is null and %(until)s::timestamptz is null)
      or (
        select true
        from cdc_bridge.delivery d
        where d.endpoint_id = %(endpoint_id)s
          and hashtextextended(d.reservation_id, 0) = selected.hash
          and d.reservation_id = newest.reservation_id
          and coalesce(d.last_attempt_at, d.recorded_at) >= coalesce(%(since)s::timestamptz, '-infinity')
          and coalesce(d.last_attempt_at, d.recorded_at) < coalesce(%(until)s::timestamptz, 'infinity')
        limit 1
      ) is not null
    )
  order by selected.hash, newest.reservation_id
  limit %(limit)s
) as page
where page.bytes - octet_length(page.reservation_id) < %(max_bytes)s
order by page.hash, page.reservation_id

-- name: newest_delivery
-- The highest number of the deliveries of some endpoints, up to a ceiling for each.
select max(newest.seq)
from unnest(%(endpoint_ids)s::bigint[], %(ceilings)s::bigint[]) as top (endpoint_id, seq)
cross join lateral (
  select d.seq
  from cdc_bridge.delivery d
  where d.endpoint_id = top.endpoint_id and d.seq <= top.seq
  order by d.seq desc
  limit 1
) as newest

-- name: latest_deliveries
-- Deliveries of some endpoints above a number and up to a ceiling for each, newest change first, of one reservation or
-- all. Without a reservation it reads all of them.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.skip_reason, d.attempts,
  d.failures, d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at
from unnest(%(endpoint_ids)s::bigint[], %(ceilings)s::bigint[]) as part (endpoint_id, ceiling)
join cdc_bridge.endpoint e using (endpoint_id)
cross join lateral (
  select *
  from cdc_bridge.delivery d
  where d.endpoint_id = part.endpoint_id and d.seq > %(above)s and d.seq <= part.ceiling
    and (
      %(reservation_id)s::text is null
      or (
        hashtextextended(d.reservation_id, 0) = hashtextextended(%(reservation_id)s::text, 0)
        and d.reservation_id = %(reservation_id)s::text
      )
    )
    and d.state = any (%(states)s::text[])
    and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
    and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
  order by d.seq desc
  limit %(limit)s
) as d
order by d.seq desc, d.endpoint_id
limit %(limit)s

-- name: latest_unsettled
-- The same for queued, retrying and dead deliveries, by their index, which has them by state.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.skip_reason, d.attempts,
  d.failures, d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at
from unnest(%(endpoint_ids)s::bigint[], %(ceilings)s::bigint[]) as part (endpoint_id, ceiling)
join cdc_bridge.endpoint e using (endpoint_id)
cross join unnest(%(states)s::text[]) as wanted (state)
cross join lateral (
  select *
  from cdc_bridge.delivery d
  where d.endpoint_id = part.endpoint_id and d.state = wanted.state and d.state in ('queued', 'retrying', 'dead')
    and d.seq <= part.ceiling
    and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
    and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
  order by d.seq desc
  limit %(limit)s
) as d
order by d.seq desc, d.endpoint_id
limit %(limit)s

-- name: requeue
-- Makes deliveries due again, at the start of their schedule, unless they changed since they were selected or have a newer one.
update cdc_bridge.delivery d
set state = 'queued', skip_reason = null, failures = 0, next_attempt_at = now(), recorded_at = now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(states)s::text[]) as selected (seq, reservation_id, state)
where d.endpoint_id = %(endpoint_id)s and d.seq = selected.seq and d.state = selected.state
  and (
    select true
    from cdc_bridge.delivery newer
    where newer.endpoint_id = %(endpoint_id)s
      and hashtextextended(newer.reservation_id, 0) = hashtextextended(selected.reservation_id, 0)
      and newer.reservation_id = selected.reservation_id
      and newer.seq > selected.seq
      and newer.skip_reason is distinct from 'event'
    limit 1
  ) is null

-- name: unread_changes
-- Those of some reservations that have an unread change: not in the endpoint's delivery log, and after its position. Reads
-- only the end of the change log. A change that the endpoint does not get is none: nobody waits for it.
with unread as materialized (
  select c.seq, c.reservation_id
  from cdc_bridge.endpoint e
  cross join lateral (
    select c.xid, c.seq, c.reservation_id, c.operation
    from cdc_bridge.change c
    where c.xid >= pg_snapshot_xmin(e.position)
    order by c.xid
  ) as c
  join unnest(%(reservation_ids)s::text[]) as wanted (reservation_id) using (reservation_id)
  where e.endpoint_id = %(endpoint_id)s
    and e.events in ('both', case c.operation when 'I' then 'created' else 'updated' end)
    and not case c.xid when e.place_xid then c.seq <= e.place_seq else pg_visible_in_snapshot(c.xid, e.position) end
)
select distinct unread.reservation_id
from unread
where (
  select true
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.seq = unread.seq
) is null

-- name: to_backfill
-- Those of some reservations that have no delivery at an endpoint, or whose newest one was skipped though it is in the
-- endpoint's payload now; with "again" those that have no pending one. Each with its newest delivery.
select r.id, coalesce(newest.seq, 0)
from unnest(%(reservation_ids)s::text[]) as r (id)
left join lateral (
  select d.seq, d.state, d.skip_reason
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and hashtextextended(d.reservation_id, 0) = hashtextextended(r.id, 0)
    and d.reservation_id = r.id and d.skip_reason is distinct from 'event'
  order by hashtextextended(d.reservation_id, 0) desc, d.seq desc
  limit 1
) as newest on true
where newest.seq is null
  or newest.skip_reason in ('filtered', 'deleted')
  or (%(again)s and newest.state not in ('queued', 'retrying'))

-- name: draw_numbers
-- Draws numbers from the change log's sequence.
select nextval('cdc_bridge.change_seq_seq') from generate_series(1, %(count)s::integer)

-- name: count_pending
-- The number of an endpoint's deliveries that have a next attempt.
select count(*) from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s and next_attempt_at is not null

-- name: still_pending
-- Those of some deliveries that are pending.
select seq
from cdc_bridge.delivery
where endpoint_id = %(endpoint_id)s and seq = any (%(seqs)s) and state in ('queued', 'retrying')

-- name: queue_reservations
-- Queues deliveries under numbers drawn before, except where the reservation's newest delivery is pending or not the one
-- that was selected. To an endpoint that gets no updates they are new reservations.
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at
)
select
  %(endpoint_id)s, candidate.seq, candidate.reservation_id,
  case (select e.events from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s) when 'created' then 'I'::"char" else 'U' end,
  now(), 'queued', 0, 0, now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(newest_seqs)s::bigint[])
  as candidate (seq, reservation_id, newest_seq)
left join lateral (
  select d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and hashtextextended(d.reservation_id, 0) = hashtextextended(candidate.reservation_id, 0)
    and d.reservation_id = candidate.reservation_id and d.skip_reason is distinct from 'event'
  order by hashtextextended(d.reservation_id, 0) desc, d.seq desc
  limit 1
) as newest on true
where coalesce(newest.seq, 0) = candidate.newest_seq and (newest.state in ('queued', 'retrying')) is not true
on conflict do nothing
returning seq

-- name: in_one_snapshot
-- This transaction reads in one snapshot and writes nothing.
set transaction isolation level repeatable read, read only

-- name: export_snapshot
-- Lets another session read in this transaction's snapshot.
select pg_export_snapshot()

-- name: delivery_log_start
-- When the complete part of an endpoint's delivery log starts, plus an hour if e-Res's clock is ahead; null: never pruned.
select pruned_until + interval '1 hour' from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s

-- name: last_deliveries
-- The newest delivery of some reservations, the webhook-id of the last one delivered, and whether there ever was one.
select r.id, newest.seq, newest.state, last_delivered.message_id, any_delivered.seq is not null
from unnest(%(reservation_ids)s::text[]) as r (id)
cross join lateral (
  select d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and hashtextextended(d.reservation_id, 0) = hashtextextended(r.id, 0)
    and d.reservation_id = r.id and d.skip_reason is distinct from 'event'
  order by hashtextextended(d.reservation_id, 0) desc, d.seq desc
  limit 1
) as newest
left join lateral (
  select d.seq
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and hashtextextended(d.reservation_id, 0) = hashtextextended(r.id, 0)
    and d.reservation_id = r.id and d.state = 'delivered'
  limit 1
) as any_delivered on true
left join lateral (
  select d.message_id
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and hashtextextended(d.reservation_id, 0) = hashtextextended(r.id, 0)
    and d.reservation_id = r.id and d.state = 'delivered'
  order by hashtextextended(d.reservation_id, 0) desc, d.seq desc
  limit 1
) as last_delivered on true

-- name: erase
-- Erases what is settled of a reservation from both logs.
select * from cdc_bridge.erase(%(reservation_id)s)

-- name: newest_history
-- The server's history as of the last delivery; 0: there was none yet.
select coalesce(max(history), 0) from cdc_bridge.history
