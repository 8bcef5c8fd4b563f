"""Ten thousand endpoints, as a hosted e-Res has them: nearly all healthy and idle, some in each kind of trouble.

They are written by SQL, and no daemon delivers to them. Two daemons are live while :func:`live_daemons` lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cdc_bridge.endpoints.status import EndpointStatus
from tests.support.databases import Database

ENDPOINTS = 10_000
CHANGES = 40_000
UNREAD = 20_000
"""Changes behind the position of the endpoints that follow a daemon."""
BY_STATUS = {
    EndpointStatus.INVALID: 10,
    EndpointStatus.DISABLED: 5,
    EndpointStatus.UNASSIGNED: 15,
    EndpointStatus.FAILING: 10,
    EndpointStatus.DEGRADED: 20,
    EndpointStatus.PAUSED: 20,
    EndpointStatus.HEALTHY: ENDPOINTS - 80,
}
"""How many have which status, as long as the daemons are live."""
DAEMONS = (1, 2)
_NEWEST = 1000 + CHANGES

_FILL = f"""
insert into public.customers (id) values ('C');
insert into public.reservations (id, cust_id, reference)
select 'R' || n, 'C', n from generate_series(1, 1000) as n;
truncate cdc_bridge.change restart identity;
insert into cdc_bridge.change (xid, reservation_id, operation, changed_at)
select (1000 + n)::text::xid8, 'R' || 1 + n % 1000, 'U', now() - ({CHANGES} - n) * interval '1 millisecond'
from generate_series(1, {CHANGES}) as n;
insert into cdc_bridge.daemon (name, alive_until, listening, position)
select
  'host:' || n, now() + case n when 3 then -interval '1 minute' else interval '1 day' end, true,
  format('%s:%s:', {_NEWEST} + 1 - {UNREAD}, {_NEWEST} + 1 - {UNREAD})::pg_snapshot
from generate_series(1, 3) as n;
insert into cdc_bridge.endpoint (
  name, in_settings, url, created_at, cluster, position, "only", daemon_id, following, fencing_token,
  paused_at, disabled_at, problem, failing_since, released_at, last_success_at
)
select
  format('restaurant-%s', lpad(n::text, 5, '0')), false, format('https://hooks.example/%s?token=secret', n),
  now() - interval '30 days', system_identifier,
  case
    when n between 9901 and 9950 then format('%s:%s:', {_NEWEST} + 9900 - n, {_NEWEST} + 9900 - n)::pg_snapshot
    else format('%s:%s:', {_NEWEST} + 1, {_NEWEST} + 1)::pg_snapshot
  end,
  array['room_name=Room ' || n],
  case when n <= 9800 or n between 9901 and 9950 then 1 when n <= 9900 then 2 when n > 9995 then 3 end,
  n <= 9900 or n > 9995, 1,
  case when n between 9951 and 9970 then now() - interval '1 day' end,
  case when n between 9971 and 9975 then now() - interval '1 day' end,
  case when n <= 9800 and n % 1000 = 1 then 'HTTP 503' when n between 9976 and 9985 then 'url is no URL' end,
  case when n <= 9800 and n % 1000 = 1 then now() - interval '1 hour' end,
  case when n > 9950 then now() - interval '1 day' end,
  now() - interval '1 hour'
from generate_series(1, {ENDPOINTS}) as n, pg_control_system();
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, message_id, last_attempt_at,
  recorded_at
)
select e.endpoint_id, 10 * (e.endpoint_id % 2000) + n, 'R' || 1 + n, 'U', now() - interval '1 day', 'delivered', 1, 0,
  e.endpoint_id || '-' || n, now() - interval '1 day', now() - interval '1 day'
from cdc_bridge.endpoint e, generate_series(1, 5) as n;
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at, last_error,
  message_id, last_attempt_at
)
select e.endpoint_id, {CHANGES} - n, 'R' || 1 + n % 2, 'U', now() - interval '2 hours',
  case when n > 90 then 'dead' else 'retrying' end, 1, 1, case when n <= 90 then now() + interval '1 hour' end,
  'HTTP 422', n || '-0', now() - interval '2 hours'
from cdc_bridge.endpoint e, generate_series(1, 100) as n
where e.endpoint_id <= 9800 and (e.endpoint_id % 1000 in (2, 3));
"""


def fill(database: Database) -> None:
    """Write endpoints, changes and deliveries into a database with the bridge installed."""
    database.execute(_FILL)
    for table in ("change", "delivery", "endpoint", "daemon"):
        database.execute(f"vacuum analyze cdc_bridge.{table}")


@contextmanager
def live_daemons(database: Database) -> Iterator[None]:
    """Hold the sessions of the daemons that are live."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        for daemon_id in DAEMONS:
            connection.execute("select pg_advisory_lock(52684, %s)", (daemon_id,))
        yield
