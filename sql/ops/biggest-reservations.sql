-- The reservations with the most changes in the change log. One that stands out by far is usually rewritten by a job without
-- being changed; the endpoint option latest_only then saves requests. Role: cdc_bridge_reader. Reads the whole change log.

select reservation_id, count(*) as changes, count(*) filter (where operation = 'I') as inserts,
  min(changed_at) as first_changed_at, max(changed_at) as last_changed_at
from cdc_bridge.change
group by reservation_id
order by changes desc, reservation_id
limit 20;
