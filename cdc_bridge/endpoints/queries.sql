-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice. In place of {columns}, {values}, {assignments} and
-- {excluded} stand the columns of the options that the statement is about, and in place of {options} those of all that
-- somebody may set (option_columns.py). "is true" behind a daemon's id: see those of the pipeline.

-- name: announce_endpoints
-- Notifies the daemons that endpoints or due deliveries have changed.
notify cdc_bridge_endpoint

-- name: declare_endpoint
-- Inserts the endpoint of the settings, from the changes committed from now on or from the oldest one that is kept; or
-- updates its options. Its secrets stay in the settings.
insert into cdc_bridge.endpoint (name, in_settings, {columns}, position, cluster)
select
  %(name)s, true, {values},
  case when %(from_oldest)s then '1:1:'::pg_snapshot else pg_current_snapshot() end,
  (select system_identifier from pg_control_system())
on conflict (name) do update set {excluded}

-- name: register_daemon
-- Registers a daemon. It has to lock its number next.
insert into cdc_bridge.daemon (name, alive_until, listening)
values (%(name)s, now() + %(lease_seconds)s * interval '1 second', %(listening)s)
returning daemon_id, tableoid::bigint, cdc_bridge.history_of(%(server)s)

-- name: renew_daemon
-- Renews this daemon's registration. Returns whether it still has one; the daemons that are not live any more; the seconds until
-- the first of the others may not be, and how many there are; the endpoints of no daemon that could get deliveries; those that
-- somebody has changed since a snapshot; and whether the schema is the one that was found.
with renewed as (
  update cdc_bridge.daemon
  set alive_until = now() + %(lease_seconds)s * interval '1 second', listening = %(listening)s
  where daemon_id = %(daemon_id)s and alive_until > '-infinity'
  returning daemon_id
), other as materialized (
  select d.daemon_id, d.alive_until,
    case when d.alive_until <= now() then true else pg_try_advisory_xact_lock_shared(52684, d.daemon_id::integer) end as ended
  from cdc_bridge.daemon d
  where d.daemon_id <> %(daemon_id)s
)
select
  exists (select from renewed) as registered,
  array(select o.daemon_id from other o where o.ended) as ended,
  (select extract(epoch from min(o.alive_until) - now())::float8 from other o where not o.ended) as next_end_in_seconds,
  (select count(*) from other o where not o.ended) as others,
  array(
    select e.endpoint_id from cdc_bridge.endpoint e where e.daemon_id is null and e.paused_at is null and e.disabled_at is null
  ) as free,
  exists (
    select
    from cdc_bridge.endpoint e
    where e.changed_xid >= pg_snapshot_xmin(%(listed_in)s::text::pg_snapshot)
      and not pg_visible_in_snapshot(e.changed_xid, %(listed_in)s::text::pg_snapshot)
  ) as changed,
  'cdc_bridge.endpoint'::regclass::oid::bigint as endpoint_table

-- name: report_states
-- Reports the state of endpoints whose leases are ours. Returns which: not those that somebody has locked.
with unlocked as (
  select ours.*
  from unnest(
    %(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[],
    %(failing_since)s::timestamptz[], %(next_probe_at)s::timestamptz[], %(problems)s::text[],
    %(rate_limited_since)s::timestamptz[], %(in_flight)s::integer[], %(deliveries_per_second)s::real[],
    %(last_success_at)s::timestamptz[], %(last_failure_at)s::timestamptz[], %(last_failure)s::text[],
    %(last_minute_at)s::timestamptz[], %(delivered_by_minute)s::text[], %(failed_by_minute)s::text[]
  ) as ours (
    endpoint_id, fencing_token, failing_since, next_probe_at, problem, rate_limited_since, in_flight,
    deliveries_per_second, last_success_at, last_failure_at, last_failure, last_minute_at, delivered_by_minute,
    failed_by_minute
  )
  cross join lateral (  -- by its key for each, whatever the statistics say of the others
    select
    from cdc_bridge.endpoint e
    where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token and (e.daemon_id = %(daemon_id)s) is true
    for no key update skip locked
  ) as leased
)
update cdc_bridge.endpoint e
set
  failing_since = unlocked.failing_since,
  next_probe_at = unlocked.next_probe_at,
  problem = unlocked.problem,
  rate_limited_since = unlocked.rate_limited_since,
  in_flight = unlocked.in_flight,
  deliveries_per_second = unlocked.deliveries_per_second,
  last_success_at = coalesce(unlocked.last_success_at, e.last_success_at),
  last_failure_at = coalesce(unlocked.last_failure_at, e.last_failure_at),
  last_failure = coalesce(unlocked.last_failure, e.last_failure),
  last_minute_at = coalesce(unlocked.last_minute_at, e.last_minute_at),
  delivered_by_minute = coalesce(unlocked.delivered_by_minute::integer[], e.delivered_by_minute),
  failed_by_minute = coalesce(unlocked.failed_by_minute::integer[], e.failed_by_minute)
from unlocked
where e.endpoint_id = unlocked.endpoint_id
returning e.endpoint_id

-- name: current_snapshot
-- The snapshot of a transaction.
select pg_current_snapshot()::text as snapshot

-- name: changed_endpoints
-- The endpoints that somebody has changed since a snapshot; null: all.
select
  endpoint_id, name, in_settings, {columns},
  -- 'infinity' and years beyond 9999 cannot be read as times: one such row would hide all others.
  case when previous_secret_until is not null then
    greatest(least(previous_secret_until, timestamptz '9999-12-30 00:00:00+00'), timestamptz '1970-01-01 00:00:00+00')
  end as previous_secret_until,
  paused_at is not null as paused,
  disabled_at is not null as disabled,
  resumed_at::text as resumed_at,
  problem,
  cluster = (select system_identifier from pg_control_system()) as same_cluster
from cdc_bridge.endpoint
where %(listed_in)s::text is null
  or changed_xid >= pg_snapshot_xmin(%(listed_in)s::text::pg_snapshot)
    and not pg_visible_in_snapshot(changed_xid, %(listed_in)s::text::pg_snapshot)
order by endpoint_id

-- name: endpoint_ids
-- The ids of all endpoints.
select coalesce(array_agg(endpoint_id), '{}') as endpoint_ids from cdc_bridge.endpoint

-- name: end_daemon
-- Ends the leases of a daemon that is not live any more, or of this one.
select cdc_bridge.end_daemon(%(daemon_id)s)

-- name: list_endpoints
-- Every endpoint or one, with all its secrets, for a check or a test request. (The time is bounded as above.)
select
  name, in_settings, {columns},
  case when previous_secret_until is not null then
    greatest(least(previous_secret_until, timestamptz '9999-12-30 00:00:00+00'), timestamptz '1970-01-01 00:00:00+00')
  end as previous_secret_until,
  paused_at,
  disabled_at is not null as disabled
from cdc_bridge.endpoint
where %(endpoint_id)s::bigint is null or endpoint_id = %(endpoint_id)s
order by endpoint_id

-- name: subscriptions
-- What the endpoints get of the reservations.
select distinct payload, "only" from cdc_bridge.endpoint

-- name: acquire_leases
-- Leases those of some endpoints that are free. Returns their positions, the highest number in their delivery logs and their
-- attempts of the last hour.
update cdc_bridge.endpoint e
set
  fencing_token = e.fencing_token + 1,
  daemon_id = %(daemon_id)s,
  following = false,
  released_at = null,
  failing_since = null,
  next_probe_at = null,
  problem = null,
  rate_limited_since = null
where e.endpoint_id in (
    select free.endpoint_id
    from cdc_bridge.endpoint free
    where free.endpoint_id = any (%(endpoint_ids)s::bigint[])
      and free.daemon_id is null and free.paused_at is null and free.disabled_at is null
    for update of free skip locked
  )
  and cdc_bridge.is_registered(%(daemon_id)s) is not null
returning
  e.endpoint_id, e.fencing_token, e.position::text, e.place_xid::text::bigint, e.place_seq,
  (select d.seq from cdc_bridge.delivery d where d.endpoint_id = e.endpoint_id order by d.seq desc limit 1),
  e.last_minute_at, e.delivered_by_minute, e.failed_by_minute

-- name: free_all_but
-- Releases a daemon's endpoints but some: it may have leased others and not have learned of it. Returns how many are left, as
-- somebody has locked them.
with freed as (
  update cdc_bridge.endpoint
  set daemon_id = null, following = false, released_at = now()
  where endpoint_id in (
    select e.endpoint_id
    from cdc_bridge.endpoint e
    where e.daemon_id = %(daemon_id)s and e.endpoint_id <> all (%(endpoint_ids)s::bigint[])
    for no key update skip locked
  )
  returning endpoint_id
)
select count(*)
from cdc_bridge.endpoint
where daemon_id = %(daemon_id)s and endpoint_id <> all (%(endpoint_ids)s::bigint[])
  and endpoint_id not in (select endpoint_id from freed)

-- name: end_sessions_of_expired
-- Ends the sessions of daemons whose registration has expired. A daemon frozen in mid-recording locks its row, and no time-out
-- of PostgreSQL ends that for certain.
select count(pg_terminate_backend(a.pid))
from pg_stat_activity a
where a.datname = current_database() and a.usename = current_user and a.application_name in (
  select left('cdc-bridge ' || d.name, 63)
  from cdc_bridge.daemon d
  where d.daemon_id = any (%(daemon_ids)s::bigint[]) and d.name <> %(name)s
    and d.alive_until < now() and d.alive_until > '-infinity'
)

-- name: release_leases
-- Releases leases, so that another daemon may acquire the endpoints at once, and reports their states since the last report. Not
-- those that somebody has locked.
with unlocked as (
  select ours.*
  from unnest(
    %(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[], %(problems)s::text[],
    %(last_success_at)s::timestamptz[], %(last_failure_at)s::timestamptz[], %(last_failure)s::text[],
    %(last_minute_at)s::timestamptz[], %(delivered_by_minute)s::text[], %(failed_by_minute)s::text[]
  ) as ours (
    endpoint_id, fencing_token, problem,
    last_success_at, last_failure_at, last_failure, last_minute_at, delivered_by_minute, failed_by_minute
  )
  cross join lateral (  -- by its key for each, whatever the statistics say of the others
    select
    from cdc_bridge.endpoint e
    where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token and (e.daemon_id = %(daemon_id)s) is true
    for no key update skip locked
  ) as leased
)
update cdc_bridge.endpoint e
set
  position = case when e.following then d.position else e.position end,
  place_xid = case when e.following then d.place_xid else e.place_xid end,
  place_seq = case when e.following then d.place_seq else e.place_seq end,
  following = false,
  daemon_id = null, released_at = now(), failing_since = null, next_probe_at = null,
  problem = unlocked.problem, rate_limited_since = null, in_flight = null, deliveries_per_second = null,
  last_success_at = coalesce(unlocked.last_success_at, e.last_success_at),
  last_failure_at = coalesce(unlocked.last_failure_at, e.last_failure_at),
  last_failure = coalesce(unlocked.last_failure, e.last_failure),
  last_minute_at = coalesce(unlocked.last_minute_at, e.last_minute_at),
  delivered_by_minute = coalesce(unlocked.delivered_by_minute::integer[], e.delivered_by_minute),
  failed_by_minute = coalesce(unlocked.failed_by_minute::integer[], e.failed_by_minute)
from cdc_bridge.daemon d, unlocked
where d.daemon_id = %(daemon_id)s and e.endpoint_id = unlocked.endpoint_id

-- name: still_leased
-- Those of some leases that are still ours.
select ours.endpoint_id
from unnest(%(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[]) as ours (endpoint_id, fencing_token)
where (
  select e.daemon_id from cdc_bridge.endpoint e where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token
) = %(daemon_id)s

-- name: disable_endpoints
-- Stops deliveries to endpoints that responded with 410, until somebody resumes them. Not those that somebody has locked.
update cdc_bridge.endpoint
set disabled_at = now()
where endpoint_id in (
  select ours.endpoint_id
  from unnest(%(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[]) as ours (endpoint_id, fencing_token)
  cross join lateral (  -- by its key for each, whatever the statistics say of the others
    select
    from cdc_bridge.endpoint e
    where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token and (e.daemon_id = %(daemon_id)s) is true
    for no key update skip locked
  ) as leased
)

-- name: record_problem
-- Records why an endpoint that nobody has leased is invalid; what its last daemon reported before it was killed no longer holds.
update cdc_bridge.endpoint
set problem = %(problem)s, failing_since = null, next_probe_at = null, rate_limited_since = null
where endpoint_id in (
  select e.endpoint_id
  from cdc_bridge.endpoint e
  where e.endpoint_id = %(endpoint_id)s and e.daemon_id is null
  for no key update skip locked
)

-- name: add_endpoint
-- Inserts an endpoint, from the changes committed from now on or from the oldest one that is kept. No row: the name is taken.
insert into cdc_bridge.endpoint (name, in_settings, {columns}, position, cluster)
select
  %(name)s, false, {values},
  case when %(from_oldest)s then '1:1:'::pg_snapshot else pg_current_snapshot() end,
  (select system_identifier from pg_control_system())
on conflict (name) do nothing
returning endpoint_id

-- name: endpoint_options
-- The options of an endpoint, what was skipped so far, and what else is shown beside its status. No secret and no header's value leaves the
-- database for it.
select
  {columns},
  array(select split_part(header, ':', 1) from unnest(headers) as header) as header_names,
  secret is not null as signed,
  case when previous_secret_until > now() then least(previous_secret_until, timestamptz '9999-12-30 00:00:00+00') end
    as rotating_until,
  p.position::text as snapshot, p.place_xid::text::bigint, p.place_seq,
  created_at, reconciled_at, reconciled_missing, reconciled_stale,
  skipped_deleted, skipped_filtered, skipped_event, skipped_unchanged,
  encode(sha256(convert_to(row({options})::text, 'UTF8')), 'hex') as revision
from cdc_bridge.endpoint
cross join lateral (
  select p.position, p.place_xid, p.place_seq
  from cdc_bridge.endpoint_position p
  where p.endpoint_id = endpoint.endpoint_id
) as p
where endpoint_id = %(endpoint_id)s

-- name: endpoint_counts
-- Deliveries queued or retrying, dead letters, deliveries of the last 24 hours, and how many rows of the delivery log, the
-- newest ones, were looked at for the latter. None counts further than the limit.
select
  (
    select count(*)
    from (select from cdc_bridge.delivery where endpoint_id = %(endpoint_id)s and state in ('queued', 'retrying') limit %(limit)s) as pending
  ) as pending,
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

-- name: set_endpoint
-- Changes the options that are given. What was wrong with it may be right now. No row: it was removed, or its options
-- are not those of the revision that is given.
update cdc_bridge.endpoint
set {assignments}, problem = null
where endpoint_id = %(endpoint_id)s
  and (%(revision)s::text is null or encode(sha256(convert_to(row({options})::text, 'UTF8')), 'hex') = %(revision)s)
returning encode(sha256(convert_to(row({options})::text, 'UTF8')), 'hex')

-- name: lock_endpoints
-- Keeps everybody from writing to the table until the transaction ends; reading goes on. It is the first lock of the
-- transaction: daemons, which lock rows in another order, cause no deadlock.
lock table cdc_bridge.endpoint in share row exclusive mode

-- name: limit_lock_of_endpoints
-- Gives up the lock soon if a session does not let go: those that come later wait behind us.
set local lock_timeout = '5s'

-- name: declared_endpoints
-- Every endpoint by name, with all its secrets: what a manifest is compared with.
select
  endpoint_id, name, in_settings, {columns}, secret, previous_secret_until is not null and previous_secret_until > now() as rotating
from cdc_bridge.endpoint
order by name

-- name: add_endpoints
-- Inserts many endpoints, as add_endpoint does one.
insert into cdc_bridge.endpoint (name, in_settings, {columns}, position, cluster)
select
  name, false, {columns},
  case when %(from_oldest)s then '1:1:'::pg_snapshot else pg_current_snapshot() end,
  (select system_identifier from pg_control_system())
from jsonb_populate_recordset(null::cdc_bridge.endpoint, %(endpoints)s::text::jsonb)

-- name: set_endpoints
-- Sets all options of many endpoints, as set_endpoint does some of one.
update cdc_bridge.endpoint e
set {excluded}, problem = null
from jsonb_populate_recordset(null::cdc_bridge.endpoint, %(endpoints)s::text::jsonb) as excluded
where e.endpoint_id = excluded.endpoint_id

-- name: replace_secrets
-- Gives many endpoints another signing secret, or none; with an overlap, requests are signed with the one before as well
-- for a day.
update cdc_bridge.endpoint e
set
  secret = given.secret,
  previous_secret = case when given.overlap then e.secret end,
  previous_secret_until = case when given.overlap and e.secret is not null then now() + interval '1 day' end,
  problem = null
from unnest(%(endpoint_ids)s::bigint[], %(secrets)s::text[], %(overlaps)s::boolean[]) as given (endpoint_id, secret, overlap)
where e.endpoint_id = given.endpoint_id

-- name: undelivered_of_endpoints
-- What is still to be delivered to some endpoints: queued or retrying deliveries, and unread changes, null if they cannot
-- be counted.
select endpoint_id, pending, unread from cdc_bridge.endpoint_status where endpoint_id = any (%(endpoint_ids)s)

-- name: remove_endpoints
-- Removes many endpoints, none of the settings.
delete from cdc_bridge.endpoint
where endpoint_id = any (%(endpoint_ids)s) and not in_settings

-- name: pause_endpoint
-- Stops the deliveries. No row: it is paused already, or removed.
update cdc_bridge.endpoint
set paused_at = now()
where endpoint_id = %(endpoint_id)s and paused_at is null
returning true

-- name: resume_endpoint
-- Starts the deliveries again, also if the endpoint itself had disabled them, and ends the breaker's pause. Says whether
-- they were stopped. No row: it was removed.
update cdc_bridge.endpoint e
set paused_at = null, disabled_at = null, resumed_at = now()
from (
  select paused_at is not null or disabled_at is not null as stopped
  from cdc_bridge.endpoint
  where endpoint_id = %(endpoint_id)s
  for update
) as before
where e.endpoint_id = %(endpoint_id)s
returning before.stopped

-- name: remove_endpoint
-- Removes an endpoint; one of the settings only while no live daemon has leased it, which would lose it in mid-work.
delete from cdc_bridge.endpoint
where endpoint_id = %(endpoint_id)s
  and (
    not in_settings or daemon_id is null
    or not exists (select from cdc_bridge.daemon d where d.daemon_id = endpoint.daemon_id and d.alive_until > now())
    or pg_try_advisory_xact_lock_shared(52684, daemon_id::integer)
  )
returning true

-- name: endpoint_secrets
-- An endpoint's secrets as they are stored, and what they are encrypted for; locks the row. No row: it was removed.
select name, {columns} from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s for no key update

-- name: set_secrets
-- Writes an endpoint's secrets: the same, encrypted in another way.
update cdc_bridge.endpoint set {assignments} where endpoint_id = %(endpoint_id)s

-- name: has_encrypted_secrets
-- Whether a secret of any endpoint is encrypted.
select exists (select from cdc_bridge.endpoint_secret where key_id is not null)

-- name: endpoints_to_encrypt
-- Endpoints with a secret that is in plain text or encrypted with another key than this one; without one, those with an
-- encrypted secret.
select distinct endpoint_id, name
from cdc_bridge.endpoint_secret
where case when %(key_id)s::text is null then key_id is not null else key_id is distinct from %(key_id)s end
order by name

-- name: rotate_secret
-- Gives an endpoint a new secret and keeps the one before for some hours. No row: a rotation is in progress, and not to
-- be cut short.
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

-- name: survey_endpoints
-- How many endpoints have which status and which problem; some of each that are in trouble; figures of all others; and one page
-- of those that match a search, those in trouble first. The log is looked at once for all endpoints of the same position, and
-- unread changes are counted for the most common positions. Takes no more than a reader's rights.
with placed as materialized (
  select
    p.endpoint_id,
    min(p.endpoint_id) over alike as alike,
    count(*) over alike as number
  from cdc_bridge.endpoint_position p
  window alike as (partition by p.position::text, p.place_xid, p.place_seq, p.cluster)
), behind as materialized (
  select s.endpoint_id, s.unread_since
  from cdc_bridge.endpoint_status s
  where s.endpoint_id = any (array(select p.alike from placed p))
), counted as materialized (
  select s.endpoint_id, s.unread
  from cdc_bridge.endpoint_status s
  where s.endpoint_id = any (array(select p.endpoint_id from placed p where p.endpoint_id = p.alike order by p.number desc limit 10))
), found as (
  select
    s.endpoint_id, s.name, s.status, s.since, s.pending, s.pending_since, s.dead, s.last_success_at, s.last_failure_at,
    min(s.endpoint_id) over (partition by p.position::text, p.place_xid, p.place_seq, p.cluster) as alike,
    case when %(search)s::text is null then true else
      position(lower(%(search)s::text) in lower(concat_ws(' ', s.name, s.url, array_to_string(e."only", ' ')))) > 0
    end and (%(statuses)s::text[] is null or s.status = any (%(statuses)s::text[])) as matching
  from cdc_bridge.endpoint_status s
  join cdc_bridge.endpoint_position p on p.endpoint_id = s.endpoint_id
  join cdc_bridge.endpoint e on e.endpoint_id = s.endpoint_id
), measured as (
  select
    f.*, coalesce(c.unread, 0) + f.pending as backlog,
    now() - least(b.unread_since, f.pending_since) as lag,
    now() - f.since as lasts,
    coalesce(f.status = 'unassigned' and f.since > now() - %(settling_seconds)s * interval '1 second', false) as settling
  from found f
  join behind b on b.endpoint_id = f.alike
  left join counted c on c.endpoint_id = f.alike
), judged as (
  select
    f.*,
    -- A status that does not last may be a change of daemons.
    case
      when f.status in ('disabled', 'invalid') then f.status
      when f.status in ('failing', 'unassigned') and f.lasts > limits.lag and not f.settling then f.status
    end as problem,
    f.status not in ('paused', 'disabled') and f.lag > limits.lag as late
  from measured f, (select %(max_lag_seconds)s * interval '1 second' as lag) as limits
), ranked as (
  select
    j.*,
    case
      when j.late is true or j.problem is not null or j.status in ('failing', 'degraded') or j.status = 'unassigned' and not j.settling
        then array_position('{invalid,disabled,unassigned,failing,degraded,healthy}'::text[], j.status)
    end as rank  -- null: it is in no trouble
  from judged j
), numbered as materialized (
  select
    r.*,
    row_number() over (partition by r.rank, r.problem order by r.lag desc nulls last, r.name) as number,
    row_number() over (partition by r.rank is not null and r.late is true order by r.lag desc nulls last, r.name) as number_late
  from ranked r
), named as materialized (
  select n.endpoint_id
  from numbered n
  where n.rank is not null and (n.number <= %(most_named)s or n.late and n.number_late <= %(most_named)s)
), others as materialized (
  select * from numbered n where n.endpoint_id <> all (array(select named.endpoint_id from named))
)
select
  (select jsonb_object_agg(n.status, n.number) from (select status, count(*) as number from numbered group by status) as n) as by_status,
  (
    select jsonb_object_agg(n.problem, n.number)
    from (select problem, count(*) as number from numbered where problem is not null group by problem) as n
  ) as by_problem,
  (select count(*) from numbered where late) as late,
  (select count(*) from numbered where rank is not null) as number_in_trouble,
  (select jsonb_object_agg(n.status, n.number) from (select status, count(*) as number from others group by status) as n)
    as others_by_status,
  o.*,
  array(
    select n.endpoint_id from numbered n join named using (endpoint_id) order by n.rank, n.lag desc nulls last, n.name
  ) as named,
  (select count(*) from numbered where matching) as matching,
  array(
    select n.endpoint_id
    from numbered n
    where n.matching
    order by
      case when not %(by_name)s then n.rank end nulls last,
      case when not %(by_name)s and n.rank is not null then n.lag end desc nulls last,
      n.name
    limit %(limit)s offset %(offset)s
  ) as page
from (
  select
    coalesce(extract(epoch from max(lag) filter (where status not in ('paused', 'disabled'))), 0)::float8 as others_lag_seconds,
    coalesce(max(backlog), 0) as others_backlog,
    coalesce(sum(pending), 0)::bigint as others_pending,
    coalesce(sum(dead), 0)::bigint as others_dead,
    max(last_success_at) as others_last_success_at,
    max(last_failure_at) as others_last_failure_at
  from others
) as o

-- name: endpoint_overviews
-- Status, lag, backlog and recent attempts of every endpoint, of the one of a name, of the next ones behind a name, or of those
-- that are named by their numbers; and the delivery that makes the lag: the oldest pending one, unless an unread change is
-- older. The log is counted once for all endpoints of the same position. Takes no more than a reader's rights.
with placed as materialized (
  select
    p.endpoint_id,
    min(p.endpoint_id) over (partition by p.position::text, p.place_xid, p.place_seq, p.cluster) as alike
  from cdc_bridge.endpoint_position p
  where p.endpoint_id = any (array(
    select asked.endpoint_id
    from cdc_bridge.endpoint asked
    where (%(name)s::text is null or asked.name = %(name)s)
      and (%(after)s::text is null or asked.name > %(after)s)
      and (%(endpoint_ids)s::bigint[] is null or asked.endpoint_id = any (%(endpoint_ids)s::bigint[]))
    order by asked.name
    limit %(limit)s::integer
  ))
), behind as materialized (
  select s.endpoint_id, s.unread, s.unread_since
  from cdc_bridge.endpoint_status s
  where s.endpoint_id = any (array(select p.alike from placed p))
)
select
  s.endpoint_id, s.name, s.url, e.in_settings, e."only" = '{}' and e.events = 'both' as gets_everything, now() as read_at,
  s.status, s.since, s.reason, s.next_probe_at, s.daemon, b.unread, s.pending, s.dead,
  extract(epoch from now() - least(b.unread_since, s.pending_since))::float8 as lag_seconds,
  s.in_flight, s.listening, s.deliveries_per_second, s.last_success_at, s.last_failure_at, s.last_failure,
  s.rate_limited_since, e.max_per_second,
  e.last_minute_at, e.delivered_by_minute, e.failed_by_minute, e.reconciled_missing, e.reconciled_stale,
  oldest.seq as oldest_pending_seq,
  oldest.reservation_id as oldest_pending_reservation,
  oldest.attempts as oldest_pending_attempts,
  oldest.last_error as oldest_pending_error
from placed p
join behind b on b.endpoint_id = p.alike
join cdc_bridge.endpoint_status s on s.endpoint_id = p.endpoint_id
join cdc_bridge.endpoint e on e.endpoint_id = p.endpoint_id
left join lateral (
  select first.seq, first.reservation_id, first.attempts, first.last_error
  from (
    select d.seq, d.reservation_id, d.attempts, d.last_error, case d.failures when 0 then d.recorded_at else d.changed_at end as since
    from cdc_bridge.delivery d
    where d.endpoint_id = p.endpoint_id and d.state in ('queued', 'retrying')
    order by d.seq
    limit 10000
  ) as first
  where first.since <= least(b.unread_since, s.pending_since) + interval '1 second'
  order by first.seq
  limit 1
) as oldest on true
where s.endpoint_id = any (array(select p.endpoint_id from placed p))  -- else the view reads all
order by s.name

-- name: number_of_endpoints
-- How many endpoints there are.
select count(*) from cdc_bridge.endpoint

-- name: some_names
-- Names of endpoints: those nearest to one in the alphabet, or the first ones.
select near.name
from (
  (select name from cdc_bridge.endpoint where name >= coalesce(%(near)s::text, '') order by name limit %(limit)s)
  union all
  (select name from cdc_bridge.endpoint where name < %(near)s::text order by name desc limit %(limit)s)
) as near
order by near.name

-- name: known_endpoints
-- Every endpoint by name, or the one of a name, and what a command has to know of it. Takes no more than a reader's
-- rights.
select
  e.endpoint_id, e.name, e.in_settings, e.payload, e."only", e.events,
  e.paused_at is not null as paused,
  e.disabled_at is not null as disabled,
  e.cluster = (select system_identifier from pg_control_system()) as same_cluster,
  s.daemon,
  greatest(e.created_at, e.pruned_until + interval '1 hour', now() - interval '7 days') as compared_since,
  e.pruned_until + interval '1 hour' as delivery_log_start
from cdc_bridge.endpoint e
join cdc_bridge.endpoint_status s using (endpoint_id)
where s.endpoint_id = any (array(  -- else the view reads all
  select known.endpoint_id from cdc_bridge.endpoint known where %(name)s::text is null or known.name = %(name)s
))
order by e.name
