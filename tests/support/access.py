"""Tokens in the database, of which a test knows the text."""

from __future__ import annotations

from cdc_bridge.access.known_tokens import hash_of
from cdc_bridge.audit.actor import Actor, Via
from tests.support.databases import Database

ANNA = Actor("anna", Via.COMMAND)

_ADD = """
insert into cdc_bridge.access_token (name, endpoint_id, access_right, token_hash, created_by, expires_at)
select %(name)s, (select endpoint_id from cdc_bridge.endpoint where name = %(endpoint)s), %(right)s, %(hash)s, 'a test',
  now() + %(lifetime)s::interval
"""


def add_token(database: Database, name: str, token: str, right: str, lifetime: str | None = None) -> None:
    """Add a named token."""
    given = {"name": name, "endpoint": None, "right": right, "hash": hash_of(token), "lifetime": lifetime}
    database.execute(_ADD, given)


def add_portal_token(
    database: Database, endpoint: str, token: str, right: str = "change", lifetime: str = "1 day"
) -> None:
    """Add the token of an endpoint's link to the portal."""
    given = {"name": None, "endpoint": endpoint, "right": right, "hash": hash_of(token), "lifetime": lifetime}
    database.execute(_ADD, given)
