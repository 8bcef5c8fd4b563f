"""Endpoint options in the database: each has its column, what is written comes back, and each change is announced."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, errors, sql

from cdc_bridge.endpoints.admin import add_endpoint, set_endpoint
from cdc_bridge.endpoints.details import show_endpoint
from cdc_bridge.endpoints.option import Kind, Option, Setter
from cdc_bridge.endpoints.option_input import checked_options
from cdc_bridge.endpoints.options import OPTIONS, endpoint_from, options_for
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS
from cdc_bridge.endpoints.store import declare_endpoint, list_endpoints
from cdc_bridge.queries import all_queries
from cdc_bridge.schema.sql_text import sql_folder
from tests.support.access import ANNA
from tests.support.databases import Database
from tests.support.options import another_value

URL = {"url": "https://till.example"}
BESIDE_OPTIONS = {
    "endpoint_id",
    "name",
    "in_settings",
    "created_at",
    "paused_at",
    "disabled_at",
    "resumed_at",
    "cluster",
}
CHANNEL = "cdc_bridge_endpoint"
ANNOUNCED = """
select a.attname::text
from pg_trigger t, unnest(t.tgattr) as number
join pg_attribute a on a.attrelid = 'cdc_bridge.endpoint'::regclass and a.attnum = number
where t.tgname = 'announce_endpoint'
"""
COLUMNS = """
select attname::text from pg_attribute
where attrelid = 'cdc_bridge.endpoint'::regclass and attnum > 0 and not attisdropped
"""
AS_THEY_GO_ALONG = (
    "report_states", "acquire_leases", "free_all_but", "release_leases", "record_problem", "move_endpoints", "follow",
    "note_reconciled",
)  # fmt: skip
TILL = "select {} from cdc_bridge.endpoint where name = 'till'"

every_option = pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)


def names(database: Database, statement: str) -> set[str]:
    return {name for (name,) in database.execute(statement)}


def stored_with(option: Option) -> dict[str, Any]:
    """Return the columns of an endpoint that has another value of an option than the default."""
    values = {option.name: another_value(option)}
    if option.name.startswith("previous_secret"):  # One makes no sense without the other.
        values = {name: another_value(OPTIONS[name]) for name in ("previous_secret", "previous_secret_until")}
    return values


async def add_till(database: Database) -> None:
    await add_endpoint(
        database.bridge_url, "till", URL, allow_http=False, cipher=NO_KEYS, from_oldest=False, signed=False, by=ANNA
    )


def update(values: dict[str, Any]) -> sql.Composed:
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in values.items()
    )
    return sql.SQL("update cdc_bridge.endpoint set {}").format(assignments)


async def notifications(listening: AsyncConnection[Any]) -> int:
    """Return how many came; each test's statement is committed before."""
    return len([notification async for notification in listening.notifies(timeout=0.2)])


def test_every_column_is_an_option_or_known_not_to_be_one(database: Database) -> None:
    assert names(database, ANNOUNCED) == set(OPTIONS) | BESIDE_OPTIONS


def test_what_daemons_write_as_they_go_along_is_not_announced(database: Database) -> None:
    statements = all_queries()
    announced = names(database, ANNOUNCED)
    for name in AS_THEY_GO_ALONG:
        for update_of in re.findall(
            r"update cdc_bridge\.endpoint\b.*?\bset\b(.*?)(?:\bwhere\b|\Z)", statements[name], re.DOTALL
        ):
            written = set(re.findall(r"(?m)(?:^|,)\s*(\w+) = ", update_of))
            assert written, name
            assert not written & announced, name


@every_option
async def test_change_of_an_option_in_psql_is_announced(option: Option, database: Database) -> None:
    await add_till(database)
    async with database.connection() as listening, database.connection() as psql:
        await listening.execute(f"listen {CHANNEL}".encode())
        await psql.execute("update cdc_bridge.endpoint set position = pg_current_snapshot(), released_at = now()")
        await psql.execute(f'update cdc_bridge.endpoint set "{option.name}" = "{option.name}"'.encode())
        assert await notifications(listening) == 1


async def test_second_install_announces_an_option_that_was_added(database: Database) -> None:
    database.execute("alter table cdc_bridge.endpoint add column priority integer")
    assert "priority" not in names(database, ANNOUNCED)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute((sql_folder() / "functions" / "announce_endpoint.sql").read_bytes())
    assert names(database, ANNOUNCED) == set(OPTIONS) | BESIDE_OPTIONS | {"priority"}


async def test_install_of_what_is_there_locks_no_endpoint(database: Database) -> None:
    async with database.connection(autocommit=False) as daemon, database.connection() as dba:
        await daemon.execute("lock table cdc_bridge.endpoint in row exclusive mode")
        await dba.execute("set lock_timeout = '5s'")
        await dba.execute((sql_folder() / "functions" / "announce_endpoint.sql").read_bytes())


@every_option
async def test_column_has_default_and_limits_of_the_declaration(option: Option, database: Database) -> None:
    database.execute(
        "insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster) "
        "values ('till', false, 'https://till.example', '1:1:', 1)"
    )
    if not option.required:
        value = database.value(TILL.format(f'"{option.name}"'))
        assert value == (list(option.default) if option.kind is Kind.LINES else option.default)
    limits = [(option.above, 0), (option.minimum, -1), (option.maximum, 1)]
    for wrong in [limit + beyond for limit, beyond in limits if limit is not None]:
        with pytest.raises(errors.CheckViolation):
            database.execute(f'update cdc_bridge.endpoint set "{option.name}" = %s', (wrong,))
        with pytest.raises(ValueError, match="should be"):
            option.usable(wrong)


@every_option
async def test_what_is_stored_is_read(option: Option, database: Database) -> None:
    await add_till(database)
    values = stored_with(option)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(update({name: sql.Literal(value) for name, value in values.items()}))
    async with database.connection() as connection:
        (row,) = await list_endpoints(connection)
    assert {name: row[name] for name in values} == values


@pytest.mark.parametrize("option", options_for(Setter.OPERATOR), ids=lambda option: option.name)
async def test_what_an_operator_gives_is_stored_and_shown(option: Option, database: Database) -> None:
    given = {option.name: another_value(option)}
    database.execute("select cdc_bridge.define_payload('kitchen', 'select r.id from {reservation} r')")
    if option.name == "client_key_file":
        given["client_certificate_file"] = "/another/client.pem"
    await add_endpoint(
        database.bridge_url,
        "till",
        URL | given,
        allow_http=False,
        cipher=NO_KEYS,
        from_oldest=False,
        signed=False,
        by=ANNA,
    )
    assert database.value(TILL.format(f'"{option.name}"')) == given[option.name]
    default = {option.name: "" if option.optional else option.default}
    await set_endpoint(
        database.bridge_url, "till", URL if option.required else default, allow_http=False, cipher=NO_KEYS, by=ANNA
    )
    expected = checked_options(URL if option.required else default, allow_http=False).stored[option.name]
    assert database.value(TILL.format(f'"{option.name}"')) == expected
    shown = await show_endpoint(database.bridge_url, "till")
    assert shown.record.options[str(option.json_key)] == expected


@pytest.mark.parametrize("option", options_for(Setter.SETTINGS), ids=lambda option: option.name)
async def test_what_the_settings_declare_is_stored_if_it_is_no_secret(
    option: Option, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc_bridge.endpoints.option_values._digest_of", lambda _: b"")
    monkeypatch.setattr("cdc_bridge.endpoints.option_values.ssl.SSLContext.load_verify_locations", lambda *_: None)
    monkeypatch.setattr("cdc_bridge.endpoints.options.check_client_certificate", lambda *_: None)
    endpoint = endpoint_from("till", URL | {option.name: another_value(option)}, allow_http=False)
    async with database.connection() as connection:
        await declare_endpoint(connection, endpoint_from("till", URL, allow_http=False), from_oldest=True)
        await declare_endpoint(connection, endpoint, from_oldest=True)
    default = [] if option.kind is Kind.LINES else option.default
    assert database.value(TILL.format(f'"{option.name}"')) == (default if option.secret else another_value(option))


@every_option
def test_reader_reads_it_if_it_is_no_secret(option: Option, database: Database) -> None:
    readable = database.value(
        "select has_column_privilege('cdc_bridge_reader', 'cdc_bridge.endpoint', %s, 'select')", (option.name,)
    )
    assert readable is option.sent_back


def test_reader_reads_all_other_columns(database: Database) -> None:
    secrets = {option.name for option in OPTIONS.values() if not option.sent_back}
    granted = f"{COLUMNS} and has_column_privilege('cdc_bridge_reader', attrelid, attnum, 'select')"
    assert names(database, granted) == names(database, COLUMNS) - secrets


async def test_secret_that_signs_for_ever_can_be_read(database: Database) -> None:
    await add_till(database)
    database.execute("update cdc_bridge.endpoint set previous_secret = 'x', previous_secret_until = 'infinity'")
    async with database.connection() as connection:
        (row,) = await list_endpoints(connection)
    assert row["previous_secret_until"].year == 9999
    assert (await show_endpoint(database.bridge_url, "till")).record.options["rotating_until"] is not None
