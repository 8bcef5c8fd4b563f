"""Endpoints in the database, written as the commands write them."""

from __future__ import annotations

from pathlib import Path

from tests.support.databases import Database

_ADD = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, secret, ca_file,
  max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds, position, cluster
)
values (
  %(name)s, false, %(url)s, '{}', %(secret)s, %(ca_file)s, 16, false, 15, 5,
  '1:1:', (select system_identifier from pg_control_system())
)
"""


def add_endpoint(database: Database, name: str, url: str, ca_file: Path, secret: str | None = None) -> None:
    """Add an endpoint that begins with the oldest change."""
    database.execute(_ADD, {"name": name, "url": url, "ca_file": str(ca_file), "secret": secret})
