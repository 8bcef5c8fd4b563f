-- cdc_bridge.endpoint_state: each endpoint, how it is and how far behind, for whoever watches. No secret is in it.
--
--   unread   changes of the log behind its position; those that its daemon has in hand, 1,500 at most, may be settled
--   waiting  deliveries that were refused and are tried again
--   dead     dead letters: given up, until somebody sends them again
--   lag      age of the oldest change that is unread or waits; null: there is none
--
-- From in_flight on it stands as it was when its daemon renewed its lease, some seconds ago.
--
-- Reads the unread end of the log and the unsettled part of the ledger; a million rows unread take some 0.3 s.

create or replace view cdc_bridge.endpoint_state as
select
  e.endpoint_id,
  e.name,
  case
    when e.disabled_at is not null then 'disabled'
    when e.paused_at is not null then 'paused'
    when e.cluster <> (select system_identifier from pg_control_system()) then 'of another cluster'
    when e.leased_until is null or e.leased_until <= now() then 'no daemon'
    when e.failing_since is not null then 'backing off'
    else 'healthy'
  end as state,
  coalesce(e.disabled_at, e.paused_at, e.failing_since) as since,
  e.problem,
  case when e.leased_until > now() then e.holder_name end as daemon,
  unread.count as unread,
  unsettled.waiting,
  unsettled.dead,
  now() - least(unread.oldest_at, unsettled.oldest_at) as lag,
  e.next_probe_at,
  e.reconciled_at,
  e.in_flight,
  e.listening,
  e.deliveries_a_second,
  e.last_success_at,
  e.last_failure_at,
  e.last_failure
from cdc_bridge.endpoint e
cross join lateral (
  select count(*) as count, min(c.changed_at) as oldest_at
  from cdc_bridge.change c
  where c.xid >= pg_snapshot_xmin(e.position)
    and c.reservation_id <> 'cdc-bridge canary'
    and not case c.xid when e.place_xid then c.seq <= e.place_seq else pg_visible_in_snapshot(c.xid, e.position) end
) as unread
cross join lateral (
  select
    count(*) filter (where d.state = 'waiting') as waiting,
    count(*) filter (where d.state = 'dead') as dead,
    min(d.changed_at) filter (where d.state = 'waiting') as oldest_at
  from cdc_bridge.delivery d
  where d.endpoint_id = e.endpoint_id and d.state in ('waiting', 'dead')
) as unsettled;

comment on view cdc_bridge.endpoint_state is 'Each endpoint, how it is and how far behind';
