-- cdc_bridge.endpoint_position: how far each endpoint is in the change log: its own position, or that of the daemon that it
-- follows.

create or replace view cdc_bridge.endpoint_position as
select
  e.endpoint_id,
  e.name,
  e.events,
  e.cluster,
  case when d.daemon_id is null then e.position else d.position end as position,
  case when d.daemon_id is null then e.place_xid else d.place_xid end as place_xid,
  case when d.daemon_id is null then e.place_seq else d.place_seq end as place_seq
from cdc_bridge.endpoint e
left join cdc_bridge.daemon d on e.following and d.daemon_id = e.daemon_id;

comment on view cdc_bridge.endpoint_position is 'Position of each endpoint in the change log';
