"""A hosted e-Res after a year: a thousand restaurants, long logs, and an endpoint that is far behind.

Nothing is delivered to any of them while pages are loaded: all but one have what there is, and that one is paused.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.bench.stage import RESERVATIONS
from tests.support.access import add_portal_token, add_token
from tests.support.databases import Database
from tests.support.restaurants import add_restaurants

ENDPOINTS = 1000
BEHIND = "e5"
"""It is paused, and nothing of the change log was delivered to it."""
OTHER = "e7"
TOKENS = 50
OF_BEHIND = "of the vendor of the endpoint that is behind"
OF_OTHER = "of the vendor of another endpoint"

_CHANGES = """
do $$
begin
  perform set_config('synchronous_commit', 'off', false);
  for from_number in 0 .. {changes} - 1 by 10 loop
    insert into cdc_bridge.change (reservation_id, operation, changed_at)
    select upper(md5('r' || 1 + n % {reservations})), 'U', now() - ({changes} - n) * interval '20 milliseconds'
    from generate_series(from_number, from_number + 9) as n;
    commit;
  end loop;
end
$$
"""
_UP_TO_DATE = "update cdc_bridge.endpoint set position = pg_current_snapshot() where name <> %s"
_PAUSED = "update cdc_bridge.endpoint set paused_at = now() - interval '1 day' where name = %s"
_DELIVERIES = """
insert into cdc_bridge.delivery (
  endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures, next_attempt_at, last_status,
  last_error, message_id, last_attempt_at, duration_seconds
)
select
  e.endpoint_id, c.seq, c.reservation_id, c.operation, c.changed_at,
  case c.seq % 997 when 0 then 'dead' when 1 then 'retrying' else 'delivered' end,
  case when c.seq % 997 < 2 then 3 else 1 end, case when c.seq % 997 < 2 then 3 else 0 end,
  case c.seq % 997 when 1 then now() + interval '1 day' end,
  case when c.seq % 997 < 2 then 422 else 200 end, case when c.seq % 997 < 2 then 'HTTP 422' end,
  c.seq || '-0123456789abcdef', c.changed_at, 0.05
from cdc_bridge.change c
join public.reservations r on r.id = c.reservation_id
join cdc_bridge.endpoint e on e.name = 'e' || r.reference % {endpoints}
where e.name <> '{behind}'
"""
_ATTEMPTS = """
insert into cdc_bridge.attempt (
  endpoint_id, seq, number, reservation_id, operation, changed_at, began_at, duration_seconds, status, reason
)
select d.endpoint_id, d.seq, number, d.reservation_id, d.operation, d.changed_at, d.changed_at, 0.05, 422, 'HTTP 422'
from cdc_bridge.delivery d, generate_series(1, 3) as number
where d.attempts = 3
union all
select
  e.endpoint_id, c.seq, 1, c.reservation_id, c.operation, c.changed_at, c.changed_at, 5, null, 'connection timed out'
from cdc_bridge.change c
join public.reservations r on r.id = c.reservation_id
join cdc_bridge.endpoint e on e.name = 'e' || r.reference % {endpoints}
where e.name = '{behind}'
"""
_AUDIT = """
insert into cdc_bridge.audit (at, who, via, action, endpoint)
select
  now() - n * interval '1 minute', 'token-' || n % {tokens}, 'dashboard', 'endpoint changed', 'e' || n % {endpoints}
from generate_series(1, {entries}) as n
"""
_FILLED = ("change", "delivery", "attempt", "audit", "endpoint")


async def fill(database: Database, changes: int, url: str, ca_file: Path) -> None:
    """Write so many changes, and deliveries of nearly all of them, into a database without endpoints."""
    add_restaurants(database, ENDPOINTS, [url], ca_file)
    for number in range(TOKENS):
        add_token(database, f"token-{number}", f"token {number}", "change")
    add_portal_token(database, BEHIND, OF_BEHIND)
    add_portal_token(database, OTHER, OF_OTHER)
    given = {
        "changes": changes,
        "reservations": RESERVATIONS,
        "endpoints": ENDPOINTS,
        "behind": BEHIND,
        "tokens": TOKENS,
    }
    await asyncio.to_thread(database.execute, _CHANGES.format(**given))
    database.execute("delete from cdc_bridge.change where seq = %s", [missing_number(changes)])
    database.execute(_UP_TO_DATE, [BEHIND])
    database.execute(_PAUSED, [BEHIND])
    for statement in (_DELIVERIES, _ATTEMPTS, _AUDIT.format(entries=changes // 10, **given)):
        await asyncio.to_thread(database.execute, statement.format(**given))
    for table in _FILLED:
        await asyncio.to_thread(database.execute, f"vacuum analyze cdc_bridge.{table}")


def let_it_want_everything(database: Database) -> None:
    """Give the endpoint that is behind a queue of all changes that there are."""
    database.execute("""update cdc_bridge.endpoint set "only" = '{}' where name = %s""", [BEHIND])


def missing_number(changes: int) -> int:
    """Return the number in the midst of so many that no change has, as that of a transaction that was rolled back."""
    return changes // 2 + 1


def newest_number(changes: int, endpoint: str) -> int:
    """Return the number of the newest of so many changes that an endpoint wants: they come in turns."""
    return changes - ENDPOINTS + int(endpoint[1:])
