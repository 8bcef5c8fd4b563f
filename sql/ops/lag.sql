-- Status, lag and backlog of each endpoint, most behind first. Role: cdc_bridge_reader.

select name, status, since, lag, unread, pending, dead, daemon, reason
from cdc_bridge.endpoint_status
order by lag desc nulls last, name;
