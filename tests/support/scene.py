"""An hour of four restaurants, for pictures of the dashboard: one endpoint is failing, one rejects some bookings.

Bookings are made in e-Res, delivered by a daemon and rejected by receivers, all within seconds. Then the rows of the
bridge are dated as if that had taken an hour: a booking's own row says when it was made, and the attempts that schedule
and breaker would have made since are added to the log. This machine's address is replaced by one for documentation.
"""

from __future__ import annotations

import math
import random
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psycopg
import trustme
from psycopg.rows import TupleRow

from cdc_bridge.demo.ports import free_port
from cdc_bridge.endpoints.last_hour import MINUTES
from cdc_bridge.pipeline.breaker import OPENS_AT, PAUSES
from cdc_bridge.pipeline.retry_schedule import SCHEDULE_SECONDS
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.access import add_token
from tests.support.bridge import Bridge
from tests.support.certificates import server_context
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.http_proxy import ScriptedProxy, establishing
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.waiting import until

TOKEN = "a token of the restaurants' manager"
FAILING, REJECTING = "bistro-nord", "brasserie-sud"
_OUTAGE_MINUTES = 9
_LARGE = 9
"""Covers of a booking that one restaurant rejects."""
_LARGE_MINUTES_AGO = (48, 22, 3)


@dataclass(frozen=True)
class Restaurant:
    """A restaurant of the scene, with an endpoint for its reservations."""

    name: str
    room: str
    per_minute: float
    busiest_minutes_ago: int

    @property
    def url(self) -> str:
        return f"https://till.{self.name}.example/reservations"


RESTAURANTS = (
    Restaurant(FAILING, "Bistro Nord", 1.2, 34),
    Restaurant(REJECTING, "Brasserie Sud", 1.0, 24),
    Restaurant("harbour-grill", "Harbour Grill", 1.3, 42),
    Restaurant("terrace-cafe", "Terrace Café", 0.9, 14),
)


@dataclass(frozen=True)
class Booking:
    """A booking that is made or changed, and when."""

    at: datetime
    room: str
    covers: int
    number: int

    @property
    def is_change(self) -> bool:
        return self.number % 3 == 0 and self.covers < _LARGE


_ROOMS = "update public.reservations set room_name = (%s::text[])[1 + reference %% 4], meal_name = 'Dinner'"
_NO_TITLES = "update public.customers set title = ''"  # The sample has a Mr Grace.
_MAKE = """
insert into public.reservations (
  id, cust_id, reference, room_name, meal_name, datetime, adults, tables, taken_by, web, created, updated
)
select
  upper(md5('booking ' || %(number)s)), upper(md5('customer ' || 1 + %(number)s * 37 %% 200)), 2000 + %(number)s,
  %(room)s, 'Dinner', date_trunc('day', %(at)s) + interval '18 hours' + %(number)s %% 9 * interval '15 minutes',
  %(covers)s, (1 + %(number)s * 7 %% 20)::text, 'WEB', 'T', %(at)s, %(at)s
"""
_CHANGE = """
update public.reservations
set adults = %(covers)s, datetime = date_trunc('day', %(at)s) + interval '19 hours 30 minutes', updated = %(at)s
where id = (
  select r.id from public.reservations r
  where r.room_name = %(room)s and r.created < now() - interval '1 day' and r.updated < now() - interval '1 day'
  order by r.reference
  limit 1
)
"""
_UNSETTLED = """
select count(*)
from public.reservations r
join cdc_bridge.endpoint e on e."only" = array['room_name=' || r.room_name]
where r.updated > now() - interval '2 hours' and e.name <> all (%s) and not exists (
  select from cdc_bridge.delivery d
  where d.endpoint_id = e.endpoint_id and d.reservation_id = r.id and (d.state = 'delivered' or d.last_status = 422)
)
"""
_IS_REPORTED = """
select bool_and(
  case name
    when %(failing)s then status = 'failing'
    when %(rejecting)s then unread = 0 and pending = %(rejected)s
    else unread = 0 and pending = 0
  end
)
from cdc_bridge.endpoint_status
"""
_DATE = """
update cdc_bridge.change c set changed_at = r.updated from public.reservations r where r.id = c.reservation_id;

update cdc_bridge.delivery d
set changed_at = r.updated, last_attempt_at = r.updated, recorded_at = r.updated
from public.reservations r
where r.id = d.reservation_id;

update cdc_bridge.attempt a
set changed_at = r.updated, began_at = r.updated, recorded_at = r.updated, address = '203.0.113.20:443',
  protocol = 'HTTP/1.1, TLSv1.3'
from public.reservations r
where r.id = a.reservation_id;
"""
_TRY_AGAIN = """
insert into cdc_bridge.attempt (
  endpoint_id, seq, number, reservation_id, operation, changed_at, began_at, duration_seconds, status, reason, address,
  protocol, message_id, response, recorded_at
)
select
  a.endpoint_id, a.seq, again.number, a.reservation_id, a.operation, a.changed_at, a.began_at + again.after,
  a.duration_seconds, a.status, a.reason, a.address, a.protocol, a.message_id, a.response,
  a.began_at + again.after
from cdc_bridge.attempt a
join cdc_bridge.endpoint e using (endpoint_id)
cross join unnest(%(after)s::interval[]) with ordinality as again (after, number)
where e.name = %(name)s and a.number = 1 and a.began_at + again.after < now() - interval '5 seconds'
  and (%(each)s or a.seq = (select min(seq) from cdc_bridge.attempt where endpoint_id = e.endpoint_id))
on conflict (endpoint_id, seq, number) do update
set began_at = excluded.began_at, recorded_at = excluded.recorded_at
"""
_RETRY = """
update cdc_bridge.delivery d
set
  attempts = made.number, failures = made.number, last_attempt_at = made.at, recorded_at = made.at,
  next_attempt_at = d.changed_at + (%(after)s::interval[])[made.number + 1]
from (
  select endpoint_id, seq, max(number) as number, max(began_at) as at
  from cdc_bridge.attempt
  group by endpoint_id, seq
) as made
where (d.endpoint_id, d.seq) = (made.endpoint_id, made.seq) and d.state = 'retrying'
"""
_REPORT = """
update cdc_bridge.endpoint e
set
  last_success_at = (
    select max(last_attempt_at) from cdc_bridge.delivery where endpoint_id = e.endpoint_id and state = 'delivered'
  ),
  last_failure_at = (select max(a.began_at) from cdc_bridge.attempt a where a.endpoint_id = e.endpoint_id),
  failing_since = case when e.failing_since is not null then (
    select min(a.began_at) from cdc_bridge.attempt a where a.endpoint_id = e.endpoint_id
  ) end,
  next_probe_at = case when e.failing_since is not null then now() + interval '1 minute' end,
  last_minute_at = date_trunc('minute', now()),
  delivered_by_minute = (
    select array_agg((
      select count(*)
      from cdc_bridge.delivery d
      where d.endpoint_id = e.endpoint_id and d.state = 'delivered' and date_trunc('minute', d.last_attempt_at) = minute
    ) order by minute)
    from generate_series(date_trunc('minute', now()) - interval '59 minutes', now(), interval '1 minute') as minute
  ),
  failed_by_minute = (
    select array_agg((
      select count(*)
      from cdc_bridge.attempt a
      where a.endpoint_id = e.endpoint_id and a.reason is not null and date_trunc('minute', a.began_at) = minute
    ) order by minute)
    from generate_series(date_trunc('minute', now()) - interval '59 minutes', now(), interval '1 minute') as minute
  )
"""


@asynccontextmanager
async def scene(database: Database, folder: Path) -> AsyncIterator[str]:
    """Play the hour; yields the dashboard's URL, which ``TOKEN`` signs in to.

    Args:
        database: With the example e-Res and the bridge, and without rows.
        folder: For a certificate.
    """
    tls = _certificate(folder / "ca.pem")
    receiver, port = Receiver(tls), free_port()
    await receiver.start()
    receiver.script = _receive
    try:
        async with ScriptedProxy(establishing(urlsplit(receiver.url).port or 0)) as proxy:
            await _set_up(database, folder / "ca.pem")
            daemon = Bridge(
                {
                    "CDC_BRIDGE_DATABASE_URL": database.bridge_url,
                    "CDC_BRIDGE_LOG_FORMAT": "json",
                    "CDC_BRIDGE_WEB_PORT": str(port),
                    "HTTPS_PROXY": proxy.url,  # as nothing else resolves these names
                },
                database=database,
            )
            try:
                await daemon.start()
                await daemon.wait_for_log("started")
                await _play(database, daemon, receiver)
                with _dated(database):
                    yield f"http://127.0.0.1:{port}"
                await daemon.terminate()
            finally:
                await daemon.close()
    finally:
        await receiver.stop()


def _certificate(ca_file: Path) -> ssl.SSLContext:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(ca_file)
    return server_context(ca.issue_cert(*(urlsplit(each.url).hostname or "" for each in RESTAURANTS)))


def _receive(request: ReceivedRequest) -> Response:
    if REJECTING in request.headers["host"] and request.json["adults"] >= _LARGE:
        return Response(
            422, body=b'{"error": "No table for 9. Ask the restaurant to split the booking."}', after_seconds=0.03
        )
    return Response(after_seconds=0.03)


def _receive_in_outage(request: ReceivedRequest) -> Response:
    return Response(503) if FAILING in request.headers["host"] else _receive(request)


async def _set_up(database: Database, ca_file: Path) -> None:
    database.execute((sql_folder() / "example" / "data.sql").read_text())
    database.execute(_ROOMS, [[each.room for each in RESTAURANTS]])
    database.execute(_NO_TITLES)
    add_token(database, "anna", TOKEN, "change")
    endpoints = {
        each.name: {
            "url": each.url,
            "ca_file": str(ca_file),
            "only": [f"room_name={each.room}"],
            "keep_responses": each.name == REJECTING,
        }
        for each in RESTAURANTS
    }
    await EndpointCommands(database).run("apply", "-", "--yes", standard_input=orjson.dumps({"endpoints": endpoints}))


async def _play(database: Database, daemon: Bridge, receiver: Receiver) -> None:
    now = datetime.now(UTC)
    bookings = _bookings(now)
    outage_at = now - timedelta(minutes=_OUTAGE_MINUTES)
    _write(database, [each for each in bookings if each.at < outage_at])
    await until(lambda: not database.value(_UNSETTLED, [[]]), "all are delivered before the outage")
    receiver.script = _receive_in_outage
    in_outage = [each for each in bookings if each.at >= outage_at]
    missed = [number for number, each in enumerate(in_outage) if each.room == RESTAURANTS[0].room]
    _write(database, in_outage[: missed[OPENS_AT]])
    await daemon.wait_for_log("endpoint failing", endpoint=FAILING)
    _write(database, in_outage[missed[OPENS_AT] :])
    await until(lambda: not database.value(_UNSETTLED, [[FAILING]]), "all but those of the outage are delivered")
    database.execute("notify cdc_bridge_endpoint")  # The daemon looks at its endpoints, and reports them.
    states = {"failing": FAILING, "rejecting": REJECTING, "rejected": len(_LARGE_MINUTES_AGO)}
    await until(lambda: database.value(_IS_REPORTED, states), "the outage and all positions are reported")


def _bookings(now: datetime) -> list[Booking]:
    """Return those of the hour, the same each time."""
    chance = random.Random(4)
    made = [
        (now - timedelta(seconds=60 * minute + chance.randrange(60) - 30), restaurant.room, 1 + chance.randrange(6))
        for restaurant in RESTAURANTS
        for minute in range(1, MINUTES)
        for _ in range(_number(restaurant, minute, chance))
    ]
    large = next(each.room for each in RESTAURANTS if each.name == REJECTING)
    made += [(now - timedelta(minutes=minute), large, _LARGE) for minute in _LARGE_MINUTES_AGO]
    return [Booking(*each, number) for number, each in enumerate(sorted(made), 1)]


def _number(restaurant: Restaurant, minutes_ago: int, chance: random.Random) -> int:
    away = (minutes_ago - restaurant.busiest_minutes_ago) / 12
    return round(restaurant.per_minute * (0.6 + 2 * math.exp(-away * away)) * (0.2 + 1.6 * chance.random()))


def _write(database: Database, bookings: Sequence[Booking]) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        for each in bookings:
            statement = _CHANGE if each.is_change else _MAKE
            given = {"at": each.at, "room": each.room, "covers": each.covers, "number": each.number}
            connection.execute(statement.encode(), given)


@contextmanager
def _dated(database: Database) -> Iterator[None]:
    """Date the rows, and keep the daemon from reporting the state of an endpoint as it knows it."""
    with psycopg.connect(database.url) as connection:
        _date(connection)
        connection.commit()
        connection.execute("select from cdc_bridge.endpoint for no key update")
        yield


def _date(connection: psycopg.Connection[TupleRow]) -> None:
    connection.execute(_DATE)
    retries = list(accumulate((timedelta(seconds=pause) for pause in SCHEDULE_SECONDS), initial=timedelta()))
    connection.execute(_TRY_AGAIN, {"name": REJECTING, "after": retries, "each": True})
    connection.execute(_RETRY, {"after": retries})
    probes = list(accumulate(_pauses_of_probes(), initial=timedelta()))
    connection.execute(_TRY_AGAIN, {"name": FAILING, "after": probes, "each": False})
    connection.execute(_REPORT)


def _pauses_of_probes() -> Iterator[timedelta]:
    for failures in range(1, MINUTES):
        yield timedelta(seconds=PAUSES.pause_seconds(failures))
