-- The backlog of each endpoint by age. Role: cdc_bridge_reader.
--
--   unread   changes that the endpoint's daemon has not read, or not recorded yet
--   pending  deliveries that are queued or retrying

with placed as materialized (
  select p.name, p.position::text as position, p.place_xid, p.place_seq
  from cdc_bridge.endpoint_position p
), unread as materialized (  -- once for all that have the same position
  select
    p.position, p.place_xid, p.place_seq,
    count(*) as changes,
    count(*) filter (where c.changed_at > now() - interval '1 minute') as under_a_minute,
    count(*) filter (where c.changed_at <= now() - interval '1 minute' and c.changed_at > now() - interval '1 hour') as under_an_hour,
    count(*) filter (where c.changed_at <= now() - interval '1 hour') as older,
    min(c.changed_at) as oldest
  from (select distinct placed.position, placed.place_xid, placed.place_seq from placed) p
  join cdc_bridge.change c
    on c.xid >= pg_snapshot_xmin(p.position::pg_snapshot)
    and not case c.xid when p.place_xid then c.seq <= p.place_seq else pg_visible_in_snapshot(c.xid, p.position::pg_snapshot) end
  group by p.position, p.place_xid, p.place_seq
)
select p.name as endpoint, 'unread' as backlog, u.changes, u.under_a_minute, u.under_an_hour, u.older, u.oldest
from placed p
join unread u on u.position = p.position and u.place_xid is not distinct from p.place_xid and u.place_seq is not distinct from p.place_seq
union all
select
  u.endpoint,
  'pending',
  count(*),
  count(*) filter (where u.age < interval '1 minute'),
  count(*) filter (where u.age >= interval '1 minute' and u.age < interval '1 hour'),
  count(*) filter (where u.age >= interval '1 hour'),
  min(u.changed_at)
from cdc_bridge.unsettled_delivery u
where u.state in ('queued', 'retrying')
group by u.endpoint
order by endpoint, backlog;
