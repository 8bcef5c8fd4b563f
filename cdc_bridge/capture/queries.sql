-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice.

-- name: try_wake_up_lock
-- Marks a daemon as sleeping: from now on a committing change notifies. Then draws a transaction id, as own_transaction does.
-- Null: a writer holds the lock for an instant, another daemon sleeps, or the queue of notifications fills up, and writers
-- would not notify.
select case
  when pg_notification_queue_usage() >= 0.4 then null
  when pg_try_advisory_lock(52683, 1) then pg_current_xact_id()::text::bigint
end

-- name: queue_usage
-- How full PostgreSQL's queue of notifications is, from 0 to 1. If it is full, a commit that notifies fails.
select pg_notification_queue_usage()

-- name: release_wake_up_lock
-- The daemon is awake.
select pg_advisory_unlock(52683, 1)

-- name: listen
-- Receives notifications of committed changes, of changed endpoints and of deliveries made due on this connection.
listen cdc_bridge_change; listen cdc_bridge_endpoint

-- name: notify
-- Sends a notification as a writer does, with a token that tells it from a writer's.
select pg_notify('cdc_bridge_change', %(token)s)

-- name: own_transaction
-- A transaction id drawn now: every transaction that began to write before has a lower one. (The xmax of a snapshot will
-- not do: it is one above the newest transaction that has ended, and a newer one may be open.)
select pg_current_xact_id()::text::bigint

-- name: oldest_transaction
-- The oldest open transaction that has written; all with a lower id have ended.
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: read_page
-- The next changes after a position, first those of the transaction that the last page ended in, and the snapshot that
-- they were read in; no more than max_bytes of keys, and at least one change. Each branch walks the primary key.
with numbered as (
  select
    branches.*,
    sum(octet_length(branches.reservation_id)) over (order by turn, xid, seq rows unbounded preceding) as bytes
  from (
    (
      select 2 as turn, late.*
      from unnest(%(in_progress)s::text[]::xid8[]) as x
      cross join lateral (
        select c.xid, c.seq, c.reservation_id, c.operation, c.changed_at
        from cdc_bridge.change c
        where c.xid = x
        order by c.seq
        limit %(limit)s
      ) as late
    )
    union all
    (
      select 1, c.xid, c.seq, c.reservation_id, c.operation, c.changed_at
      from cdc_bridge.change c
      where c.xid = %(place_xid)s::text::xid8 and c.seq > %(place_seq)s
      order by c.seq
      limit %(limit)s
    )
    union all
    (
      select 2, c.xid, c.seq, c.reservation_id, c.operation, c.changed_at
      from cdc_bridge.change c
      where c.xid >= %(from_xid)s::text::xid8
      order by c.xid, c.seq
      limit %(limit)s
    )
  ) as branches
  order by turn, xid, seq
  limit %(limit)s
), unread as (
  select * from numbered where bytes - octet_length(reservation_id) < %(max_bytes)s
)
select
  pg_current_snapshot()::text as snapshot,
  unread.xid::text::bigint,
  unread.seq,
  unread.reservation_id,
  unread.operation,
  unread.changed_at,
  unread.bytes
from (values (true)) as always (row)
left join unread on true
order by unread.turn, unread.xid, unread.seq

-- name: known_deliveries
-- What the delivery logs of some endpoints know of changes, in the order in which they are given. "recorded": it is in there.
-- "overtaken": a newer change of the same reservation was delivered. (The two look-ups are no EXISTS: the planner may execute
-- that by reading the whole table.)
select
  (
    select true
    from cdc_bridge.delivery d
    where d.endpoint_id = wanted.endpoint_id and d.seq = wanted.seq
  ) is not null as recorded,
  (
    select true
    from cdc_bridge.delivery d
    where d.endpoint_id = wanted.endpoint_id
      and hashtextextended(d.reservation_id, 0) = hashtextextended(wanted.reservation_id, 0)
      and d.reservation_id = wanted.reservation_id
      and d.seq > wanted.seq and d.state in ('delivered', 'superseded')
    limit 1
  ) is not null as overtaken
from unnest(%(endpoint_ids)s::bigint[], %(seqs)s::bigint[], %(reservation_ids)s::text[])
  with ordinality as wanted (endpoint_id, seq, reservation_id, number)
order by wanted.number

-- name: count_unread
-- Number of changes after a position, up to a limit. The order makes it walk the primary key, as read_page does, however
-- the log's transactions are spread.
select count(*)
from (
  (
    select
    from unnest(%(in_progress)s::text[]::xid8[]) as x
    cross join lateral (select from cdc_bridge.change c where c.xid = x order by c.seq limit %(limit)s) as late
    limit %(limit)s
  )
  union all
  (
    select
    from cdc_bridge.change c
    where c.xid = %(place_xid)s::text::xid8 and c.seq > %(place_seq)s
    order by c.seq
    limit %(limit)s
  )
  union all
  (
    select
    from cdc_bridge.change c
    where c.xid >= %(from_xid)s::text::xid8
    order by c.xid, c.seq
    limit %(limit)s
  )
  limit %(limit)s
) as unread

-- name: changed_earlier_in_transaction
-- Which of these reservations the transaction had already changed up to a place in it.
select distinct reservation_id
from cdc_bridge.change
where xid = %(xid)s::text::xid8 and seq <= %(seq)s
  and (reservation_id in (select unnest(%(reservation_ids)s::text[]))) is true

-- name: oldest_writer
-- The oldest open transaction that has written, and whose it is, as far as this role may see.
select
  l.pid,
  coalesce(a.usename::text, p.owner::text) as role,
  coalesce(a.datname::text, p.database::text) as database,
  coalesce(a.xact_start, p.prepared) as since,
  p.gid as prepared_name
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid
left join pg_prepared_xacts p on p.transaction = l.transactionid
where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted
  and l.transactionid = mod(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 4294967296)::text::xid
