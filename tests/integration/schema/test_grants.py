"""What each role may do, and what it may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import errors

from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.model import without_secrets
from tests.support.databases import BRIDGE_PASSWORD, Database

E_RES_ROLE = "cdc_bridge_test_e_res"


ADD_ENDPOINT = """
insert into cdc_bridge.endpoint (
  name, in_settings, url, headers, max_in_flight, latest_only, timeout_seconds, connect_timeout_seconds,
  position, cluster
)
values ('x', false, 'https://x', '{}', 1, false, 1, 1, '1:1:', 1)
"""
READABLE = {"endpoint": "name, position, problem", "attempt": "seq, number, status, reason, flaw, address"}
READER_MAY_READ = (
    "alert", "change", "delivery", "schema_version", "payload_definition", "captured_table", "endpoint_status",
    "unsettled_delivery", "endpoint_secret",
)  # fmt: skip
LOADER_MAY_NOT_READ = ("change", "delivery", "attempt", "endpoint_status", "captured_table", "access_token", "audit")
ROLES = ("cdc_bridge_owner", "cdc_bridge_loader", "cdc_bridge_capture", "cdc_bridge", "cdc_bridge_reader")


@contextmanager
def acting_as(database: Database, role: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"set role {role}".encode())
        yield connection


@pytest.fixture(autouse=True)
def booking(database: Database) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")


LOAD = "select * from cdc_bridge.load_reservation('{R}', 100000)"
OWN_PAYLOAD = "select cdc_bridge.define_payload('mine', 'select id from public.reservations')"
E_RES_TABLES = ("reservations", "customers", "calls")
WRITE_E_RES = [
    "update reservations set adults = 1",
    "insert into customers (id) values ('X')",
    "delete from calls",
    "truncate reservations",
    "alter table reservations disable trigger cdc_bridge_update",
    "drop trigger cdc_bridge_update on reservations",
]
ADD_TOKEN = (
    "insert into cdc_bridge.access_token (name, access_right, token_hash, created_by) "
    "values ('anna', 'view', sha256('x'), 'x')"
)
APPEND_AUDIT = "insert into cdc_bridge.audit (who, via, action) values ('anna', 'command', 'x')"
READABLE_OF_TOKENS = "token_id, name, endpoint_id, access_right, created_at, created_by, expires_at, last_used_at"
READ_E_RES = [f"select * from {table}" for table in E_RES_TABLES]
READ_SECRETS = [
    f"select {column} from cdc_bridge.endpoint" for column in ("headers", "secret", "previous_secret", "proxy")
]
ALERT = "values (true, 1, 'red', now(), now(), 1, '{}', 'vm:1', true, null)"
INSERT_CHANGE = "insert into cdc_bridge.change (reservation_id, operation, changed_at) values ('R', 'U', now())"
DEFINE = [
    OWN_PAYLOAD,
    "select cdc_bridge.drop_payload('reservation')",
    "select cdc_bridge.define_loader('reservation')",
    "select cdc_bridge.define_capture('id', false)",
    "select cdc_bridge.attach('reservations', 'id')",
    "select cdc_bridge.detach('reservations')",
    "select cdc_bridge.disable_capture()",
    "select cdc_bridge.enable_capture()",
    "select cdc_bridge.adopt()",
]
CREATE = ["create table cdc_bridge.mine (x int)", "create table public.mine (x int)", "create schema mine"]
LOADING = [
    "select cdc_bridge.payload_keys('reservation', null, null, null, false, 10, 1000)",
    "select cdc_bridge.payload_sizes('reservation', '{R}')",
    "select cdc_bridge.payload_values('reservation', '{status}', '{R}')",
    "select cdc_bridge.payload_types('reservation')",
]
OTHER_ROLES = {role: [f"set role {other}" for other in ROLES if other != role] for role in ROLES}

MAY: dict[str, list[str]] = {
    "cdc_bridge_owner": [
        *READ_E_RES,
        *READ_SECRETS,
        *DEFINE[:4],
        INSERT_CHANGE,
        "delete from cdc_bridge.change",
        "create table cdc_bridge.mine (x int)",
        "select cdc_bridge.disable_capture()",
        "select cdc_bridge.adopt()",
    ],
    "cdc_bridge_loader": [*READ_E_RES, "select * from cdc_bridge.payload_definition", "create temp table mine (x int)"],
    "cdc_bridge_capture": [INSERT_CHANGE, "create temp table mine (x int)"],
    "cdc_bridge": [
        "select * from cdc_bridge.change",
        "select * from cdc_bridge.schema_version",
        "select * from cdc_bridge.payload_definition",
        "select * from cdc_bridge.captured_table",
        *READ_SECRETS,
        *LOADING,
        ADD_ENDPOINT,
        "delete from cdc_bridge.endpoint",
        "select nextval('cdc_bridge.change_seq_seq')",
        "update cdc_bridge.endpoint set position = '1:1:'",
        "insert into cdc_bridge.delivery select 1, 1, 'R', 'I', now(), 'delivered', null, 1, 0",
        "update cdc_bridge.delivery set attempts = 2",
        "insert into cdc_bridge.attempt select 1, 1, 1, 'R', 'U', now(), now(), 0.1",
        "select response from cdc_bridge.attempt",
        "select * from cdc_bridge.attempt for update",
        "delete from cdc_bridge.attempt",
        "select cdc_bridge.prune_responses(10)",
        "select pg_notify('cdc_bridge_change', '')",
        "listen cdc_bridge_change",
        "insert into cdc_bridge.idempotency_key (token, key, request, status, body) values ('t', 'k', '', 201, '{}')",
        "select * from cdc_bridge.idempotency_key",
        "delete from cdc_bridge.idempotency_key",
        f"insert into cdc_bridge.alert {ALERT}",
        "update cdc_bridge.alert set unsent = false",
        ADD_TOKEN,
        "select * from cdc_bridge.access_token",
        "update cdc_bridge.access_token set last_used_at = now()",
        "delete from cdc_bridge.access_token",
        APPEND_AUDIT,
        "select * from cdc_bridge.audit",
        "call cdc_bridge.prune()",
        "select * from cdc_bridge.prune_changes('7 days', '0', 0, 10)",
        "select cdc_bridge.prune_audit(10)",
        "create temp table mine (x int)",
    ],
    "cdc_bridge_reader": [
        *(f"select * from cdc_bridge.{table}" for table in READER_MAY_READ),
        *(f"select {columns} from cdc_bridge.{table}" for table, columns in READABLE.items()),
        f"select {READABLE_OF_TOKENS} from cdc_bridge.access_token",
        "select * from cdc_bridge.audit",
    ],
}
"""What the DBA guide's table of roles has under "can", by role."""

MAY_NOT: dict[str, list[str]] = {
    "cdc_bridge_owner": [
        *WRITE_E_RES,
        "create table public.mine (x int)",
        "create schema mine",
        "set role cdc_bridge",
        "set role cdc_bridge_reader",
    ],
    "cdc_bridge_loader": [
        *WRITE_E_RES,
        *READ_SECRETS,
        *(f"select * from cdc_bridge.{table}" for table in LOADER_MAY_NOT_READ),
        "update cdc_bridge.payload_definition set query = ''",
        INSERT_CHANGE,
        *DEFINE,
        *CREATE,
        *OTHER_ROLES["cdc_bridge_loader"],
        "create or replace function cdc_bridge.mine() returns int language sql as 'select 1'",
        "call cdc_bridge.prune()",
    ],
    "cdc_bridge_capture": [
        *WRITE_E_RES,
        *READ_E_RES,
        *READ_SECRETS,
        *(
            f"select * from cdc_bridge.{table}"
            for table in (
                "change",
                "delivery",
                "attempt",
                "payload_definition",
                "captured_table",
                "access_token",
                "audit",
            )
        ),
        "insert into cdc_bridge.change (xid, reservation_id, operation, changed_at) values ('9', 'R', 'U', now())",
        "update cdc_bridge.change set reservation_id = 'X'",
        "delete from cdc_bridge.change",
        *LOADING,
        *DEFINE,
        *CREATE,
        *OTHER_ROLES["cdc_bridge_capture"],
    ],
    "cdc_bridge": [
        *WRITE_E_RES,
        *READ_E_RES,
        INSERT_CHANGE,
        "update cdc_bridge.change set reservation_id = 'X'",
        "delete from cdc_bridge.change",
        "delete from cdc_bridge.delivery",
        "truncate cdc_bridge.delivery",
        "update cdc_bridge.attempt set reason = ''",
        "select setval('cdc_bridge.change_seq_seq', 1)",
        "insert into cdc_bridge.schema_version values (2)",
        "update cdc_bridge.schema_version set next_prepared_at = now()",
        "update cdc_bridge.payload_definition set query = ''",
        "delete from cdc_bridge.captured_table",
        "update cdc_bridge.idempotency_key set body = ''",
        "delete from cdc_bridge.alert",
        "update cdc_bridge.access_token set access_right = 'change'",
        "update cdc_bridge.access_token set expires_at = null",
        "update cdc_bridge.audit set who = 'somebody else'",
        "delete from cdc_bridge.audit",
        "truncate cdc_bridge.audit",
        "insert into cdc_bridge.audit (who, via, action, at) values ('anna', 'command', 'x', now() - interval '1 day')",
        "insert into cdc_bridge.audit (who, via, action, role) values ('anna', 'command', 'x', 'postgres')",
        "create or replace function cdc_bridge.load_reservation(text[], bigint) returns int language sql as 'select 1'",
        "drop function cdc_bridge.load_reservation(text[], bigint)",
        "alter function cdc_bridge.load_reservation(text[], bigint) security invoker",
        *DEFINE,
        *CREATE,
        *OTHER_ROLES["cdc_bridge"],
    ],
    "cdc_bridge_reader": [
        *WRITE_E_RES,
        *READ_E_RES,
        *READ_SECRETS,
        *LOADING,
        "select * from cdc_bridge.idempotency_key",
        "select response from cdc_bridge.attempt",
        *(
            f"delete from cdc_bridge.{table}"
            for table in ("change", "delivery", "attempt", "endpoint", "schema_version")
        ),
        "select cdc_bridge.prune_responses(10)",
        "update cdc_bridge.alert set unsent = false",
        "select token_hash from cdc_bridge.access_token",
        "select * from cdc_bridge.access_token",
        ADD_TOKEN,
        APPEND_AUDIT,
        "delete from cdc_bridge.audit",
        "select cdc_bridge.prune_audit(10)",
        "call cdc_bridge.prune()",
        "select * from cdc_bridge.prune_changes('7 days', '0', 0, 10)",
        "select nextval('cdc_bridge.change_seq_seq')",
        *DEFINE,
        *CREATE,
        *OTHER_ROLES["cdc_bridge_reader"],
    ],
}
"""What it has under "cannot"."""


def each(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(role, statement) for role, statements in table.items() for statement in statements]


@pytest.fixture
def logins(database: Database) -> Iterator[None]:
    """All roles may log in, so that nothing is owed to the superuser that a session began as."""
    try:
        for role in ROLES:
            database.execute(f"alter role {role} login password '{BRIDGE_PASSWORD}'")
        yield
    finally:
        for role in set(ROLES) - {"cdc_bridge"}:
            database.execute(f"alter role {role} nologin password null")


def log_in(database: Database, role: str) -> psycopg.Connection:
    url = database.server.url_for(database.name, user=role, password=BRIDGE_PASSWORD)
    return psycopg.connect(url, autocommit=True)


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(("role", "statement"), each(MAY))
def test_role_may(role: str, statement: str, database: Database) -> None:
    with log_in(database, role) as connection:
        connection.execute(statement.encode())


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(("role", "statement"), each(MAY_NOT))
def test_role_may_not(role: str, statement: str, database: Database) -> None:
    with log_in(database, role) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize("role", [role for role in ROLES if role != "cdc_bridge"])
def test_role_cannot_log_in(role: str, database: Database) -> None:
    assert database.value("select not rolcanlogin from pg_roles where rolname = %s", (role,))


def test_daemon_loads_a_reservation_that_it_may_not_read(database: Database) -> None:
    with psycopg.connect(database.bridge_url, autocommit=True) as connection:
        ((key, *values),) = connection.execute(LOAD.encode()).fetchall()
        assert (key, "R" in values) == ("R", True)
    for role in ("cdc_bridge_reader", "cdc_bridge_capture"):
        with acting_as(database, role) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(LOAD.encode())


def test_stolen_password_of_the_daemon_can_lose_deliveries_as_the_guide_says(database: Database) -> None:
    database.execute(ADD_ENDPOINT)
    database.execute("update cdc_bridge.endpoint set cluster = (select system_identifier from pg_control_system())")
    database.execute("update cdc_bridge.change set changed_at = now() - interval '1 year'")
    kept = "select count(*) from cdc_bridge.change"
    with psycopg.connect(database.bridge_url, autocommit=True) as connection:
        connection.execute("call cdc_bridge.prune('1 day')")
        assert database.value(kept) == 1
        connection.execute("update cdc_bridge.endpoint set position = pg_current_snapshot()")
        connection.execute("call cdc_bridge.prune('1 day')")
        assert database.value(kept) == 0


def test_guide_has_every_role_and_no_other() -> None:
    table = guide_text(Guide.DBA).partition("\n## Roles and rights\n")[2].partition("\n\n```")[0]
    assert re.findall(r"^\| `(cdc_bridge\w*)`", table, flags=re.MULTILINE) == list(ROLES)


@pytest.fixture
def e_res_role(database: Database) -> Iterator[str]:
    """A role as e-Res logs in with: rights on its own tables and none on ours."""
    role = f"{E_RES_ROLE}_{database.name[-12:]}".replace("-", "_")
    database.execute(f"create role {role}")
    database.execute(f"grant select, insert, update, delete on reservations, customers, calls to {role}")
    yield role
    database.execute(f"drop owned by {role}; drop role {role}")


def test_e_res_needs_no_right_of_ours(database: Database, e_res_role: str) -> None:
    with acting_as(database, e_res_role) as connection:
        connection.execute("insert into reservations (id, cust_id, reference) values ('OTHER', 'C', 2)")
        connection.execute("update reservations set adults = 4 where id = 'OTHER'")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("select * from cdc_bridge.change")
    logged = "select operation::text from cdc_bridge.change where reservation_id = 'OTHER' order by seq"
    assert database.execute(logged) == [("I",), ("U",)]


# What a session can put in the way of the names that capture uses. Whatever of it runs, notes as whom.
HOSTILE = """
create schema hostile;
create table hostile.ran (as_whom text default current_user);
grant usage on schema hostile to public;
grant insert on hostile.ran to public;
create table hostile.change (like cdc_bridge.change);
create function hostile.note() returns boolean language sql volatile as
  'insert into hostile.ran default values returning true';
create function hostile.clock_timestamp() returns timestamptz language sql as
  'select hostile.note(); select pg_catalog.now()';
create function hostile.pg_try_advisory_lock_shared(integer, integer) returns boolean language sql as
  'select hostile.note()';
create function hostile.pg_advisory_unlock_shared(integer, integer) returns boolean language sql as
  'select hostile.note()';
create function hostile.pg_current_xact_id() returns xid8 language sql as
  $$ select hostile.note(); select pg_catalog.pg_current_xact_id() $$;
create function hostile.text(text) returns text language sql as $$ select hostile.note(); select 'diverted' $$;
create function hostile.same(text, text) returns boolean language sql as 'select hostile.note()';
create operator hostile.= (leftarg = text, rightarg = text, function = hostile.same);
create function hostile.pg_typeof(text) returns regtype language sql as
  'select hostile.note(); select null::regtype';
create function hostile.concat(text) returns text language sql as $$ select hostile.note(); select 'diverted' $$;
create function hostile.format(text, name) returns text language sql as $$ select hostile.note(); select 'diverted' $$;
create function hostile.pg_notification_queue_usage() returns float8 language sql as
  'select hostile.note(); select 1.0';
create function hostile.same(oid, oid) returns boolean language sql as 'select hostile.note()';
create function hostile.same(int2, int2) returns boolean language sql as 'select hostile.note()';
create function hostile.same(float8, float8) returns boolean language sql as 'select hostile.note()';
create operator hostile.= (leftarg = oid, rightarg = oid, function = hostile.same);
create operator hostile.< (leftarg = oid, rightarg = oid, function = hostile.same);
create operator hostile.= (leftarg = int2, rightarg = int2, function = hostile.same);
create operator hostile.< (leftarg = float8, rightarg = float8, function = hostile.same);
create view hostile.pg_attribute as
  select 'diverted' as attname, null::oid as attrelid, null::int2 as attnum, false as attisdropped;
create type hostile.oid as enum ('diverted');
create type hostile.int2 as enum ('diverted');
create type hostile.float8 as enum ('diverted');
create type hostile.name as enum ('diverted');
create type hostile.text as enum ('diverted');
create type hostile."char" as enum ('diverted');
create type hostile.timestamptz as enum ('diverted');
"""
IN_A_SESSION = """
create temp table changed_rows (id pg_catalog.text);
create temp table change (like cdc_bridge.change);
create temp table reservations (id pg_catalog.text);
create type pg_temp."char" as enum ('diverted');
create function pg_temp.clock_timestamp() returns pg_catalog.timestamptz language plpgsql as
  $$ begin raise exception 'diverted'; end $$;
set search_path = hostile, pg_temp, public, pg_catalog;
set plpgsql.variable_conflict = error;
set plpgsql.extra_errors = 'all';
set datestyle = 'SQL, DMY';
set quote_all_identifiers = on;
set row_security = off;
"""
BOOK = "insert into public.reservations values ('OTHER', 'C', 2)"
BOOK_AS_E_RES = f"""
create function public.book() returns void language sql security definer as $$ {BOOK} $$;
alter function public.book() owner to %s;
"""


@pytest.mark.parametrize("key", ["id", "renamed", "of a domain", "of a domain and renamed"])
@pytest.mark.parametrize("caller", ["itself", "superuser", "through a function of e-Res"])
def test_capture_works_whatever_the_session_and_runs_nothing_of_its_caller(
    caller: str, key: str, database: Database, e_res_role: str
) -> None:
    database.execute(HOSTILE)
    if "domain" in key:
        database.execute(
            "create domain public.key as text; alter table public.reservations alter column id type public.key"
        )
    if "renamed" in key:
        database.execute("alter table public.reservations rename column id to renamed")
    database.execute(BOOK_AS_E_RES % e_res_role)
    stranger = f"{e_res_role}_stranger"
    database.execute(f"create role {stranger}")
    try:
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(IN_A_SESSION)
            if caller == "itself":
                connection.execute(f"set role {e_res_role}; {BOOK}".encode())
            elif caller == "superuser":
                connection.execute(BOOK.encode())
            else:
                connection.execute(f"set role {stranger}; select public.book()".encode())
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(BOOK.encode())
    finally:
        database.execute(f"drop role {stranger}")
    logged = "select operation::text from cdc_bridge.change where reservation_id = 'OTHER' and changed_at <= now()"
    assert database.execute(logged) == [("I",)]
    assert database.value("select count(*) from hostile.change") == 0
    assert database.execute("select as_whom from hostile.ran") == []


def test_capture_does_not_run_what_hangs_on_a_keys_type(database: Database, e_res_role: str) -> None:
    database.execute(HOSTILE)
    database.execute("create domain hostile.key as text check (hostile.note())")
    database.execute("create table public.bookings (id hostile.key primary key)")
    database.execute("select cdc_bridge.attach('public.bookings', 'id')")
    database.execute(f"grant insert on public.bookings to {e_res_role}")
    with acting_as(database, e_res_role) as connection:
        connection.execute("insert into public.bookings values ('B')")
    assert database.execute("select distinct as_whom from hostile.ran") == [(e_res_role,)]
    assert database.value("select reservation_id from cdc_bridge.change order by seq desc limit 1") == "B"


SECRET_COLUMNS = ("headers", "secret", "previous_secret", "proxy", "url")


@pytest.mark.parametrize("column", SECRET_COLUMNS)
def test_reader_sees_no_secret_and_all_else_of_an_endpoint(column: str, database: Database) -> None:
    with acting_as(database, "cdc_bridge_reader") as connection:
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"select {column} from cdc_bridge.endpoint".encode())
        columns = database.execute(
            "select attname::text from pg_attribute where attrelid = 'cdc_bridge.endpoint'::regclass and attnum > 0"
        )
        others = ", ".join(f'"{name}"' for (name,) in columns if name not in SECRET_COLUMNS)
        connection.execute(f"select {others} from cdc_bridge.endpoint".encode())


URLS = (
    "https://till.example/in?token=top-secret",
    "https://till.example/in?a=1#top-secret",
    "https://till.example/in#top-secret",
    "https://till.example/in#a?top-secret",
    "https://till.example/in\n?top-secret\n#top-secret",
    "https://user:top-secret@till.example/@in",
    "https://user:top-secret@and@till.example?top-secret",
    "https:user:top-secret@till.example/in",
    "top-secret@till.example",
)


@pytest.mark.parametrize("url", URLS)
def test_reader_sees_an_endpoint_s_url_without_what_may_be_secret(url: str, database: Database) -> None:
    database.execute(ADD_ENDPOINT)
    database.execute("update cdc_bridge.endpoint set url = %s", [url])
    for column in ("url", "*", "e::text", "to_json(e)"):
        with acting_as(database, "cdc_bridge_reader") as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"select {column} from cdc_bridge.endpoint e".encode())
    with acting_as(database, "cdc_bridge_reader") as connection:
        ((shown, row),) = connection.execute("select url, s::text from cdc_bridge.endpoint_status s").fetchall()
    assert shown == without_secrets(url) == without_secrets(shown)
    assert "till.example" in shown
    assert "top-secret" not in row
