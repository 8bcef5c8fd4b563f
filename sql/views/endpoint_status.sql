-- cdc_bridge.endpoint_status: the status of each endpoint, its lag and its backlog. It shows no secret. A status is decided
-- here and nowhere else: commands, dashboard, health checks and metrics read it from this view.
--
--   disabled    the endpoint responded with 410
--   paused      an operator paused it
--   invalid     it cannot be used: a daemon found its definition or its payload wrong, its position is another cluster's, or
--               its changes are not captured
--   unassigned  no live daemon has its lease
--   failing     its breaker is open; or the deliveries attempted in the last hour and since its last success were all
--               rejected: those of three reservations, or of one where it never had a success
--   degraded    some deliveries are rejected and tried again, or one became a dead letter in the last 24 hours; or its
--               daemon reports a problem, such as a delivery that cannot be recorded
--   healthy     none of these
--
-- A daemon is live until its alive_until and while its session holds the advisory lock (52684, daemon_id). pg_locks tells
-- that to every role and without a side effect. Trying the lock would take it until the transaction ends: of two who try,
-- or of one who tries while the daemon reconnects, one would see what is not so.
--
--   since       when the status began, where that is known; of an endpoint that rejects everything, the oldest of those
--               attempts
--   reason      why, in words
--   next_probe_at
--               when a failing endpoint is tried again
--   unread      changes in the log behind the position, whether the endpoint gets them or not; up to 1,500 of them may be
--               in the daemon's hands or settled. Counted up to 10,000, estimated from there on. null: the position is
--               another cluster's
--   unread_since
--               when the oldest of them was made
--   pending     deliveries queued or retrying, counted up to 10,000
--   pending_since
--               when the change of the oldest of them was made; of a delivery that was queued by hand, when that was
--   dead        dead letters, counted up to 10,000
--   lag         time since the earlier of unread_since and pending_since. null: there is none
--   in_flight, listening, deliveries_per_second, rate_limited_since
--               as of the daemon's last heartbeat, some seconds ago; null without a live daemon
--
--   rate_limited_since
--               since when its requests have had to wait for max_per_second, which is then the reason for its lag
--
--   url         without user, password, query and fragment: any of them may be a secret, and readers see this view
--
-- Each count walks an index up to its limit: some ten milliseconds for an endpoint with all three at their limit. What is not
-- asked for is not read: a query without unread, pending, dead and lag counts nothing. Endpoints with the same position have
-- the same unread, so whoever asks for thousands of them asks for one of each position (cdc_bridge.endpoint_position).

create or replace view cdc_bridge.endpoint_status as
with
  server as materialized (select system_identifier from pg_control_system()),
  capture as materialized (select cdc_bridge.problem_of_capture() as problem),
  live_daemon as materialized (
    select d.daemon_id, d.name, d.listening
    from pg_locks l
    join cdc_bridge.daemon d on d.daemon_id = l.objid::bigint and d.alive_until > now()
    where l.locktype = 'advisory' and l.classid = 52684 and l.objsubid = 2 and l.mode = 'ExclusiveLock' and l.granted
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
  )
select
  e.endpoint_id,
  e.name,
  judged.status,
  case judged.status
    when 'disabled' then e.disabled_at
    when 'paused' then e.paused_at
    when 'unassigned' then
      case
        when e.daemon_id is null then greatest(e.released_at, e.resumed_at, case e.fencing_token when 0 then e.created_at end)
        -- While the lease of a daemon that was killed lasts, nothing tells when that was.
        when here.alive_until < now() then greatest(nullif(here.alive_until, '-infinity'), e.resumed_at)
      end
    when 'failing' then coalesce(e.failing_since, since_success.oldest_at)
  end as since,
  case judged.status
    when 'disabled' then 'it responded with 410'
    when 'invalid' then
      case
        when here.same_cluster then coalesce(case when not here.live then e.problem end, (select problem from capture))
        else 'this database was restored from a dump into another PostgreSQL cluster, so nothing is delivered; if it is the one '
          'to work with and no copy, run in psql as a DBA: select cdc_bridge.adopt();'
      end
    when 'unassigned' then 'no live daemon has it'
    when 'failing' then coalesce(e.problem, rejected.last_error, e.last_failure)
    when 'degraded' then coalesce(e.problem, rejected.last_error)
  end as reason,
  case judged.status when 'failing' then e.next_probe_at end as next_probe_at,
  here.daemon,
  case when here.same_cluster then unread.counted + case when unread.counted = 10000 then greatest(0, newest.seq - unread.last_seq) else 0 end end
    as unread,
  pending.counted as pending,
  dead.counted as dead,
  now() - least(case when here.same_cluster then oldest_unread.at end, pending.oldest_at) as lag,
  case when here.live then e.in_flight end as in_flight,
  here.listening,
  case when here.live then e.deliveries_per_second end as deliveries_per_second,
  e.last_success_at,
  e.last_failure_at,
  e.last_failure,
  e.reconciled_at,
  regexp_replace(regexp_replace(regexp_replace(e.url, '#.*', ''), '[?].*', '?...'), '^([^/?#]*//)?[^/?#]*@', '\1') as url,
  case when here.live then e.rate_limited_since end as rate_limited_since,
  case when here.same_cluster then oldest_unread.at end as unread_since,
  pending.oldest_at as pending_since
from cdc_bridge.endpoint e
left join cdc_bridge.daemon d using (daemon_id)
cross join lateral (
  select
    e.cluster = (select s.system_identifier from server s) as same_cluster,
    l.daemon_id is not null as live,
    l.name as daemon,
    l.listening,
    d.alive_until,
    p.position,
    p.place_xid,
    p.place_seq,
    -- A transaction read in part is either among those in progress or the very first one not begun then.
    (pg_snapshot_xmax(p.position)::text::bigint + case when p.place_xid = pg_snapshot_xmax(p.position) then 1 else 0 end)::text::xid8
      as from_xid
  from (
    select
      case when e.following and d.daemon_id is not null then d.position else e.position end as position,
      case when e.following and d.daemon_id is not null then d.place_xid else e.place_xid end as place_xid,
      case when e.following and d.daemon_id is not null then d.place_seq else e.place_seq end as place_seq
  ) as p
  left join live_daemon l on l.daemon_id = e.daemon_id
) as here
left join lateral (
  select
    count(*) filter (where d.state = 'retrying' or d.recorded_at > now() - interval '24 hours') as lately,
    (array_agg(d.last_error order by d.last_attempt_at desc nulls last))[1] as last_error,
    -- Older attempts say nothing of the endpoint as it is now: a quiet night may have no success either. Nor does a
    -- reservation that could not be loaded: no request was sent.
    array_agg(hashtextextended(d.reservation_id, 0)) filter (where d.message_id is not null and d.last_attempt_at > now() - interval '1 hour') as reservations,
    array_agg(d.last_attempt_at) filter (where d.message_id is not null and d.last_attempt_at > now() - interval '1 hour') as attempted_at
  from (
    (
      select state, reservation_id, recorded_at, last_attempt_at, last_error, message_id
      from cdc_bridge.delivery
      where endpoint_id = e.endpoint_id and state = 'retrying' and failures > 0
      order by seq desc
      limit 100
    )
    union all
    (
      select state, reservation_id, recorded_at, last_attempt_at, last_error, message_id
      from cdc_bridge.delivery
      where endpoint_id = e.endpoint_id and state = 'dead'
      order by seq desc
      limit 100
    )
  ) as d
) as rejected on true
left join lateral (
  -- The daemon writes its figures at each heartbeat; the newest rows of the delivery log may know of a later success. They
  -- are read only where something was rejected.
  select greatest(e.last_success_at, max(d.last_attempt_at)) as at
  from (
    select state, last_attempt_at
    from cdc_bridge.delivery
    where endpoint_id = e.endpoint_id and rejected.reservations is not null
    order by seq desc
    limit 100
  ) as d
  where d.state = 'delivered'
) as success on true
left join lateral (
  select count(distinct r.hash) as reservations, min(r.attempted_at) as oldest_at
  from unnest(rejected.reservations, rejected.attempted_at) as r (hash, attempted_at)
  where success.at is null or r.attempted_at > success.at
) as since_success on true
cross join lateral (
  select
    case
      when e.disabled_at is not null then 'disabled'
      when e.paused_at is not null then 'paused'
      when not here.same_cluster then 'invalid'
      -- What a daemon noted of a failing endpoint before it was killed does not make its definition invalid.
      when not here.live and e.problem is not null and e.failing_since is null then 'invalid'
      when (select problem from capture) is not null then 'invalid'
      when not here.live then 'unassigned'
      when e.failing_since is not null then 'failing'
      when since_success.reservations >= case when success.at is null then 1 else 3 end then 'failing'
      when rejected.lately > 0 or e.problem is not null then 'degraded'
      else 'healthy'
    end as status
) as judged
left join lateral (
  select count(*) as counted, max(seq) as last_seq
  from (
    (
      select late.seq
      from pg_snapshot_xip(here.position) as x (xid)
      cross join lateral (
        select c.seq
        from cdc_bridge.change c
        where c.xid = x.xid
        order by c.seq
        limit 10000
      ) as late
      where x.xid is distinct from here.place_xid
      limit 10000
    )
    union all
    (
      select c.seq
      from cdc_bridge.change c
      where c.xid = here.place_xid and c.seq > here.place_seq
      order by c.seq
      limit 10000
    )
    union all
    (
      select c.seq
      from cdc_bridge.change c
      where c.xid >= here.from_xid
      order by c.xid, c.seq
      limit 10000
    )
    limit 10000
  ) as behind
) as unread on true
left join lateral (
  -- The first change of each transaction is not always its oldest; what it is later by is the time that transactions take.
  select min(changed_at) as at
  from (
    (
      select late.changed_at
      from pg_snapshot_xip(here.position) as x (xid)
      cross join lateral (
        select c.changed_at
        from cdc_bridge.change c
        where c.xid = x.xid
        order by c.seq
        limit 1
      ) as late
      where x.xid is distinct from here.place_xid
      limit 10000
    )
    union all
    (
      select c.changed_at
      from cdc_bridge.change c
      where c.xid = here.place_xid and c.seq > here.place_seq
      order by c.seq
      limit 1
    )
    union all
    (
      select c.changed_at
      from cdc_bridge.change c
      where c.xid >= here.from_xid
      order by c.xid, c.seq
      limit 1
    )
  ) as first
) as oldest_unread on true
left join lateral (
  select max(seq) as seq from (select c.seq from cdc_bridge.change c order by c.xid desc, c.seq desc limit 1) as last
) as newest on true
left join lateral (
  select count(*) as counted, min(case d.failures when 0 then d.recorded_at else d.changed_at end) as oldest_at
  from (
    select failures, recorded_at, changed_at
    from cdc_bridge.delivery
    where endpoint_id = e.endpoint_id and state in ('queued', 'retrying')
    order by seq
    limit 10000
  ) as d
) as pending on true
left join lateral (
  select count(*) as counted
  from (
    select from cdc_bridge.delivery where endpoint_id = e.endpoint_id and state = 'dead' order by seq limit 10000
  ) as d
) as dead on true;

comment on view cdc_bridge.endpoint_status is 'Status, lag and backlog of each endpoint';
