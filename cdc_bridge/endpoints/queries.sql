-- Statements of this room, by name. The comment below a "-- name:" line says what the statement is for. Parameters are
-- psycopg's %(name)s, so a literal percent sign is written twice. In place of {columns}, {values}, {assignments} and
-- {excluded} stand the columns of the options that the statement is about (option_columns.py).

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

-- name: renew_and_list
-- Renews our leases and reports the state of their endpoints; a lease released meanwhile stays released. Returns every
-- endpoint as it was when the statement began. "free": its lease has expired, or its daemon's session has ended.
-- "renewed": its lease was ours and still is.
with renewed as (
  update cdc_bridge.endpoint e
  set
    daemon_number = %(daemon_number)s,
    leased_until = now() + %(lease_seconds)s * interval '1 second',
    failing_since = ours.failing_since,
    next_probe_at = ours.next_probe_at,
    problem = ours.problem,
    rate_limited_since = ours.rate_limited_since,
    in_flight = ours.in_flight,
    listening = %(listening)s,
    deliveries_per_second = ours.deliveries_per_second,
    last_success_at = coalesce(ours.last_success_at, e.last_success_at),
    last_failure_at = coalesce(ours.last_failure_at, e.last_failure_at),
    last_failure = coalesce(ours.last_failure, e.last_failure),
    last_minute_at = coalesce(ours.last_minute_at, e.last_minute_at),
    delivered_by_minute = coalesce(ours.delivered_by_minute::integer[], e.delivered_by_minute),
    failed_by_minute = coalesce(ours.failed_by_minute::integer[], e.failed_by_minute)
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
  where e.endpoint_id = ours.endpoint_id and e.fencing_token = ours.fencing_token and e.leased_until is not null
  returning e.endpoint_id
)
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
  fencing_token,
  cluster = (select system_identifier from pg_control_system()) as same_cluster,
  case
    when leased_until is null or leased_until <= now() then true
    else pg_try_advisory_xact_lock_shared(52684, daemon_number)
  end as free,
  extract(epoch from leased_until - now())::float8 as lease_ends_in_seconds,
  endpoint_id in (select r.endpoint_id from renewed r) as renewed,
  tableoid::bigint as endpoint_table
from cdc_bridge.endpoint
order by endpoint_id

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
-- Leases those of some endpoints that no other daemon has leased or renewed since they were listed. Returns their
-- positions, the server's history and their attempts of the last hour.
update cdc_bridge.endpoint e
set
  fencing_token = e.fencing_token + 1,
  daemon_number = %(daemon_number)s,
  daemon_name = %(daemon_name)s,
  leased_until = now() + %(lease_seconds)s * interval '1 second',
  released_at = null,
  failing_since = null,
  next_probe_at = null,
  problem = null,
  rate_limited_since = null
where e.endpoint_id in (
  select free.endpoint_id
  from unnest(%(endpoint_ids)s::bigint[], %(fencing_tokens)s::bigint[]) as listed (endpoint_id, fencing_token)
  join cdc_bridge.endpoint free using (endpoint_id, fencing_token)
  where free.paused_at is null and free.disabled_at is null
    and case
      when free.leased_until is null or free.leased_until <= now() then true
      else pg_try_advisory_xact_lock_shared(52684, free.daemon_number)
    end
  for update of free skip locked
)
returning
  e.endpoint_id, e.fencing_token, e.position::text, e.place_xid::text::bigint, e.place_seq,
  cdc_bridge.history_of(%(server)s), e.last_minute_at, e.delivered_by_minute, e.failed_by_minute

-- name: end_sessions_of_expired_leases
-- Ends the sessions of daemons that let their leases of some of these endpoints expire. A daemon frozen in mid-recording
-- locks the endpoint's row, and no time-out of PostgreSQL ends that for certain.
select count(pg_terminate_backend(a.pid))
from pg_stat_activity a
where a.datname = current_database() and a.usename = current_user and a.application_name in (
  select left('cdc-bridge ' || e.daemon_name, 63)
  from cdc_bridge.endpoint e
  where e.endpoint_id = any (%(endpoint_ids)s) and e.leased_until < now() and e.daemon_name <> %(daemon_name)s
)

-- name: release_lease
-- Releases a lease, so that another daemon may acquire the endpoint at once, and reports its state since the last renewal.
update cdc_bridge.endpoint
set
  daemon_number = null, daemon_name = null, leased_until = null, released_at = now(), failing_since = null, next_probe_at = null,
  problem = %(problem)s, rate_limited_since = null, in_flight = null, listening = null, deliveries_per_second = null,
  last_success_at = coalesce(%(last_success_at)s, last_success_at),
  last_failure_at = coalesce(%(last_failure_at)s, last_failure_at),
  last_failure = coalesce(%(last_failure)s, last_failure),
  last_minute_at = coalesce(%(last_minute_at)s, last_minute_at),
  delivered_by_minute = coalesce(%(delivered_by_minute)s::text::integer[], delivered_by_minute),
  failed_by_minute = coalesce(%(failed_by_minute)s::text::integer[], failed_by_minute)
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s

-- name: record_problem
-- Records why an endpoint is invalid; what its last daemon reported before it was killed no longer holds.
update cdc_bridge.endpoint
set problem = %(problem)s, failing_since = null, next_probe_at = null, rate_limited_since = null
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s

-- name: disable_endpoint
-- Stops deliveries to an endpoint that responded with 410, until somebody resumes it.
update cdc_bridge.endpoint
set disabled_at = now()
where endpoint_id = %(endpoint_id)s and fencing_token = %(fencing_token)s

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
  position::text as snapshot, place_xid::text::bigint, place_seq,
  created_at, reconciled_at, reconciled_missing, reconciled_stale,
  skipped_deleted, skipped_filtered, skipped_event, skipped_unchanged
from cdc_bridge.endpoint
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
-- Changes the options that are given. What was wrong with it may be right now.
update cdc_bridge.endpoint
set {assignments}, problem = null
where endpoint_id = %(endpoint_id)s
returning true

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
    not in_settings or leased_until is null or leased_until <= now()
    or pg_try_advisory_xact_lock_shared(52684, daemon_number)
  )
returning true

-- name: is_signed_with
-- A row: an endpoint's requests are signed with a secret already.
select true from cdc_bridge.endpoint where endpoint_id = %(endpoint_id)s and secret = %(secret)s

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

-- name: endpoint_overviews
-- Status, lag, backlog and recent attempts of every endpoint, or of the one of a name; and the delivery that makes the lag:
-- the oldest pending one, unless an unread change is older. It takes no more than a reader's rights.
select
  s.endpoint_id, s.name, s.url, e.in_settings, now() as read_at,
  s.status, s.since, s.reason, s.next_probe_at, s.daemon, s.unread, s.pending, s.dead,
  extract(epoch from s.lag)::float8 as lag_seconds,
  s.in_flight, s.listening, s.deliveries_per_second, s.last_success_at, s.last_failure_at, s.last_failure,
  s.rate_limited_since, e.max_per_second,
  e.last_minute_at, e.delivered_by_minute, e.failed_by_minute, e.reconciled_missing, e.reconciled_stale,
  oldest.seq as oldest_pending_seq,
  oldest.reservation_id as oldest_pending_reservation,
  oldest.attempts as oldest_pending_attempts,
  oldest.last_error as oldest_pending_error
from cdc_bridge.endpoint_status s
join cdc_bridge.endpoint e using (endpoint_id)
left join lateral (
  select first.seq, first.reservation_id, first.attempts, first.last_error
  from (
    select d.seq, d.reservation_id, d.attempts, d.last_error, case d.failures when 0 then d.recorded_at else d.changed_at end as since
    from cdc_bridge.delivery d
    where d.endpoint_id = s.endpoint_id and d.state in ('queued', 'retrying')
    order by d.seq
    limit 100000
  ) as first
  where first.since <= now() - s.lag + interval '1 second'
  order by first.seq
  limit 1
) as oldest on true
where %(name)s::text is null or s.name = %(name)s
order by s.name

-- name: known_endpoints
-- Every endpoint by name, and what a command has to know of it. Takes no more than a reader's rights.
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
order by e.name
