-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a percent sign of SQL's own is written twice.

-- name: lock_endpoint
-- Keeps the daemon from recording for the rest of a short transaction, and so what is read of the ledger from changing.
-- No row: the endpoint is gone.
select from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s for no key update

-- name: find_deliveries
-- The deliveries of a change, at one endpoint or at all, and what is known of newer ones of the reservation. (Here and
-- below, the order names the reservation so that the index by reservation is taken, and not all of the ledger walked back.)
select
  e.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.attempts, d.failures,
  d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at,
  (
    select n.seq
    from cdc_bridge.delivery n
    where n.endpoint_id = d.endpoint_id and n.reservation_id = d.reservation_id
    order by n.reservation_id desc, n.seq desc
    limit 1
  ) as newest_seq,
  (
    select n.seq
    from cdc_bridge.delivery n
    where n.endpoint_id = d.endpoint_id and n.reservation_id = d.reservation_id
      and n.seq > d.seq and n.state in ('delivered', 'superseded')
    order by n.reservation_id desc, n.seq desc
    limit 1
  ) as newer_accepted_seq,
  now() as read_at
from cdc_bridge.endpoint e
join cdc_bridge.delivery d on d.endpoint_id = e.endpoint_id and d.seq = %(seq)s
where %(endpoint_id)s::bigint is null or e.endpoint_id = %(endpoint_id)s
order by e.name

-- name: make_due
-- A delivery is due now, at the beginning of the schedule.
update cdc_bridge.delivery
set state = 'queued', failures = 0, next_attempt_at = now(), recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: wait_with_newer
-- A delivery waits, and a newer one of its reservation is tried for both.
update cdc_bridge.delivery
set state = 'queued', failures = 0, next_attempt_at = null, recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: supersede
-- A newer call for the reservation of a delivery was accepted.
update cdc_bridge.delivery
set state = 'superseded', next_attempt_at = null, recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: newest_deliveries
-- The newest delivery of each reservation that was selected, in the order of their ids.
select newest.reservation_id, newest.seq, newest.state
from (
  select d.reservation_id
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s
    and d.reservation_id > %(after)s
    and (%(reservation_ids)s::text[] is null or d.reservation_id = any (%(reservation_ids)s::text[]))
  group by d.reservation_id  -- in the index's order; DISTINCT ON with the newest first would sort all of the ledger on 15
) as selected
cross join lateral (
  select d.reservation_id, d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = selected.reservation_id
  order by d.reservation_id desc, d.seq desc
  limit 1
) as newest
where (
    %(states)s::text[] is null
    or case newest.state when 'superseded' then 'delivered' else newest.state end = any (%(states)s::text[])
  )
  and (
    (%(since)s::timestamptz is null and %(until)s::timestamptz is null)
    or (
      select true
      from cdc_bridge.delivery d
      where d.endpoint_id = %(endpoint_id)s and d.reservation_id = newest.reservation_id
        and coalesce(d.last_attempt_at, d.recorded_at) >= coalesce(%(since)s::timestamptz, '-infinity')
        and coalesce(d.last_attempt_at, d.recorded_at) < coalesce(%(until)s::timestamptz, 'infinity')
      limit 1
    ) is not null
  )
order by selected.reservation_id
limit %(limit)s

-- name: newest_delivery
-- The number of the newest delivery of some endpoints at or below a number for each.
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
-- Deliveries of some endpoints above a number and up to one for each, newest change first. All of them are looked through.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.attempts,
  d.next_attempt_at, d.last_status, d.last_error, d.last_attempt_at, d.duration_seconds, d.recorded_at
from unnest(%(endpoint_ids)s::bigint[], %(ceilings)s::bigint[]) as part (endpoint_id, ceiling)
join cdc_bridge.endpoint e using (endpoint_id)
cross join lateral (
  select *
  from cdc_bridge.delivery d
  where d.endpoint_id = part.endpoint_id and d.seq > %(above)s and d.seq <= part.ceiling
    and d.state = any (%(states)s::text[])
    and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
    and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
  order by d.seq desc
  limit %(limit)s
) as d
order by d.seq desc, d.endpoint_id
limit %(limit)s

-- name: latest_unsettled
-- The same of those that wait or are dead, by their index.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.attempts,
  d.next_attempt_at, d.last_status, d.last_error, d.last_attempt_at, d.duration_seconds, d.recorded_at
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

-- name: latest_of_reservation
-- The same of one reservation, by its index.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.attempts,
  d.next_attempt_at, d.last_status, d.last_error, d.last_attempt_at, d.duration_seconds, d.recorded_at
from unnest(%(endpoint_ids)s::bigint[], %(ceilings)s::bigint[]) as part (endpoint_id, ceiling)
join cdc_bridge.endpoint e using (endpoint_id)
cross join lateral (
  select *
  from cdc_bridge.delivery d
  where d.endpoint_id = part.endpoint_id and d.reservation_id = %(reservation_id)s
    and d.seq <= part.ceiling
    and d.state = any (%(states)s::text[])
    and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
    and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
  order by d.reservation_id desc, d.seq desc
  limit %(limit)s
) as d
order by d.seq desc, d.endpoint_id
limit %(limit)s

-- name: requeue
-- Deliveries are due again, at the beginning of their schedule: those that stand as they were chosen and have no newer one.
update cdc_bridge.delivery d
set state = 'queued', failures = 0, next_attempt_at = now(), recorded_at = now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(states)s::text[]) as chosen (seq, reservation_id, state)
where d.endpoint_id = %(endpoint_id)s and d.seq = chosen.seq and d.state = chosen.state
  and (
    select true
    from cdc_bridge.delivery newer
    where newer.endpoint_id = %(endpoint_id)s and newer.reservation_id = chosen.reservation_id and newer.seq > chosen.seq
    limit 1
  ) is null

-- name: unread_changes
-- Which of some reservations have a change that is not in an endpoint's ledger, and that its position does not cover. Only
-- the end of the log is read.
with unread as materialized (
  select c.seq, c.reservation_id
  from cdc_bridge.endpoint e
  cross join lateral (
    select c.xid, c.seq, c.reservation_id
    from cdc_bridge.change c
    where c.xid >= pg_snapshot_xmin(e.position)
    order by c.xid
  ) as c
  join unnest(%(reservation_ids)s::text[]) as wanted (reservation_id) using (reservation_id)
  where e.endpoint_id = %(endpoint_id)s
    and not case c.xid when e.place_xid then c.seq <= e.place_seq else pg_visible_in_snapshot(c.xid, e.position) end
)
select distinct unread.reservation_id
from unread
where (
  select true
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.seq = unread.seq
) is null

-- name: reservation_keys
-- The next reservations by their key, in its own order, all or those updated since a time.
select p."id"::text
from cdc_bridge.reservation_payload p
where (%(after)s::text is null or p."id" > %(after)s::text::{key_type})
  and (%(since)s::timestamptz is null or p."updated"::timestamptz >= %(since)s::timestamptz)
order by p."id"
limit %(limit)s

-- name: count_reservations
-- How many reservations there are, all or those updated since a time.
select count(*)
from cdc_bridge.reservation_payload p
where %(since)s::timestamptz is null or p."updated"::timestamptz >= %(since)s::timestamptz

-- name: to_backfill
-- Those of some reservations of which an endpoint's ledger has nothing, or "again" also those of which nothing waits; each
-- with its newest delivery.
select r.id, coalesce(newest.seq, 0)
from unnest(%(reservation_ids)s::text[]) as r (id)
left join lateral (
  select d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = r.id
  order by d.reservation_id desc, d.seq desc
  limit 1
) as newest on true
where newest.seq is null or (%(again)s and newest.state not in ('queued', 'retrying'))

-- name: draw_numbers
-- Some numbers of the change log's own sequence; none comes twice.
select nextval('cdc_bridge.change_seq_seq') from generate_series(1, %(count)s::integer)

-- name: count_pending
-- How many of an endpoint's deliveries wait for an attempt.
select count(*) from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s and next_attempt_at is not null

-- name: still_pending
-- Those of some deliveries that are not settled.
select seq
from cdc_bridge.delivery
where endpoint_id = %(endpoint_id)s and seq = any (%(seqs)s) and state in ('queued', 'retrying')

-- name: queue_reservations
-- Queues calls under numbers drawn before, but not for a reservation whose newest delivery waits or is another one than
-- when it was chosen.
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at
)
select %(endpoint_id)s, chosen.seq, chosen.reservation_id, 'U', now(), 'queued', 0, 0, now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(newest_seqs)s::bigint[])
  as chosen (seq, reservation_id, newest_seq)
left join lateral (
  select d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = chosen.reservation_id
  order by d.reservation_id desc, d.seq desc
  limit 1
) as newest on true
where coalesce(newest.seq, 0) = chosen.newest_seq and (newest.state in ('queued', 'retrying')) is not true
on conflict do nothing
returning seq

-- name: in_one_snapshot
-- All that is read in this transaction is read as of one instant, and nothing is written.
set transaction isolation level repeatable read, read only

-- name: delivery_log_start
-- From when on an endpoint's ledger has everything, with an hour for e-Res's clock to be ahead; null: it was never pruned.
select pruned_until + interval '1 hour' from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s

-- name: last_deliveries
-- What an endpoint's ledger has last of some reservations, and the webhook-id of what was delivered last.
select r.id, newest.seq, newest.state, delivered.message_id, accepted.seq is not null
from unnest(%(reservation_ids)s::text[]) as r (id)
cross join lateral (
  select d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = r.id
  order by d.reservation_id desc, d.seq desc
  limit 1
) as newest
left join lateral (
  select d.seq
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = r.id and d.state in ('delivered', 'superseded')
  limit 1
) as accepted on true
left join lateral (
  select d.message_id
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = r.id and d.state = 'delivered'
  order by d.reservation_id desc, d.seq desc
  limit 1
) as delivered on true
