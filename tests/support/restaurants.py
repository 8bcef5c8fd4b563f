"""A hosted e-Res: one database, an endpoint for each restaurant, each change wanted by exactly one of them.

A reservation belongs to the restaurant ``reference % restaurants``, which is a metadata column of the payload.
Endpoints are added by one statement: as many commands would take hours.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.databases import Database
from tests.support.payloads import define_payload

_PAYLOAD = "restaurant"
_QUERY = 'select r.*, r.reference % {restaurants} as "@restaurant" from {{reservation}} r'
_ADD = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, secret, ca_file, payload, "only",
  max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position, cluster
)
select
  'e' || n, false, (%(urls)s::text[])[1 + n %% cardinality(%(urls)s::text[])] || '/e' || n, %(headers)s, %(secret)s,
  %(ca_file)s, %(payload)s, array['@restaurant=' || n],
  %(max_in_flight)s, false, %(timeout_seconds)s, 5, '1:1:', (select system_identifier from pg_control_system())
from generate_series(0, %(restaurants)s - 1) as n
"""
_LEASED = """
select split_part(daemon, ':', 2)::integer, count(*)
from cdc_bridge.endpoint_status
where daemon is not null
group by 1
"""


def add_restaurants(
    database: Database,
    restaurants: int,
    urls: list[str],
    ca_file: Path,
    *,
    secret: str | None = None,
    headers: tuple[str, ...] = (),
    max_in_flight: int = 16,
    timeout_seconds: float = 15,
) -> None:
    """Add so many endpoints, ``e0``, ``e1`` and so on, which begin with the oldest change.

    Args:
        database: Where to.
        restaurants: How many.
        urls: In turn; an endpoint's own has its name behind it, as ``/e17``.
        ca_file: With the CA of the receivers' certificate.
        secret: To sign with.
        headers: Of each request.
        max_in_flight: Of each.
        timeout_seconds: Of each.
    """
    define_payload(database, _QUERY.format(restaurants=restaurants), _PAYLOAD)
    parameters = {
        "restaurants": restaurants, "urls": urls, "ca_file": str(ca_file), "secret": secret, "headers": list(headers),
        "payload": _PAYLOAD, "max_in_flight": max_in_flight, "timeout_seconds": timeout_seconds,
    }  # fmt: skip
    database.execute(_ADD, parameters)


def leased(database: Database) -> dict[int, int]:
    """Return how many endpoints each live daemon has leased, by its process id."""
    return dict(database.execute(_LEASED))
