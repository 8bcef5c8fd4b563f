-- Which reservations were changed most often, as far as the log goes back? One that stands out by far is often changed by
-- a job that writes it again and again with nothing new; the endpoint option latest_only then saves calls.
-- Role: cdc_bridge_reader. Reads all of the log.

select reservation_id, count(*) as changes, count(*) filter (where operation = 'I') as inserts,
  min(changed_at) as first_changed_at, max(changed_at) as last_changed_at
from cdc_bridge.change
group by reservation_id
order by changes desc, reservation_id
limit 20;
