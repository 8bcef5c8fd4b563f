-- How far is each endpoint behind, and since when is something wrong? Role: cdc_bridge_reader.

select name, status, since, lag, unread, pending, dead, daemon, reason
from cdc_bridge.endpoint_status
order by lag desc nulls last, name;
