-- Dead letters by endpoint and reason. Role: cdc_bridge_reader.
-- To send them again once the reason is fixed: cdc-bridge replay --endpoint ENDPOINT --state dead

select endpoint, last_status, last_error, count(*) as deliveries, min(changed_at) as oldest, max(changed_at) as newest,
  (array_agg(reservation_id order by seq desc))[1:3] as latest_reservations
from cdc_bridge.unsettled_delivery
where state = 'dead'
group by endpoint, last_status, last_error
order by deliveries desc
limit 50;
