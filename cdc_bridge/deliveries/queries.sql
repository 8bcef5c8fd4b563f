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

-- name: scan_deliveries
-- The newest deliveries behind a place in the list that match a filter, and the place up to which all were looked at; null:
-- there are no more. Looked at are no more deliveries of an endpoint than "most_each", and no more endpoints than
-- "most_endpoints", those with the newest ones: what is older than the first one left out comes later, and is not read. One row
-- without a delivery: none matches.
with newest as materialized (
  select e.endpoint_id, n.seq
  from cdc_bridge.endpoint e
  cross join lateral (
    select d.seq
    from cdc_bridge.delivery d
    where d.endpoint_id = e.endpoint_id
      and d.seq <= case when e.endpoint_id > %(after_endpoint_id)s then %(after_seq)s else %(after_seq)s - 1 end
    order by d.seq desc
    limit 1
  ) as n
  where %(endpoint_id)s::bigint is null or e.endpoint_id = %(endpoint_id)s
  order by n.seq desc, e.endpoint_id
  limit %(most_endpoints)s + 1
), front as materialized (
  select * from newest order by newest.seq desc, newest.endpoint_id limit %(most_endpoints)s
), left_out as materialized (
  select first.seq, first.endpoint_id
  from (
    (select newest.seq, newest.endpoint_id from newest order by newest.seq desc, newest.endpoint_id offset %(most_endpoints)s)
    union all
    (
      select next.seq, front.endpoint_id
      from front
      cross join lateral (
        select d.seq
        from cdc_bridge.delivery d
        where d.endpoint_id = front.endpoint_id and d.seq <= front.seq
        order by d.seq desc
        offset %(most_each)s
        limit 1
      ) as next
    )
  ) as first
  order by first.seq desc, first.endpoint_id
  limit 1
)
select o.seq as left_out_seq, o.endpoint_id as left_out_endpoint_id, d.*
from (select) as one
left join left_out o on true
left join lateral (
  select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.skip_reason, d.attempts,
  d.failures, d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at
  from front
  cross join lateral (
    select *
    from cdc_bridge.delivery d
    where d.endpoint_id = front.endpoint_id and d.seq <= front.seq
      and d.seq >= case when o.seq is null then 0 when front.endpoint_id < o.endpoint_id then o.seq else o.seq + 1 end
      and d.state = any (%(states)s::text[])
      and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
      and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
    order by d.seq desc
    limit %(limit)s
  ) as d
  join cdc_bridge.endpoint e on e.endpoint_id = front.endpoint_id
  order by d.seq desc, d.endpoint_id
  limit %(limit)s
) as d on true
order by d.seq desc, d.endpoint_id

-- name: latest_of_reservation
-- The newest deliveries of a reservation behind a place in the list.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.skip_reason, d.attempts,
  d.failures, d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at
from cdc_bridge.endpoint e
cross join lateral (
  select *
  from cdc_bridge.delivery d
  where d.endpoint_id = e.endpoint_id
    and d.seq <= case when e.endpoint_id > %(after_endpoint_id)s then %(after_seq)s else %(after_seq)s - 1 end
    and hashtextextended(d.reservation_id, 0) = hashtextextended(%(reservation_id)s::text, 0)
    and d.reservation_id = %(reservation_id)s::text
    and d.state = any (%(states)s::text[])
    and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
    and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
  order by d.seq desc
  limit %(limit)s
) as d
where %(endpoint_id)s::bigint is null or e.endpoint_id = %(endpoint_id)s
order by d.seq desc, d.endpoint_id
limit %(limit)s

-- name: latest_unsettled
-- The same for queued, retrying and dead deliveries, by their index, which has them by state.
select
  d.endpoint_id, e.name as endpoint, d.seq, d.reservation_id, d.operation, d.changed_at, d.state, d.skip_reason, d.attempts,
  d.failures, d.next_attempt_at, d.last_status, d.last_error, d.message_id, d.last_attempt_at, d.duration_seconds, d.recorded_at
from cdc_bridge.endpoint e
cross join unnest(%(states)s::text[]) as wanted (state)
cross join lateral (
  select *
  from cdc_bridge.delivery d
  where d.endpoint_id = e.endpoint_id and d.state = wanted.state and d.state in ('queued', 'retrying', 'dead')
    and d.seq <= case when e.endpoint_id > %(after_endpoint_id)s then %(after_seq)s else %(after_seq)s - 1 end
    and (%(since)s::timestamptz is null or d.changed_at >= %(since)s)
    and (%(until)s::timestamptz is null or d.changed_at < %(until)s)
  order by d.seq desc
  limit %(limit)s
) as d
where %(endpoint_id)s::bigint is null or e.endpoint_id = %(endpoint_id)s
order by d.seq desc, d.endpoint_id
limit %(limit)s

-- name: endpoints_behind
-- The endpoints with changes behind their position, and the position; or the one endpoint. What has followed a live daemon for
-- some seconds only is on its way. Without those restored from elsewhere: their positions tell nothing.
with position as materialized (
  select distinct p.position::text as position, p.place_xid::text as place_xid, p.place_seq
  from cdc_bridge.endpoint_position p
  where (%(endpoint_id)s::bigint is null or p.endpoint_id = %(endpoint_id)s)
    and p.cluster = (select system_identifier from pg_control_system())
), behind as materialized (
  select position.*, oldest.changed_at
  from position
  cross join lateral (
    select first.changed_at
    from (
      (
        select late.changed_at
        from pg_snapshot_xip(position.position::pg_snapshot) as x (xid)
        cross join lateral (
          select c.changed_at from cdc_bridge.change c where c.xid = x.xid order by c.seq limit 1
        ) as late
        where x.xid is distinct from position.place_xid::xid8
        limit 1
      )
      union all
      (
        select c.changed_at
        from cdc_bridge.change c
        where c.xid = position.place_xid::xid8 and c.seq > position.place_seq
        order by c.seq
        limit 1
      )
      union all
      (
        select c.changed_at
        from cdc_bridge.change c
        where c.xid >= pg_snapshot_xmax(position.position::pg_snapshot)
          and (position.place_xid is null or c.xid <> position.place_xid::xid8)
        order by c.xid, c.seq
        limit 1
      )
    ) as first
    order by first.changed_at
    limit 1
  ) as oldest
)
select e.endpoint_id, e.name, e.payload, e."only", e.events, b.position, b.place_xid::bigint, b.place_seq
from behind b
join cdc_bridge.endpoint_position p
  on p.position::text = b.position and p.place_xid::text is not distinct from b.place_xid
  and p.place_seq is not distinct from b.place_seq
join cdc_bridge.endpoint e using (endpoint_id)
left join cdc_bridge.daemon d on d.daemon_id = e.daemon_id
where case
    when %(endpoint_id)s::bigint is not null then e.endpoint_id = %(endpoint_id)s
    else not e.following or (d.alive_until > now()) is not true or b.changed_at < now() - interval '3 seconds'
  end
  and e.cluster = (select system_identifier from pg_control_system())
order by e.endpoint_id

-- name: changes_backwards
-- The last changes up to a place in the log that match, newest first, each led by the last place that was looked at; null: there
-- are no more. One row without a change: none matches.
with last as materialized (
  select c.xid, c.seq
  from cdc_bridge.change c
  where (c.xid, c.seq) <= (%(after_xid)s::text::xid8, %(after_seq)s::bigint) and c.xid >= %(from_xid)s::text::xid8
  order by c.xid desc, c.seq desc
  offset %(look_at)s - 1
  limit 1
)
select
  last.xid::text::bigint, last.seq,
  m.xid::text::bigint, m.seq, m.reservation_id, m.operation, m.changed_at
from (select) as one
left join last on true
left join lateral (
  select *
  from cdc_bridge.change c
  where (c.xid, c.seq) <= (%(after_xid)s::text::xid8, %(after_seq)s::bigint)
    and (c.xid, c.seq) >= (coalesce(last.xid, %(from_xid)s::text::xid8), coalesce(last.seq, 0))
    and (%(reservation_id)s::text is null or c.reservation_id = %(reservation_id)s)
    and (%(until)s::timestamptz is null or c.changed_at < %(until)s)
  order by c.xid desc, c.seq desc
  limit %(limit)s
) as m on true
order by m.xid desc, m.seq desc

-- name: change_of_number
-- The change of a number. Numbers grow nearly as transactions do: a binary search along the primary key comes close, and then
-- some thousand changes around are looked at, in that index alone.
with recursive bounds as (
  select (select c.xid from cdc_bridge.change c order by c.xid, c.seq limit 1)::text::bigint as low,
    (select c.xid from cdc_bridge.change c order by c.xid desc, c.seq desc limit 1)::text::bigint as high
), narrowed (low, high, round) as (
  select b.low, b.high, 0 from bounds b
  union all
  select
    case when found.seq <= %(seq)s then half.xid else n.low end,
    case when found.seq <= %(seq)s then n.high else half.xid end,
    n.round + 1
  from narrowed n
  cross join lateral (select (n.low + n.high) / 2 as xid) as half
  cross join lateral (
    select c.seq from cdc_bridge.change c where c.xid >= half.xid::text::xid8 order by c.xid, c.seq limit 1
  ) as found
  where n.high - n.low > 1 and n.round < 64
), near as materialized (
  select n.low::text::xid8 as low, n.high::text::xid8 as high from narrowed n order by n.round desc limit 1
), place as materialized (
  select coalesce(
    (
      select c.xid
      from (
        values
          ((select low from near)), ((select high from near)),
          ((select c.xid from cdc_bridge.change c where c.xid >= (select low from near) order by c.xid, c.seq limit 1))
      ) as candidate (xid)
      join cdc_bridge.change c on c.xid = candidate.xid and c.seq = %(seq)s
      limit 1
    ),
    (
      select around.xid
      from (
        (
          select c.xid, c.seq
          from cdc_bridge.change c
          where c.xid >= (select high from near)
          order by c.xid, c.seq
          limit 5000
        )
        union all
        (
          select c.xid, c.seq
          from cdc_bridge.change c
          where c.xid < (select high from near)
          order by c.xid desc, c.seq desc
          limit 15000
        )
      ) as around
      where around.seq = %(seq)s
      limit 1
    )
  ) as xid
)
select c.xid::text::bigint, c.seq, c.reservation_id, c.operation, c.changed_at
from place
join cdc_bridge.change c on c.xid = place.xid and c.seq = %(seq)s

-- name: last_attempts
-- The last attempts of some deliveries that were tried.
select
  wanted.endpoint_id, wanted.seq, a.number as attempts, a.status as last_status, a.reason as last_error, a.message_id,
  a.began_at as last_attempt_at, a.duration_seconds
from unnest(%(endpoint_ids)s::bigint[], %(seqs)s::bigint[]) as wanted (endpoint_id, seq)
cross join lateral (
  select a.number, a.status, a.reason, a.message_id, a.began_at, a.duration_seconds
  from cdc_bridge.attempt a
  where a.endpoint_id = wanted.endpoint_id and a.seq = wanted.seq
  order by a.number desc
  limit 1
) as a

-- name: changed_before
-- Those of some reservations that a transaction had changed up to a number, with another statement: one changes a reservation
-- once, and stamps all with one time. So if its first statement made them all, nothing is read.
with first as materialized (
  select c.changed_at from cdc_bridge.change c where c.xid = %(xid)s::text::xid8 order by c.seq limit 1
), wanted as materialized (
  select w.reservation_id
  from unnest(%(reservation_ids)s::text[], %(times)s::timestamptz[]) as w (reservation_id, changed_at)
  where w.changed_at <> (select changed_at from first)
)
select distinct c.reservation_id
from cdc_bridge.change c
where c.xid = %(xid)s::text::xid8 and c.seq <= %(seq)s
  and exists (select from wanted)
  and c.reservation_id in (select reservation_id from wanted)

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
  from cdc_bridge.endpoint_position e
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

-- name: note_compared
-- Records what a comparison of everything that can be compared left to be delivered.
update cdc_bridge.endpoint
set reconciled_at = now(), reconciled_missing = %(missing)s, reconciled_stale = %(stale)s
where endpoint_id = %(endpoint_id)s

-- name: newest_history
-- The server's history as of the last delivery; 0: there was none yet.
select coalesce(max(history), 0) from cdc_bridge.history

-- name: find_held_deliveries
-- A change's deliveries that the delivery log does not have yet, with their last attempts, at one endpoint or all.
select
  e.endpoint_id, e.name as endpoint, a.seq, a.reservation_id, a.operation, a.changed_at, 'queued' as state, null as skip_reason,
  a.number as attempts, 0 as failures, null::timestamptz as next_attempt_at, a.status as last_status, a.reason as last_error,
  a.message_id, a.began_at as last_attempt_at, a.duration_seconds, null::timestamptz as recorded_at, a.seq as newest_seq,
  null::bigint as newer_delivered_seq, now() as read_at
from cdc_bridge.endpoint e
cross join lateral (
  select
    a.seq, a.number, a.reservation_id, a.operation, a.changed_at, a.began_at, a.duration_seconds, a.status, a.reason, a.message_id
  from cdc_bridge.attempt a
  where a.endpoint_id = e.endpoint_id and a.seq = %(seq)s
  order by a.number desc
  limit 1
) as a
where (%(endpoint_id)s::bigint is null or e.endpoint_id = %(endpoint_id)s)
  and (
    select true
    from cdc_bridge.delivery d
    where d.endpoint_id = e.endpoint_id and d.seq = %(seq)s
    limit 1
  ) is null
order by e.name

-- name: attempts
-- The attempts of a delivery, as far as they are kept, for everybody.
select number, began_at, duration_seconds, status, reason, flaw, address, protocol, message_id, null as response
from cdc_bridge.attempt
where endpoint_id = %(endpoint_id)s and seq = %(seq)s
order by number

-- name: attempts_with_responses
-- The same for those who may see content. A response that has expired is not shown, whether or not it was removed yet.
select
  number, began_at, duration_seconds, status, reason, flaw, address, protocol, message_id,
  case when recorded_at > now() - interval '24 hours' then response end as response
from cdc_bridge.attempt
where endpoint_id = %(endpoint_id)s and seq = %(seq)s
order by number
