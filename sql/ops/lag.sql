-- Status, lag and backlog of the endpoints that are most behind. Role: cdc_bridge_reader.

with placed as materialized (
  select
    p.endpoint_id,
    min(p.endpoint_id) over (partition by p.position::text, p.place_xid, p.place_seq, p.cluster) as alike
  from cdc_bridge.endpoint_position p
), behind as materialized (  -- once for all that have the same position
  select s.endpoint_id, s.unread, s.unread_since
  from cdc_bridge.endpoint_status s
  where s.endpoint_id = any (array(select placed.alike from placed))
)
select s.name, s.status, s.since, now() - least(b.unread_since, s.pending_since) as lag, b.unread, s.pending, s.dead, s.daemon, s.reason
from placed p
join behind b on b.endpoint_id = p.alike
join cdc_bridge.endpoint_status s on s.endpoint_id = p.endpoint_id
order by lag desc nulls last, s.name
limit 100;
