-- Every statement the bridge sends, by name. A statement begins at its "-- name:" line; the comment below that line
-- says what it is for. Parameters are psycopg's %(name)s; so a percent sign of SQL's own is written twice.


-- ---------------------------------------------------------------- sessions

-- name: set_up_session
-- Names a session of the daemon, and has PostgreSQL end transactions that a frozen process leaves open. (The first of
-- the time-outs does not count while messages wait to be sent in one go; the second is there since version 17.)
select
  set_config('application_name', %(name)s, false),
  set_config('idle_in_transaction_session_timeout', '5s', false),
  case when current_setting('server_version_num')::int >= 170000 then set_config('transaction_timeout', '60s', false) end

-- name: plan_once
-- Has the few statements that deliveries are made of planned once a session, not for each of their parameters: planning
-- takes several times longer than running them. (So a long list of values is compared by a subquery, which is hashed; an
-- array in "= any" would be only where it is known when the statement is planned.)
set plan_cache_mode to force_generic_plan

-- name: set_up_page
-- Has PostgreSQL end what a page asks before it takes long, and refuse it to write.
select
  set_config('application_name', %(name)s, false),
  set_config('statement_timeout', %(statement_timeout)s, false),
  set_config('idle_in_transaction_session_timeout', '5s', false),
  set_config('default_transaction_read_only', 'on', false)

-- name: set_up_command
-- Has PostgreSQL end a transaction that a command leaves open, stopped with Ctrl-Z for example: it may lock out the daemon.
set idle_in_transaction_session_timeout to '5s'


-- ---------------------------------------------------------------- the doorbell

-- name: try_doorbell_lock
-- Says that somebody sleeps: from now on a committing change rings. Then draws a transaction id, as own_transaction does.
-- Null: a writer holds the lock for an instant, or another daemon sleeps.
select case when pg_try_advisory_lock(52683, 1) then pg_current_xact_id()::text::bigint end

-- name: unlock_doorbell
-- Nobody sleeps here any more.
select pg_advisory_unlock(52683, 1)

-- name: listen
-- Hears the doorbell on this connection.
listen cdc_bridge_change

-- name: ring
-- Rings the doorbell from outside, with words that tell this ring from a writer's.
select pg_notify('cdc_bridge_change', %(words)s)

-- name: own_transaction
-- A transaction id drawn just now: whoever began to write before has a lower one. (The xmax of a snapshot will not do: it
-- is one above the newest transaction that has ended, and a newer one may be under way.)
select pg_current_xact_id()::text::bigint

-- name: oldest_transaction
-- The oldest transaction that still writes; all with a lower id have ended.
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint


-- ---------------------------------------------------------------- the change log

-- name: read_page
-- The next changes after a position, first those of the transaction that the last page ended in, and the snapshot that
-- they were read in. "recorded": in the ledger already. "overtaken": a newer change of the same reservation was
-- delivered. Each branch walks the primary key. (The two questions to the ledger are no EXISTS, which the planner may
-- answer by reading all of the ledger.)
with unread as (
  select *
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
)
select
  pg_current_snapshot()::text as snapshot,
  unread.xid::text::bigint,
  unread.seq,
  unread.reservation_id,
  unread.operation,
  unread.changed_at,
  (
    select true
    from cdc_bridge.delivery d
    where d.endpoint_id = %(endpoint_id)s and d.seq = unread.seq
  ) is not null as recorded,
  (
    select true
    from cdc_bridge.delivery d
    where d.endpoint_id = %(endpoint_id)s and d.reservation_id = unread.reservation_id
      and d.seq > unread.seq and d.state in ('delivered', 'superseded')
    limit 1
  ) is not null as overtaken
from (values (true)) as always (row)
left join unread on true
order by unread.turn, unread.xid, unread.seq

-- name: count_unread
-- How many changes lie behind a position, counted no further than a limit. The order has the primary key walked, as
-- read_page does, however the log's transactions are spread. Canaries (cdc_bridge.canary) count for nothing.
select count(*)
from (
  (
    select
    from unnest(%(in_progress)s::text[]::xid8[]) as x
    cross join lateral (select from cdc_bridge.change c where c.xid = x and c.reservation_id <> 'cdc-bridge canary' order by c.seq limit %(limit)s) as late
    limit %(limit)s
  )
  union all
  (
    select
    from cdc_bridge.change c
    where c.xid = %(place_xid)s::text::xid8 and c.seq > %(place_seq)s and c.reservation_id <> 'cdc-bridge canary'
    order by c.seq
    limit %(limit)s
  )
  union all
  (
    select
    from cdc_bridge.change c
    where c.xid >= %(from_xid)s::text::xid8 and c.reservation_id <> 'cdc-bridge canary'
    order by c.xid, c.seq
    limit %(limit)s
  )
  limit %(limit)s
) as unread

-- name: changed_earlier_in_transaction
-- Which of these reservations the transaction had changed already up to a place in it.
select distinct reservation_id
from cdc_bridge.change
where xid = %(xid)s::text::xid8 and seq <= %(seq)s
  and (reservation_id in (select unnest(%(reservation_ids)s::text[]))) is true


-- ---------------------------------------------------------------- reservations

-- name: load_reservations
-- The payload of some reservations, each led by its key as text, the snapshot that all of them are read in, the newest
-- transaction that the change log has in it, and an endpoint's fence at that instant. The cast lets the key's index serve
-- whatever its type.
select
  p."id"::text,
  (select pg_current_snapshot()::text),
  (select c.xid::text from cdc_bridge.change c order by c.xid desc limit 1),
  (select e.fence::text from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s),
  p.*
from cdc_bridge.reservation_payload p
where p."id" = any (%(reservation_ids)s::text[]::{key_type}[])

-- name: key_type
-- The type of the reservations' key, as a cast spells it. (Not as regtype does: "character" would be char(1).)
select format('%I.%I', n.nspname, t.typname)
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_namespace n on n.oid = t.typnamespace
where a.attrelid = to_regclass('cdc_bridge.reservation_payload') and a.attname = 'id' and not a.attisdropped


-- ---------------------------------------------------------------- endpoints

-- name: listen_for_endpoints
-- Hears on this connection that somebody changed an endpoint, or made a delivery due.
listen cdc_bridge_endpoint

-- name: announce_endpoints
-- Tells the daemons to look at their endpoints and at what is due.
notify cdc_bridge_endpoint

-- name: declare_endpoint
-- Makes the endpoint of the settings known, from the changes committed from now on or from the oldest one that is kept.
insert into cdc_bridge.endpoint as e (
  name, in_settings, url, headers, ca_file, client_certificate_file, client_key_file,
  max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position, cluster
)
select
  %(name)s, true, %(url)s, '{}', %(ca_file)s, %(client_certificate_file)s, %(client_key_file)s,
  %(max_in_flight)s, %(latest_only)s, %(timeout_seconds)s, %(connect_timeout_seconds)s,
  case when %(from_oldest)s then '1:1:'::pg_snapshot else pg_current_snapshot() end,
  (select system_identifier from pg_control_system())
on conflict (name) do update set
  url = excluded.url,
  ca_file = excluded.ca_file,
  client_certificate_file = excluded.client_certificate_file,
  client_key_file = excluded.client_key_file,
  max_in_flight = excluded.max_in_flight,
  latest_only = excluded.latest_only,
  timeout_seconds = excluded.timeout_seconds,
  connect_timeout_seconds = excluded.connect_timeout_seconds

-- name: renew_and_list
-- Keeps the endpoints that are ours for some time more and says how they are; one that was given back meanwhile stays so.
-- Then every endpoint as it is to be called and as it was when this began, and whether it is free: its lease has run out, or
-- its holder's session is gone. "renewed": it was ours, and still is.
with renewed as (
  update cdc_bridge.endpoint e
  set
    holder = %(holder)s,
    leased_until = now() + %(lease_seconds)s * interval '1 second',
    failing_since = ours.failing_since,
    next_probe_at = ours.next_probe_at,
    problem = ours.problem,
    in_flight = ours.in_flight,
    listening = %(listening)s,
    deliveries_a_second = ours.deliveries_a_second,
    last_success_at = coalesce(ours.last_success_at, e.last_success_at),
    last_failure_at = coalesce(ours.last_failure_at, e.last_failure_at),
    last_failure = coalesce(ours.last_failure, e.last_failure),
    last_minute_at = coalesce(ours.last_minute_at, e.last_minute_at),
    accepted_by_minute = coalesce(ours.accepted_by_minute::integer[], e.accepted_by_minute),
    refused_by_minute = coalesce(ours.refused_by_minute::integer[], e.refused_by_minute)
  from unnest(
    %(endpoint_ids)s::bigint[], %(fences)s::bigint[],
    %(failing_since)s::timestamptz[], %(next_probe_at)s::timestamptz[], %(problems)s::text[],
    %(in_flight)s::integer[], %(deliveries_a_second)s::real[],
    %(last_success_at)s::timestamptz[], %(last_failure_at)s::timestamptz[], %(last_failure)s::text[],
    %(last_minute_at)s::timestamptz[], %(accepted_by_minute)s::text[], %(refused_by_minute)s::text[]
  ) as ours (
    endpoint_id, fence, failing_since, next_probe_at, problem, in_flight, deliveries_a_second,
    last_success_at, last_failure_at, last_failure, last_minute_at, accepted_by_minute, refused_by_minute
  )
  where e.endpoint_id = ours.endpoint_id and e.fence = ours.fence and e.leased_until is not null
  returning e.endpoint_id
)
select
  endpoint_id, name, in_settings, url, headers, secret, previous_secret,
  -- 'infinity' and years beyond 9999 cannot be read as times: one such row would hide all others.
  case when previous_secret_until is not null then
    greatest(least(previous_secret_until, timestamptz '9999-12-30 00:00:00+00'), timestamptz '1970-01-01 00:00:00+00')
  end as previous_secret_until,
  ca_file, client_certificate_file, client_key_file, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  paused_at is not null as paused,
  disabled_at is not null as disabled,
  problem,
  fence,
  cluster = (select system_identifier from pg_control_system()) as same_cluster,
  case
    when leased_until is null or leased_until <= now() then true
    else pg_try_advisory_xact_lock_shared(52684, holder)
  end as free,
  extract(epoch from leased_until - now())::float8 as lease_ends_in_seconds,
  endpoint_id in (select r.endpoint_id from renewed r) as renewed
from cdc_bridge.endpoint
order by endpoint_id

-- name: list_endpoints
-- Every endpoint, read and nothing else, for a check. (Of two columns of one name the last one is taken; why it is needed
-- is said above.)
select
  e.*,
  case when previous_secret_until is not null then
    greatest(least(previous_secret_until, timestamptz '9999-12-30 00:00:00+00'), timestamptz '1970-01-01 00:00:00+00')
  end as previous_secret_until,
  disabled_at is not null as disabled,
  cluster = (select system_identifier from pg_control_system()) as same_cluster
from cdc_bridge.endpoint e
order by endpoint_id

-- name: try_presence_lock
-- Says that the daemon of this number lives, for as long as this session does.
select pg_try_advisory_lock(52684, %(holder)s)

-- name: take_endpoints
-- Takes those of some endpoints that nobody else took or renewed since they were listed, and says how far they are and
-- how they were called in the last hour.
update cdc_bridge.endpoint e
set
  fence = e.fence + 1,
  holder = %(holder)s,
  holder_name = %(holder_name)s,
  leased_until = now() + %(lease_seconds)s * interval '1 second',
  failing_since = null,
  next_probe_at = null,
  problem = null
where e.endpoint_id in (
  select free.endpoint_id
  from unnest(%(endpoint_ids)s::bigint[], %(fences)s::bigint[]) as listed (endpoint_id, fence)
  join cdc_bridge.endpoint free using (endpoint_id, fence)
  where free.paused_at is null and free.disabled_at is null
    and case
      when free.leased_until is null or free.leased_until <= now() then true
      else pg_try_advisory_xact_lock_shared(52684, free.holder)
    end
  for update of free skip locked
)
returning
  e.endpoint_id, e.fence, e.position::text, e.place_xid::text::bigint, e.place_seq,
  e.last_minute_at, e.accepted_by_minute, e.refused_by_minute

-- name: end_sessions_of_silent_holders
-- Ends the sessions of daemons that hold some of these endpoints and have let their leases run out. One that is frozen
-- in the midst of recording locks the endpoint's row, and no time-out of PostgreSQL ends that for certain.
select count(pg_terminate_backend(a.pid))
from pg_stat_activity a
where a.datname = current_database() and a.usename = current_user and a.application_name in (
  select left('cdc-bridge ' || e.holder_name, 63)
  from cdc_bridge.endpoint e
  where e.endpoint_id = any (%(endpoint_ids)s) and e.leased_until < now() and e.holder_name <> %(holder_name)s
)

-- name: release_endpoint
-- Gives an endpoint back, so that another daemon may take it at once, and says how it was called since the last renewal.
update cdc_bridge.endpoint
set
  holder = null, holder_name = null, leased_until = null, failing_since = null, next_probe_at = null, problem = %(problem)s,
  in_flight = null, listening = null, deliveries_a_second = null,
  last_success_at = coalesce(%(last_success_at)s, last_success_at),
  last_failure_at = coalesce(%(last_failure_at)s, last_failure_at),
  last_failure = coalesce(%(last_failure)s, last_failure),
  last_minute_at = coalesce(%(last_minute_at)s, last_minute_at),
  accepted_by_minute = coalesce(%(accepted_by_minute)s::text::integer[], accepted_by_minute),
  refused_by_minute = coalesce(%(refused_by_minute)s::text::integer[], refused_by_minute)
where endpoint_id = %(endpoint_id)s and fence = %(fence)s

-- name: note_problem
-- Says what keeps an endpoint from being called; what its last holder found, if that was killed, is of the past.
update cdc_bridge.endpoint
set problem = %(problem)s, failing_since = null, next_probe_at = null
where endpoint_id = %(endpoint_id)s and fence = %(fence)s

-- name: disable_endpoint
-- Calls an endpoint no more until somebody resumes it: it has answered 410.
update cdc_bridge.endpoint
set disabled_at = now()
where endpoint_id = %(endpoint_id)s and fence = %(fence)s

-- name: move_position
-- All changes up to this position are in the ledger. No row: another daemon has taken the endpoint.
update cdc_bridge.endpoint
set position = %(position)s::pg_snapshot, place_xid = %(place_xid)s::text::xid8, place_seq = %(place_seq)s
where endpoint_id = %(endpoint_id)s and fence = %(fence)s


-- ---------------------------------------------------------------- endpoints, as people see and change them

-- name: add_endpoint
-- Makes an endpoint, from the changes committed from now on or from the oldest one that is kept. No row: the name is taken.
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, secret, ca_file, client_certificate_file, client_key_file,
  max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position, cluster
)
select
  %(name)s, false, %(url)s, %(headers)s::text[], %(secret)s,
  nullif(%(ca_file)s, ''), nullif(%(client_certificate_file)s, ''), nullif(%(client_key_file)s, ''),
  %(max_in_flight)s, %(latest_only)s, %(timeout_seconds)s, %(connect_timeout_seconds)s,
  case when %(from_oldest)s then '1:1:'::pg_snapshot else pg_current_snapshot() end,
  (select system_identifier from pg_control_system())
on conflict (name) do nothing
returning endpoint_id

-- name: endpoint_facts
-- What the state of each endpoint follows from. "held": a daemon that lives has it. Takes no more than a reader's rights.
select
  endpoint_id, name, in_settings, url, paused_at, disabled_at, failing_since, next_probe_at, problem, holder_name,
  cluster = (select system_identifier from pg_control_system()) as same_cluster,
  case
    when leased_until is null or leased_until <= now() then false
    else not pg_try_advisory_xact_lock_shared(52684, holder)
  end as held
from cdc_bridge.endpoint
order by name

-- name: endpoint_options
-- How an endpoint is called. No secret and no header's value leaves the database for it.
select
  ca_file, client_certificate_file, client_key_file, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  array(select split_part(header, ':', 1) from unnest(headers) as header) as header_names,
  secret is not null as signed,
  case when previous_secret_until > now() then previous_secret_until end as rotating_until,
  position::text as snapshot, place_xid::text::bigint, place_seq,
  created_at, reconciled_at, reconciled_missing, reconciled_stale
from cdc_bridge.endpoint
where endpoint_id = %(endpoint_id)s

-- name: endpoint_counts
-- Deliveries that wait, those that are dead, those delivered in the last 24 hours, and how many rows of the ledger, the
-- newest ones, were looked at for the latter. None counts further than the limit.
select
  (
    select count(*)
    from (select from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s and state = 'waiting' limit %(limit)s) as waiting
  ) as waiting,
  (
    select count(*)
    from (select from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s and state = 'dead' limit %(limit)s) as dead
  ) as dead,
  count(*) filter (where newest.state = 'delivered' and newest.recorded_at > now() - interval '24 hours') as delivered,
  count(*) as looked_at
from (
  select state, recorded_at
  from cdc_bridge.delivery
  where endpoint_id = %(endpoint_id)s
  order by seq desc
  limit %(limit)s
) as newest

-- name: endpoint_row
-- An endpoint as it is to be called, with all its secrets: for a test call.
select * from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s

-- name: set_endpoint
-- Changes what is given (not null); an empty file name takes the file away. What was wrong with it may be right now.
update cdc_bridge.endpoint
set
  url = coalesce(%(url)s, url),
  headers = coalesce(%(headers)s::text[], headers),
  ca_file = nullif(coalesce(%(ca_file)s, ca_file), ''),
  client_certificate_file = nullif(coalesce(%(client_certificate_file)s, client_certificate_file), ''),
  client_key_file = nullif(coalesce(%(client_key_file)s, client_key_file), ''),
  max_in_flight = coalesce(%(max_in_flight)s, max_in_flight),
  latest_only = coalesce(%(latest_only)s, latest_only),
  timeout_seconds = coalesce(%(timeout_seconds)s, timeout_seconds),
  connect_timeout_seconds = coalesce(%(connect_timeout_seconds)s, connect_timeout_seconds),
  problem = null
where endpoint_id = %(endpoint_id)s
returning true

-- name: pause_endpoint
-- Wants no calls. No row: it is paused already, or gone.
update cdc_bridge.endpoint
set paused_at = now()
where endpoint_id = %(endpoint_id)s and paused_at is null
returning true

-- name: resume_endpoint
-- Wants calls again, also if the endpoint itself wanted none. No row: it is neither paused nor disabled, or gone.
update cdc_bridge.endpoint
set paused_at = null, disabled_at = null
where endpoint_id = %(endpoint_id)s and (paused_at is not null or disabled_at is not null)
returning true

-- name: remove_endpoint
-- Removes an endpoint; one of the settings only if no daemon that lives holds it, for that would lose it in mid-work.
delete from cdc_bridge.endpoint
where endpoint_id = %(endpoint_id)s
  and (
    not in_settings or leased_until is null or leased_until <= now()
    or pg_try_advisory_xact_lock_shared(52684, holder)
  )
returning true

-- name: rotate_secret
-- Gives an endpoint a new secret and keeps the one before for some hours. No row: a rotation is under way, and none is
-- to be cut short.
update cdc_bridge.endpoint
set
  previous_secret = case when %(keep_old_hours)s::float8 > 0 then secret end,
  previous_secret_until = case
    when %(keep_old_hours)s::float8 > 0 and secret is not null then now() + %(keep_old_hours)s::float8 * interval '1 hour'
  end,
  secret = %(secret)s
where endpoint_id = %(endpoint_id)s
  and (%(cut_short)s or previous_secret_until is null or previous_secret_until <= now())
returning previous_secret_until


-- ---------------------------------------------------------------- the ledger

-- name: record_deliveries
-- Writes what became of some deliveries, if the endpoint is still ours; repeating it changes nothing.
insert into cdc_bridge.delivery as d (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at,
  last_status, last_error, message_id, last_attempt_at, duration_seconds
)
select
  %(endpoint_id)s, seq, reservation_id, operation, changed_at, state, attempts, failures, now() + pause * interval '1 second',
  last_status, last_error, message_id, last_attempt_at, duration
from json_to_recordset(%(settlements)s::json) as settled (
  seq bigint, reservation_id text, operation "char", changed_at timestamptz, state text, attempts integer, failures integer,
  pause float8, last_status integer, last_error text, message_id text, last_attempt_at timestamptz, duration real
)
where exists (select from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s and e.fence = %(fence)s)
on conflict (endpoint_id, seq) do update set
  state = excluded.state,
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
-- Older waiting deliveries share the fate of the newest one of their reservation; while that one waits, they wait with it.
update cdc_bridge.delivery d
set
  state = case newest.state when 'delivered' then 'superseded' else newest.state end,
  next_attempt_at = null,
  recorded_at = now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(states)s::text[]) as newest (seq, reservation_id, state)
where d.endpoint_id = %(endpoint_id)s
  and d.reservation_id = newest.reservation_id
  and d.seq < newest.seq
  and d.state = 'waiting'
  and exists (select from cdc_bridge.endpoint e where e.endpoint_id = %(endpoint_id)s and e.fence = %(fence)s)

-- name: due_deliveries
-- Waiting deliveries whose next attempt is due, the longest due first, without those that are being tried. "overtaken": a
-- newer change of the same reservation was delivered.
select
  d.seq, d.reservation_id, d.operation, d.changed_at, d.attempts, d.failures,
  (
    select true
    from cdc_bridge.delivery newer
    where newer.endpoint_id = d.endpoint_id and newer.reservation_id = d.reservation_id
      and newer.seq > d.seq and newer.state in ('delivered', 'superseded')
    limit 1
  ) is not null as overtaken
from cdc_bridge.delivery d
where d.endpoint_id = %(endpoint_id)s
  and d.next_attempt_at <= now()
  and d.reservation_id not in (select unnest(%(occupied)s::text[]))
order by d.next_attempt_at
limit %(limit)s

-- name: seconds_until_next_due
-- How long until the next waiting delivery is due; no row: none waits. Negative: since when.
select extract(epoch from d.next_attempt_at - now())::float8
from cdc_bridge.delivery d
where d.endpoint_id = %(endpoint_id)s
  and d.next_attempt_at is not null
  and d.reservation_id not in (select unnest(%(occupied)s::text[]))
order by d.next_attempt_at
limit 1

-- name: with_newer_unread
-- Which reservations have a delivery that waits for its next attempt, and a newer change that the position does not cover.
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
select distinct d.reservation_id
from unread
join cdc_bridge.delivery d on d.reservation_id = unread.reservation_id and d.seq < unread.seq
where d.endpoint_id = %(endpoint_id)s and d.next_attempt_at is not null


-- ---------------------------------------------------------------- checks and installation

-- name: is_installed
-- Whether the SQL side is here at all; asks the catalogue, which takes no right on the schema.
select exists (
  select
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'cdc_bridge' and c.relname = 'schema_version'
)

-- name: schema_version
-- Its version, and whether the next one's migration was run up to where its daemon comes in. (Version 1 has no such column.)
select v.version, to_jsonb(v) ->> 'next_prepared_at' is not null
from cdc_bridge.schema_version v
order by v.version desc
limit 1

-- name: has_mapping
-- Whether a mapping is here.
select to_regclass('cdc_bridge.reservation_payload') is not null

-- name: what_is_kept
-- Rows of the change log, and deliveries that wait.
select
  (select count(*) from cdc_bridge.change),
  (select count(*) from cdc_bridge.delivery where state = 'waiting')

-- name: blocking_sessions
-- Who holds what a session waits for, and what that is. A prepared transaction has the pid 0.
select
  coalesce(waits.relation::regclass::text, 'an object') as lock,
  blocking.pid,
  a.usename::text as role,
  a.application_name as application,
  a.state,
  a.xact_start as since
from unnest(pg_blocking_pids(%(pid)s)) as blocking (pid)
left join pg_stat_activity a on a.pid = blocking.pid
left join pg_locks waits on waits.pid = %(pid)s and not waits.granted
order by a.xact_start

-- name: our_objects
-- All that an installation makes, by its name in words, with a fingerprint of its definition.
select 'role ' || r.rolname as name, '' as fingerprint
from pg_roles r
where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_reader')
union all
select 'schema ' || n.nspname, coalesce(n.nspacl::text, '') from pg_namespace n where n.nspname = 'cdc_bridge'
union all
select
  case c.relkind when 'r' then 'table ' when 'v' then 'view ' when 'i' then 'index ' else 'sequence ' end
    || c.oid::regclass::text,
  concat(
    c.relacl, c.reloptions,
    case c.relkind when 'v' then pg_get_viewdef(c.oid) when 'i' then pg_get_indexdef(c.oid) end,
    (
      select string_agg(concat_ws(' ', a.attname, a.atttypid, a.attnotnull, a.attacl), ',' order by a.attnum)
      from pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0
    )
  )
from pg_class c
where c.relnamespace = to_regnamespace('cdc_bridge') and c.relkind in ('r', 'v', 'i', 'S')
union all
select case p.prokind when 'p' then 'procedure ' else 'function ' end || p.oid::regprocedure, concat(p.proacl, pg_get_functiondef(p.oid))
from pg_proc p
where p.pronamespace = to_regnamespace('cdc_bridge')
union all
select format('trigger %s on %s', t.tgname, t.tgrelid::regclass), concat(t.tgenabled, pg_get_triggerdef(t.oid))
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
where p.pronamespace = to_regnamespace('cdc_bridge')
union all
select format('right of %s on %s: %s', r.rolname, c.oid::regclass, lower(granted.privilege_type)), ''
from pg_class c
cross join lateral aclexplode(c.relacl) as granted
join pg_roles r on r.oid = granted.grantee
where r.rolname in ('cdc_bridge', 'cdc_bridge_owner', 'cdc_bridge_reader')
  and c.relnamespace is distinct from to_regnamespace('cdc_bridge')

-- name: foreign_locks
-- What this transaction has locked of tables that are not ours, so that somebody may have to wait.
select l.relation::regclass::text, l.mode
from pg_locks l
join pg_class c on c.oid = l.relation
join pg_namespace n on n.oid = c.relnamespace
where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('r', 'p')
  and n.nspname not in ('cdc_bridge', 'pg_catalog', 'information_schema')
  and l.mode not in ('AccessShareLock', 'RowShareLock')
order by 1, 2

-- name: clock
-- What time it is there.
select clock_timestamp()

-- name: server
-- Version number, version in words, and whether it is a standby.
select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()

-- name: missing_rights
-- What the current role may not do and the daemon has to, each with the statement that grants it.
select needed.what, needed.remedy
from (
  values
    ('use the schema cdc_bridge', 'grant usage on schema cdc_bridge to cdc_bridge', has_schema_privilege('cdc_bridge', 'usage')),
    ('read cdc_bridge.change', 'grant select on cdc_bridge.change to cdc_bridge', has_table_privilege('cdc_bridge.change', 'select')),
    ('read cdc_bridge.endpoint', 'grant select on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'select')),
    ('add to cdc_bridge.endpoint', 'grant insert on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'insert')),
    ('change cdc_bridge.endpoint', 'grant update on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'update')),
    ('remove from cdc_bridge.endpoint', 'grant delete on cdc_bridge.endpoint to cdc_bridge', has_table_privilege('cdc_bridge.endpoint', 'delete')),
    ('draw numbers of changes', 'grant usage on sequence cdc_bridge.change_seq_seq to cdc_bridge', has_sequence_privilege('cdc_bridge.change_seq_seq', 'usage')),
    ('read cdc_bridge.delivery', 'grant select on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'select')),
    ('add to cdc_bridge.delivery', 'grant insert on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'insert')),
    (
      'prune change log and ledger', 'grant execute on all procedures in schema cdc_bridge to cdc_bridge; '
        'grant execute on function cdc_bridge.prune_changes, cdc_bridge.prune_deliveries, cdc_bridge.prunable_ledgers to cdc_bridge',
      has_function_privilege('cdc_bridge.prune(interval, interval, bigint, bigint)', 'execute')
        and has_function_privilege('cdc_bridge.prune_changes(interval, xid8, bigint, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prune_deliveries(bigint, interval, interval, bigint, integer)', 'execute')
        and has_function_privilege('cdc_bridge.prunable_ledgers(interval)', 'execute')
    ),
    (
      'touch cdc_bridge.canary', 'grant select, update (sung_at) on cdc_bridge.canary to cdc_bridge',
      has_column_privilege('cdc_bridge.canary', 'sung_at', 'update') and has_table_privilege('cdc_bridge.canary', 'select')
    ),
    (
      'read cdc_bridge.endpoint_state and cdc_bridge.unsettled_delivery',
      'grant select on cdc_bridge.endpoint_state, cdc_bridge.unsettled_delivery to cdc_bridge',
      has_table_privilege('cdc_bridge.endpoint_state', 'select') and has_table_privilege('cdc_bridge.unsettled_delivery', 'select')
    ),
    ('change cdc_bridge.delivery', 'grant update on cdc_bridge.delivery to cdc_bridge', has_table_privilege('cdc_bridge.delivery', 'update')),
    (
      'read the view cdc_bridge.reservation_payload', 'grant select on cdc_bridge.reservation_payload to cdc_bridge',
      case when to_regclass('cdc_bridge.reservation_payload') is null then true
           else has_table_privilege(to_regclass('cdc_bridge.reservation_payload'), 'select') end
    )
) as needed (what, remedy, granted)
where not needed.granted

-- name: capture_triggers
-- The triggers that capture, with their table, whether they fire and whether what they call captures, and the column that it
-- names a reservation by.
select
  t.tgrelid::regclass::text as "table",
  coalesce(pg_partition_root(t.tgrelid), t.tgrelid)::regclass::text as whole_table,
  t.tgname::text as name,
  t.tgenabled in ('O', 'A') as fires,
  position('Capture is disabled' in p.prosrc) = 0 as captures,
  substr(p.proname, length('capture_by_') + 1)::text as key,
  exists (
    select
    from pg_attribute a
    where a.attrelid = t.tgrelid and a.attname = substr(p.proname, length('capture_by_') + 1) and not a.attisdropped
  ) as has_key
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'cdc_bridge' and not t.tgisinternal and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
order by 1, 2

-- name: partitions_without_capture
-- Partitions, and children, of tables that capture is attached to and that it is not attached to themselves; each with the
-- topmost of these tables and the key there.
with recursive captured as (
  select distinct t.tgrelid as oid, substr(p.proname, length('capture_by_') + 1)::text as key
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'cdc_bridge' and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
), family as (
  select c.oid, c.oid as top, c.key
  from captured c
  where not exists (select from pg_inherits i join captured parent on parent.oid = i.inhparent where i.inhrelid = c.oid)
  union
  select i.inhrelid, family.top, family.key from pg_inherits i join family on family.oid = i.inhparent
)
select family.oid::regclass::text, family.top::regclass::text, family.key
from family
join pg_class c on c.oid = family.oid
where family.oid not in (select captured.oid from captured) and c.relpersistence <> 't'
order by 1

-- name: view_columns
-- The columns of the payload view, in their order, with their types.
select a.attname::text, t.typname::text
from pg_attribute a
join pg_type t on t.oid = a.atttypid
where a.attrelid = to_regclass('cdc_bridge.reservation_payload') and a.attnum > 0 and not a.attisdropped
order by a.attnum

-- name: hidden_by_row_security
-- Tables that the payload view reads, be it through other views, and of which row security may hide rows from the role that
-- reads them: the owner of the view that names the table; for a view with security_invoker, wherever it is, the daemon's.
with recursive readers (oid, reader) as (
  select
    v.oid,
    case
      when exists (
        select from pg_options_to_table(v.reloptions) o where o.option_name = 'security_invoker' and o.option_value::boolean
      ) then current_user::regrole::oid
      else v.relowner
    end
  from pg_class v
  where v.relkind = 'v'
), reads (oid, reader) as (
  select to_regclass('cdc_bridge.reservation_payload')::oid, null::oid
  union
  select d.refobjid, readers.reader
  from reads
  join readers using (oid)
  join pg_rewrite r on r.ev_class = reads.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
)
select distinct c.oid::regclass::text, reads.reader::regrole::text
from reads
join pg_class c using (oid)
join pg_roles o on o.oid = reads.reader
where c.relkind in ('r', 'p') and c.relrowsecurity and not o.rolbypassrls and not o.rolsuper
  and (c.relowner <> reads.reader or c.relforcerowsecurity)
  and not exists (
    select
    from pg_policy y
    where y.polrelid = c.oid and y.polpermissive and y.polcmd in ('r', '*') and pg_get_expr(y.polqual, y.polrelid) = 'true'
      and y.polroles && array[0::oid, reads.reader]
  )
order by 1, 2

-- name: captured_unread
-- Tables that capture is attached to, and that the payload view does not read, be it through another view or as a partition
-- or child of what it reads.
with recursive reads (oid) as (
  select to_regclass('cdc_bridge.reservation_payload')::oid
  union
  select d.refobjid
  from reads
  join pg_rewrite r on r.ev_class = reads.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
), family (oid) as (
  select reads.oid from reads
  union
  select i.inhrelid from pg_inherits i join family on family.oid = i.inhparent
)
select distinct t.tgrelid::regclass::text
from pg_trigger t
join pg_proc p on p.oid = t.tgfoid
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'cdc_bridge' and t.tgname in ('cdc_bridge_insert', 'cdc_bridge_update')
  and t.tgrelid not in (select family.oid from family)
  and to_regclass('cdc_bridge.reservation_payload') is not null
order by 1

-- name: strange_roles
-- Who may act as the role that owns the schema, and of which roles the daemon's role and the owner are members: each as
-- (role, whose rights it has). Superusers, who may do anything anyway, are left out, and so is whoever has made a role
-- without being able to act as it.
select quote_ident(member.rolname), quote_ident(role.rolname)
from pg_auth_members m
join pg_roles member on member.oid = m.member
join pg_roles role on role.oid = m.roleid
where not member.rolsuper
  and (
    role.rolname = 'cdc_bridge_owner'
    and 'true' in (coalesce(to_jsonb(m) ->> 'set_option', 'true'), to_jsonb(m) ->> 'inherit_option')  -- since PostgreSQL 16
    or member.rolname in ('cdc_bridge', 'cdc_bridge_owner')
  )
order by 2, 1

-- name: read_nothing_through_view
-- Reads through the payload view with all rights that takes, and returns no row.
select * from cdc_bridge.reservation_payload limit 0


-- ---------------------------------------------------------------- is all well?

-- name: endpoint_states
-- How each endpoint is and how far behind. Its lag in seconds, and what makes it: the delivery that waits longest, if that
-- is longer than anything is unread. As many are looked through as the view counts.
select
  s.endpoint_id, s.name, s.state, s.since, s.problem, s.daemon, s.unread, s.waiting, s.dead,
  extract(epoch from s.lag)::float8 as lag_seconds,
  s.in_flight, s.listening, s.deliveries_a_second, s.last_success_at, s.last_failure_at, s.last_failure,
  e.last_minute_at, e.accepted_by_minute, e.refused_by_minute, e.reconciled_missing, e.reconciled_stale, now() as read_at,
  oldest.seq as oldest_waiting_seq,
  oldest.reservation_id as oldest_waiting_reservation,
  oldest.attempts as oldest_waiting_attempts,
  oldest.last_error as oldest_waiting_error
from cdc_bridge.endpoint_state s
join cdc_bridge.endpoint e using (endpoint_id)
left join lateral (
  select first.seq, first.reservation_id, first.attempts, first.last_error
  from (
    select d.seq, d.reservation_id, d.attempts, d.last_error, case d.failures when 0 then d.recorded_at else d.changed_at end as since
    from cdc_bridge.delivery d
    where d.endpoint_id = s.endpoint_id and d.state = 'waiting'
    order by d.seq
    limit 100000
  ) as first
  where first.since <= now() - s.lag + interval '1 second'
  order by first.seq
  limit 1
) as oldest on true
order by s.name

-- name: sing
-- Updates the canary; returns the transaction that did, in whose number the change stands in the log.
update cdc_bridge.canary set sung_at = now() returning pg_current_xact_id()::text::bigint

-- name: canary_captured
-- Whether a canary stands in the log.
select exists (
  select from cdc_bridge.change c where c.xid = %(xid)s::text::xid8 and c.reservation_id = 'cdc-bridge canary'
)


-- ---------------------------------------------------------------- deliveries by hand: show, retry, replay

-- name: known_endpoints
-- Every endpoint by name, and what a command has to know of it.
select
  endpoint_id, name, paused_at is not null, disabled_at is not null,
  cluster = (select system_identifier from pg_control_system()),
  greatest(created_at, pruned_until + interval '1 hour', now() - interval '7 days'),
  pruned_until + interval '1 hour'
from cdc_bridge.endpoint
order by name

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
set state = 'waiting', failures = 0, next_attempt_at = now(), recorded_at = now()
where endpoint_id = %(endpoint_id)s and seq = %(seq)s

-- name: wait_with_newer
-- A delivery waits, and a newer one of its reservation is tried for both.
update cdc_bridge.delivery
set state = 'waiting', failures = 0, next_attempt_at = null, recorded_at = now()
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
  where d.endpoint_id = part.endpoint_id and d.state = wanted.state and d.state in ('waiting', 'dead')
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
set state = 'waiting', failures = 0, next_attempt_at = now(), recorded_at = now()
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


-- ---------------------------------------------------------------- reservations as a whole: backfill, reconcile

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
where newest.seq is null or (%(again)s and newest.state <> 'waiting')

-- name: draw_numbers
-- Some numbers of the change log's own sequence; none comes twice.
select nextval('cdc_bridge.change_seq_seq') from generate_series(1, %(count)s::integer)

-- name: oldest_writer
-- Whose is the oldest transaction that still writes, as far as this role may see it.
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

-- name: count_waiting
-- How many of an endpoint's deliveries wait for an attempt.
select count(*) from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s and next_attempt_at is not null

-- name: still_waiting
-- Those of some deliveries that are not settled.
select seq
from cdc_bridge.delivery
where endpoint_id = %(endpoint_id)s and seq = any (%(seqs)s) and state = 'waiting'

-- name: queue_reservations
-- Queues calls under numbers drawn before, but not for a reservation whose newest delivery waits or is another one than
-- when it was chosen.
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at
)
select %(endpoint_id)s, chosen.seq, chosen.reservation_id, 'U', now(), 'waiting', 0, 0, now()
from unnest(%(seqs)s::bigint[], %(reservation_ids)s::text[], %(newest_seqs)s::bigint[])
  as chosen (seq, reservation_id, newest_seq)
left join lateral (
  select d.seq, d.state
  from cdc_bridge.delivery d
  where d.endpoint_id = %(endpoint_id)s and d.reservation_id = chosen.reservation_id
  order by d.reservation_id desc, d.seq desc
  limit 1
) as newest on true
where coalesce(newest.seq, 0) = chosen.newest_seq and newest.state is distinct from 'waiting'
on conflict do nothing
returning seq

-- name: in_one_snapshot
-- All that is read in this transaction is read as of one instant, and nothing is written.
set transaction isolation level repeatable read, read only

-- name: ledger_begins
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

-- name: reconcile_due
-- From when on an endpoint can be compared with e-Res's rows, and in how many seconds that is due. No row: it is not ours
-- any more, or its position is of another cluster.
select
  greatest(created_at, pruned_until + interval '1 hour', now() - interval '7 days'),
  extract(epoch from coalesce(reconciled_at + %(interval_seconds)s * interval '1 second', now()) - now())::float8
from cdc_bridge.endpoint
where endpoint_id = %(endpoint_id)s and fence = %(fence)s
  and cluster = (select system_identifier from pg_control_system())

-- name: note_reconciled
-- What the comparison of an endpoint with e-Res's rows has found.
update cdc_bridge.endpoint
set reconciled_at = now(), reconciled_missing = %(missing)s, reconciled_stale = %(stale)s
where endpoint_id = %(endpoint_id)s and fence = %(fence)s


-- ---------------------------------------------------------------- pruning

-- name: prune
-- Deletes what was settled long ago, page by page, each in a transaction of its own; not inside a transaction.
call cdc_bridge.prune(%(keep_days)s * interval '1 day', %(keep_dead_days)s * interval '1 day')
