-- cdc_bridge.endpoint_state: each endpoint, how it is and how far behind, for whoever watches. No secret is in it.
--
--   unread   changes of the log behind its position; those that its daemon has in hand, 1,500 at most, may be settled.
--            Counted up to 100,000; from there on estimated by the numbers of the changes
--   waiting  deliveries that were refused, or asked for by hand, and are to be called; counted up to 100,000
--   dead     dead letters: given up, until somebody sends them again; counted up to 100,000
--   lag      age of the oldest change that is unread or waits; of a delivery that was asked for by hand it is the time
--            since then. null: there is none
--
-- Where the database was restored from a dump into another cluster, what is unread is not known, and null.
-- From in_flight on it stands as it was when its daemon renewed its lease, some seconds ago; the first three are null
-- where no daemon has it.
--
-- Each count walks an index, and no further than its limit: half a second an endpoint with all three at their limit.

create or replace view cdc_bridge.endpoint_state as
select
  e.endpoint_id,
  e.name,
  case
    when e.disabled_at is not null then 'disabled'
    when e.paused_at is not null then 'paused'
    when not here.same_cluster then 'of another cluster'
    when not here.served and e.problem is not null and e.failing_since is null then 'cannot be called'
    when not here.served then 'no daemon'
    when e.failing_since is not null then 'backing off'
    else 'healthy'
  end as state,
  coalesce(e.disabled_at, e.paused_at, e.failing_since) as since,
  e.problem,
  case when here.served then e.daemon_name end as daemon,
  case when here.same_cluster then unread.counted + case when unread.counted = 100000 then greatest(0, newest.seq - unread.last_seq) else 0 end end
    as unread,
  waiting.count as waiting,
  dead.count as dead,
  now() - least(case when here.same_cluster then unread.oldest_at end, waiting.oldest_at) as lag,
  e.next_probe_at,
  e.reconciled_at,
  case when here.served then e.in_flight end as in_flight,
  case when here.served then e.listening end as listening,
  case when here.served then e.deliveries_per_second end as deliveries_per_second,
  e.last_success_at,
  e.last_failure_at,
  e.last_failure
from cdc_bridge.endpoint e
cross join lateral (
  select
    e.cluster = (select system_identifier from pg_control_system()) as same_cluster,
    e.leased_until is not null and e.leased_until > now() as served,
    -- A transaction read in part is either among those in progress or the very first one not begun then.
    (pg_snapshot_xmax(e.position)::text::bigint + case when e.place_xid = pg_snapshot_xmax(e.position) then 1 else 0 end)::text::xid8
      as from_xid
) as here
cross join lateral (
  select count(*) as counted, min(changed_at) as oldest_at, max(seq) as last_seq
  from (
    (
      select late.seq, late.changed_at
      from pg_snapshot_xip(e.position) as x (xid)
      cross join lateral (
        select c.seq, c.changed_at
        from cdc_bridge.change c
        where c.xid = x.xid
        order by c.seq
        limit 100000
      ) as late
      where x.xid is distinct from e.place_xid
      limit 100000
    )
    union all
    (
      select c.seq, c.changed_at
      from cdc_bridge.change c
      where c.xid = e.place_xid and c.seq > e.place_seq
      order by c.seq
      limit 100000
    )
    union all
    (
      select c.seq, c.changed_at
      from cdc_bridge.change c
      where c.xid >= here.from_xid
      order by c.xid, c.seq
      limit 100000
    )
    limit 100000
  ) as behind
) as unread
cross join lateral (
  select max(seq) as seq from (select c.seq from cdc_bridge.change c order by c.xid desc, c.seq desc limit 1) as last
) as newest
cross join lateral (
  select count(*) as count, min(case d.failures when 0 then d.recorded_at else d.changed_at end) as oldest_at
  from (
    select failures, recorded_at, changed_at
    from cdc_bridge.delivery
    where endpoint_id = e.endpoint_id and state in ('queued', 'retrying')
    order by seq
    limit 100000
  ) as d
) as waiting
cross join lateral (
  select count(*) as count
  from (
    select from cdc_bridge.delivery where endpoint_id = e.endpoint_id and state = 'dead' order by seq limit 100000
  ) as d
) as dead;

comment on view cdc_bridge.endpoint_state is 'Each endpoint, how it is and how far behind';
