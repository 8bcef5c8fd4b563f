-- Pending deliveries, oldest first. Role: cdc_bridge_reader.
-- To retry one now: cdc-bridge delivery retry SEQ

select endpoint, seq, reservation_id, age, attempts, last_status, last_error, next_attempt_at
from cdc_bridge.unsettled_delivery
where state in ('queued', 'retrying')
order by age desc
limit 50;
