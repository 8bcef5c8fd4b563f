-- What waits to be called, by endpoint and age? Role: cdc_bridge_reader.
-- "unread": not taken up yet; "waiting": refused, to be tried again.

select
  e.name as endpoint,
  'unread' as what,
  count(*) as changes,
  count(*) filter (where c.changed_at > now() - interval '1 minute') as under_a_minute,
  count(*) filter (where c.changed_at <= now() - interval '1 minute' and c.changed_at > now() - interval '1 hour') as under_an_hour,
  count(*) filter (where c.changed_at <= now() - interval '1 hour') as older,
  min(c.changed_at) as oldest
from cdc_bridge.endpoint e
join cdc_bridge.change c
  on c.xid >= pg_snapshot_xmin(e.position)
  and not case c.xid when e.place_xid then c.seq <= e.place_seq else pg_visible_in_snapshot(c.xid, e.position) end
group by e.name
union all
select
  u.endpoint,
  'waiting',
  count(*),
  count(*) filter (where u.age < interval '1 minute'),
  count(*) filter (where u.age >= interval '1 minute' and u.age < interval '1 hour'),
  count(*) filter (where u.age >= interval '1 hour'),
  min(u.changed_at)
from cdc_bridge.unsettled_delivery u
where u.state in ('queued', 'retrying')
group by u.endpoint
order by endpoint, what;
