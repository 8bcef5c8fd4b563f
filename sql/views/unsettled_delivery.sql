-- cdc_bridge.unsettled_delivery: every delivery that is queued, retrying or dead, and why.

create or replace view cdc_bridge.unsettled_delivery as
select
  e.name as endpoint,
  d.seq,
  d.reservation_id,
  d.state,
  now() - d.changed_at as age,
  d.attempts,
  d.last_status,
  d.last_error,
  d.last_attempt_at,
  d.next_attempt_at,
  d.changed_at,
  d.endpoint_id
from cdc_bridge.delivery d
join cdc_bridge.endpoint e using (endpoint_id)
where d.state in ('queued', 'retrying', 'dead');

comment on view cdc_bridge.unsettled_delivery is 'Deliveries that are queued, retrying or dead, and why';
