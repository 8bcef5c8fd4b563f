-- Which deliveries have been refused and are tried again, the oldest first? Role: cdc_bridge_reader.
-- One by hand, at once: cdc-bridge delivery retry SEQ

select endpoint, seq, reservation_id, age, attempts, last_status, last_error, next_attempt_at
from cdc_bridge.unsettled_delivery
where state in ('queued', 'retrying')
order by age desc
limit 50;
