-- State, lag and backlog of each endpoint, most behind first. Role: cdc_bridge_reader.

select name, state, since, lag, unread, waiting, dead, daemon, problem
from cdc_bridge.endpoint_state
order by lag desc nulls last, name;
