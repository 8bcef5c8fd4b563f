-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice. "is true" keeps PostgreSQL from looking for an endpoint by its
-- daemon, which may have all of them while its statistics say that it has none.

-- name: hold_registration
-- Locks this daemon's row, so that nobody ends its leases until commit; a renewal does not wait for that. Limits how long the
-- transaction waits for rows that somebody else has locked. Returns those of some endpoints whose leases are not ours any more.
-- No row: another daemon has ended this one.
select
  array(
    select ours.endpoint_id
    from unnest(%(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[]) as ours (endpoint_id, fencing_token)
    left join cdc_bridge.endpoint e using (endpoint_id)
    where (e.fencing_token = ours.fencing_token and e.daemon_id = d.daemon_id) is not true
  ),
  set_config('lock_timeout', %(lock_timeout)s, true)
from cdc_bridge.daemon d
where d.daemon_id = %(daemon_id)s
  and d.tableoid = %(daemon_table)s  -- A restored dump may have the same number.
  and d.alive_until > '-infinity'
for key share of d

-- name: record_deliveries
-- Writes the states of deliveries, where the lease is still ours; repeating it changes nothing. One that is skipped is written
-- only if the delivery log has its reservation, or attempts of it are kept.
insert into cdc_bridge.delivery as d (
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures, next_attempt_at,
  last_status, last_error, message_id, last_attempt_at, duration_seconds
)
select
  endpoint_id, seq, reservation_id, operation, changed_at, state, skip_reason, attempts, failures, now() + pause * interval '1 second',
  last_status, last_error, message_id, last_attempt_at, duration
from json_to_recordset(%(settlements)s::json) as settled (
  endpoint_id bigint, fencing_token bigint,
  seq bigint, reservation_id text, operation "char", changed_at timestamptz, state text, skip_reason text, attempts integer,
  failures integer, pause float8, last_status integer, last_error text, message_id text, last_attempt_at timestamptz, duration real
)
where exists (select from cdc_bridge.daemon where daemon_id = %(daemon_id)s and tableoid = %(daemon_table)s and alive_until > '-infinity')
  and (
    select true
    from cdc_bridge.endpoint e
    where e.endpoint_id = settled.endpoint_id and e.fencing_token = settled.fencing_token and (e.daemon_id = %(daemon_id)s) is true
  )
  and (
    skip_reason is null
    or (
      select true
      from cdc_bridge.delivery known
      where known.endpoint_id = settled.endpoint_id
        and hashtextextended(known.reservation_id, 0) = hashtextextended(settled.reservation_id, 0)
        and known.reservation_id = settled.reservation_id
      limit 1
    )
    or (select true from cdc_bridge.attempt a where a.endpoint_id = settled.endpoint_id and a.seq = settled.seq limit 1)
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

-- name: keep_attempts
-- Writes attempts, where the lease is still ours; repeating it changes nothing. Of each delivery the first 5 and the last 20 are
-- kept; what somebody has locked is deleted another time.
with given as (
  select *
  from json_to_recordset(%(attempts)s::json) as given (
    endpoint_id bigint, fencing_token bigint, place integer,
    seq bigint, number integer, reservation_id text, operation "char", changed_at timestamptz, began_at timestamptz, duration real,
    status integer, reason text, flaw text, address text, protocol text, message_id text, response text
  )
  where exists (select from cdc_bridge.daemon where daemon_id = %(daemon_id)s and tableoid = %(daemon_table)s and alive_until > '-infinity')
    and (
      select true
      from cdc_bridge.endpoint e
      where e.endpoint_id = given.endpoint_id and e.fencing_token = given.fencing_token and (e.daemon_id = %(daemon_id)s) is true
    )
    and (
      select true
      from cdc_bridge.attempt a
      where a.endpoint_id = given.endpoint_id and a.seq = given.seq and a.began_at = given.began_at
      limit 1
    ) is null
), numbered as (  -- a daemon does not know how often the one before it tried what is held
  select
    given.*,
    greatest(coalesce(last.number, 0), min(given.number) over tried - 1) + row_number() over (tried order by given.place) as place_in_all
  from given
  left join lateral (
    select a.number
    from cdc_bridge.attempt a
    where a.endpoint_id = given.endpoint_id and a.seq = given.seq
    order by a.number desc
    limit 1
  ) as last on true
  window tried as (partition by given.endpoint_id, given.seq)
), superfluous as materialized (
  select a.endpoint_id, a.seq, a.number
  from (select n.endpoint_id, n.seq, max(n.place_in_all) as newest from numbered n group by n.endpoint_id, n.seq) as tried
  join cdc_bridge.attempt a
    on a.endpoint_id = tried.endpoint_id and a.seq = tried.seq and a.number > 5 and a.number <= tried.newest - 20
  for update of a skip locked
), deleted as (
  delete from cdc_bridge.attempt a
  using superfluous s
  where a.endpoint_id = s.endpoint_id and a.seq = s.seq and a.number = s.number
)
insert into cdc_bridge.attempt (
  endpoint_id, seq, number, reservation_id, operation, changed_at, began_at, duration_seconds, status, reason, flaw, address, protocol,
  message_id, response
)
select
  endpoint_id, seq, place_in_all, reservation_id, operation, changed_at, began_at, duration, status, reason, flaw, address, protocol,
  message_id, response
from numbered
on conflict do nothing

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
from unnest(
  %(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[], %(seqs)s::bigint[], %(reservation_ids)s::text[], %(states)s::text[], %(skip_reasons)s::text[]
) as newest (endpoint_id, fencing_token, seq, reservation_id, state, skip_reason)
where d.endpoint_id = newest.endpoint_id
  and hashtextextended(d.reservation_id, 0) = hashtextextended(newest.reservation_id, 0)
  and d.reservation_id = newest.reservation_id
  and d.seq < newest.seq
  and d.state in ('queued', 'retrying')
  and newest.state <> 'superseded'
  and (newest.skip_reason in ('event', 'unchanged')) is not true
  and exists (select from cdc_bridge.daemon where daemon_id = %(daemon_id)s and tableoid = %(daemon_table)s and alive_until > '-infinity')
  and (
    select true
    from cdc_bridge.endpoint e
    where e.endpoint_id = newest.endpoint_id and e.fencing_token = newest.fencing_token and (e.daemon_id = %(daemon_id)s) is true
  )

-- name: move_endpoints
-- Moves the positions of endpoints that do not follow this daemon any more, or leaves them (null); and counts what was skipped.
-- Returns which: not those that somebody has locked.
with unlocked as (
  select ours.*
  from unnest(
    %(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[], %(positions)s::text[], %(place_xids)s::text[], %(place_seqs)s::bigint[],
    %(skipped_deleted)s::bigint[], %(skipped_filtered)s::bigint[], %(skipped_event)s::bigint[], %(skipped_unchanged)s::bigint[]
  ) as ours (endpoint_id, fencing_token, position, place_xid, place_seq, deleted, filtered, event, unchanged)
  cross join lateral (  -- by its key for each, whatever the statistics say of the others
    select
    from cdc_bridge.endpoint e
    where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token and (e.daemon_id = %(daemon_id)s) is true
    for no key update skip locked
  ) as leased
  where exists (select from cdc_bridge.daemon where daemon_id = %(daemon_id)s and tableoid = %(daemon_table)s and alive_until > '-infinity')
)
update cdc_bridge.endpoint e
set
  following = e.following and unlocked.position is null,
  position = coalesce(unlocked.position::pg_snapshot, e.position),
  place_xid = case when unlocked.position is null then e.place_xid else unlocked.place_xid::xid8 end,
  place_seq = case when unlocked.position is null then e.place_seq else unlocked.place_seq end,
  skipped_deleted = e.skipped_deleted + unlocked.deleted, skipped_filtered = e.skipped_filtered + unlocked.filtered,
  skipped_event = e.skipped_event + unlocked.event, skipped_unchanged = e.skipped_unchanged + unlocked.unchanged
from unlocked
where e.endpoint_id = unlocked.endpoint_id
returning e.endpoint_id

-- name: follow
-- Has endpoints follow this daemon's position. Returns which: not those that somebody has locked.
update cdc_bridge.endpoint
set following = true
where endpoint_id in (
  select ours.endpoint_id
  from unnest(%(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[]) as ours (endpoint_id, fencing_token)
  cross join lateral (  -- by its key for each, whatever the statistics say of the others
    select
    from cdc_bridge.endpoint e
    where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token and (e.daemon_id = %(daemon_id)s) is true
    for no key update skip locked
  ) as leased
  where exists (select from cdc_bridge.daemon where daemon_id = %(daemon_id)s and tableoid = %(daemon_table)s and alive_until > '-infinity')
)
returning endpoint_id

-- name: move_daemon
-- Moves the position of the endpoints that follow this daemon.
update cdc_bridge.daemon
set position = %(position)s::text::pg_snapshot, place_xid = %(place_xid)s::text::xid8, place_seq = %(place_seq)s
where daemon_id = %(daemon_id)s and tableoid = %(daemon_table)s and alive_until > '-infinity'

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

-- name: next_due
-- The endpoints, of some, with deliveries to retry, and the seconds until the first of each is due.
select wanted.endpoint_id, extract(epoch from first.next_attempt_at - now())::float8
from unnest(%(endpoint_ids)s::bigint[]) as wanted (endpoint_id)
cross join lateral (
  select d.next_attempt_at
  from cdc_bridge.delivery d
  where d.endpoint_id = wanted.endpoint_id and d.next_attempt_at is not null
  order by d.next_attempt_at
  limit 1
) as first

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
  from cdc_bridge.endpoint_position e
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
