"""The commands about endpoints: what they do to the database, what they refuse, and what they never print."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.endpoints.option import Kind
from cdc_bridge.endpoints.option_values import secret_key
from cdc_bridge.endpoints.options import OPTIONS
from tests.support.bridge import clean_environment
from tests.support.certificates import Certificates
from tests.support.databases import BRIDGE_PASSWORD, Database
from tests.support.endpoints import EndpointCommands

URL = "https://till.example/reservations"
TOKEN = "an-unmistakable-token"
SECRETS = "select secret, previous_secret from cdc_bridge.endpoint"


def row(database: Database, columns: str, name: str = "till") -> tuple[Any, ...]:
    (found,) = database.execute(f"select {columns} from cdc_bridge.endpoint where name = %s", (name,))
    return found


async def test_added_endpoint_has_the_defaults_of_the_settings_and_begins_now(
    database: Database, endpoint: EndpointCommands
) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('BEFORE', 'C', 1)")
    told = await endpoint.run("add", "till", URL)
    assert "from now on" in told
    assert "cdc-bridge backfill till" in told
    others = [option for option in OPTIONS.values() if not option.secret and not option.required]
    assert row(database, ", ".join(f'"{option.name}"' for option in others)) == tuple(
        [] if option.kind is Kind.LINES else option.default for option in others
    )
    assert row(database, "in_settings, url, headers") == (False, URL, [])
    assert (await endpoint.json("show", "till"))["backlog"] == {"number": 0, "exact": True}


async def test_added_endpoint_can_begin_with_the_oldest_change(database: Database, endpoint: EndpointCommands) -> None:
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) values ('BEFORE', 'C', 1)")
    assert "oldest change" in await endpoint.run("add", "till", URL, "--start", "oldest")
    assert (await endpoint.json("show", "till"))["backlog"] == {"number": 1, "exact": True}


async def test_all_options_are_stored_shown_changed_and_taken_away(
    database: Database, endpoint: EndpointCommands, certificates: Certificates
) -> None:
    ca_file, other = str(certificates.ca_file), str(certificates.other_ca_file)
    options = ["--max-in-flight", "3", "--timeout-seconds", "7.5", "--connect-timeout-seconds", "2", "--latest-only"]
    await endpoint.run("add", "till", URL, *options, "--ca-file", ca_file, "--header", "x-a: 1", "--header", "x-b:2")
    shown = await endpoint.json("show", "till")
    assert shown["header_names"] == ["x-a", "x-b"]
    assert (shown["max_in_flight"], shown["timeout_seconds"], shown["connect_timeout_seconds"]) == (3, 7.5, 2.0)
    assert (shown["latest_only"], shown["ca_file"], shown["signed"]) == (True, ca_file, True)

    await endpoint.run("set", "till", "--every-change", "--url", f"{URL}/v2", "--header", "x-c: 3", "--ca-file", other)
    columns = "url, headers, latest_only, ca_file, max_in_flight"
    assert row(database, columns) == (f"{URL}/v2", ["x-c: 3"], False, other, 3)
    await endpoint.run("set", "till", "--ca-file", "", "--header", "")
    assert row(database, columns) == (f"{URL}/v2", [], False, None, 3)


async def test_rate_limit_is_set_shown_and_removed(database: Database, endpoint: EndpointCommands) -> None:
    await endpoint.run("add", "till", URL, "--max-per-second", "2.5")
    assert row(database, "max_per_second") == (2.5,)
    assert re.search("^Rate limit +2.5 requests per second$", await endpoint.run("show", "till"), re.MULTILINE)
    assert "'many' is not a valid float." in await endpoint.run("set", "till", "--max-per-second", "many", code=2)
    for wrong in ("0", "-1", "nan", "10001"):
        assert "--max-per-second" in await endpoint.refused("set", "till", f"--max-per-second={wrong}", code=2)
    await endpoint.run("set", "till", "--max-per-second", "")
    assert row(database, "max_per_second") == (None,)
    assert re.search("^Rate limit +none$", await endpoint.run("show", "till"), re.MULTILINE)


OTHER_SERVERS = (
    "https://other.example/",
    "https://till.example.evil.example/reservations",
    "https://till.example:8443/reservations",
    "https://tíll.example/",
)
SAME_SERVER = ("https://till.example/v2", "https://TILL.example:443/v3?q=1")


@pytest.mark.parametrize("url", OTHER_SERVERS)
async def test_headers_and_secret_stay_with_their_server(
    database: Database, endpoint: EndpointCommands, url: str
) -> None:
    await endpoint.run("add", "till", "https://till.example/reservations", "--header", f"authorization: {TOKEN}")
    await endpoint.run("rotate-secret", "till")
    before = row(database, "url, headers, secret, previous_secret")
    for given in ((), ("--header", "x-a: 1"), ("--new-secret",), ("--ca-file", "")):
        told = await endpoint.refused("set", "till", "--url", url, *given, code=2)
        assert "another server" in told
        assert "--keep-headers" in told
        assert TOKEN not in told
    assert row(database, "url, headers, secret, previous_secret") == before
    told = await endpoint.run("set", "till", "--url", url, "--header", "", "--new-secret")
    stored_url, headers, secret, previous = row(database, "url, headers, secret, previous_secret")
    assert (stored_url, headers, previous) == (url, [], None)
    assert secret != before[2]
    assert secret in told


@pytest.mark.parametrize("url", SAME_SERVER)
async def test_url_of_the_same_server_keeps_headers_and_secret(
    database: Database, endpoint: EndpointCommands, url: str
) -> None:
    await endpoint.run("add", "till", "https://till.example/reservations?key=1", "--header", "x-a: 1")
    before = row(database, "headers, secret")
    await endpoint.run("set", "till", "--url", url)
    assert row(database, "url, headers, secret") == (url, *before)


async def test_headers_and_secret_go_to_another_server_if_that_is_said(
    database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL, "--header", "x-a: 1")
    before = row(database, "headers, secret")
    await endpoint.run("set", "till", "--url", "https://other.example", "--keep-headers")
    assert row(database, "url, headers, secret") == ("https://other.example", *before)


async def test_endpoint_without_headers_and_secret_moves_without_a_question(
    database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL, "--unsigned")
    await endpoint.run("set", "till", "--url", "https://other.example")
    assert row(database, "url") == ("https://other.example",)
    assert "rotate-secret" in await endpoint.refused("set", "till", "--new-secret", code=2)


async def test_headers_come_from_a_file_or_standard_input_too(
    database: Database, endpoint: EndpointCommands, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    file.write_text(f"authorization: Bearer {TOKEN}\n\n")
    await endpoint.run("add", "till", URL, "--header-file", str(file), "--header", "x-a: b")
    assert row(database, "headers") == (["x-a: b", f"authorization: Bearer {TOKEN}"],)
    await endpoint.run("set", "till", "--header-file", "-", standard_input=f"x-key: {TOKEN}\n".encode())
    assert row(database, "headers") == ([f"x-key: {TOKEN}"],)
    assert "no header in it" in await endpoint.refused("set", "till", "--header-file", "-", code=2)
    assert row(database, "headers") == ([f"x-key: {TOKEN}"],)


async def test_secret_is_shown_once_and_nothing_else_secret_ever(
    database: Database, endpoint: EndpointCommands
) -> None:
    added = await endpoint.json("add", "till", f"{URL}?key={TOKEN}")
    assert secret_key(added["secret"])
    assert row(database, "secret") == (added["secret"],)
    header = f"authorization: Bearer {TOKEN}\n".encode()
    await endpoint.run("set", "till", "--header-file", "-", standard_input=header)
    rotated = await endpoint.json("rotate-secret", "till")
    assert database.execute(SECRETS) == [(rotated["secret"], added["secret"])]
    for arguments in (("list",), ("show", "till"), ("pause", "till"), ("resume", "till"), ("remove", "till")):
        await endpoint.run(*arguments, code=2 if arguments[0] == "remove" else 0)
        if arguments[0] in {"list", "show"}:
            await endpoint.run(*arguments, "--json")
    await endpoint.refused("set", "till", "--header", f"content-length: {TOKEN}", code=2)
    await endpoint.refused("add", "till", f"https://u:{TOKEN}@till.example", code=2)
    assert "authorization" in endpoint.printed
    for secret in (added["secret"], rotated["secret"]):
        assert endpoint.printed.count(secret) == 1
    assert TOKEN not in endpoint.printed
    assert BRIDGE_PASSWORD not in endpoint.printed


async def test_unsigned_endpoint_gets_its_first_secret_by_rotating(
    database: Database, endpoint: EndpointCommands
) -> None:
    assert "not signed" in await endpoint.run("add", "till", URL, "--unsigned")
    assert row(database, "secret") == (None,)
    assert (await endpoint.json("show", "till"))["signed"] is False
    rotated = await endpoint.json("rotate-secret", "till")
    assert rotated["old_until"] is None
    assert database.execute(SECRETS) == [(rotated["secret"], None)]


async def test_rotation_under_way_is_cut_short_only_when_told(database: Database, endpoint: EndpointCommands) -> None:
    first = (await endpoint.json("add", "till", URL))["secret"]
    second = (await endpoint.json("rotate-secret", "till"))["secret"]
    told = await endpoint.refused("rotate-secret", "till")
    assert "a rotation is in progress" in told
    assert "--now" in told
    assert database.execute(SECRETS) == [(second, first)]
    third = (await endpoint.json("rotate-secret", "till", "--now"))["secret"]
    assert database.execute(SECRETS) == [(third, second)]
    database.execute("update cdc_bridge.endpoint set previous_secret_until = now() - interval '1 second'")
    assert (await endpoint.json("show", "till"))["rotating_until"] is None
    fourth = (await endpoint.json("rotate-secret", "till", "--keep-old-hours", "0"))["secret"]
    assert database.execute(SECRETS) == [(fourth, None)]
    for hours in ("-1", "nan", "inf"):
        assert "--keep-old-hours has to be" in await endpoint.refused(
            "rotate-secret", "till", f"--keep-old-hours={hours}", code=2
        )


async def test_pause_and_resume_say_when_they_change_nothing(endpoint: EndpointCommands) -> None:
    await endpoint.run("add", "till", URL)
    assert "neither paused nor disabled" in await endpoint.run("resume", "till")
    assert "is paused" in await endpoint.run("pause", "till")
    assert "was paused already" in await endpoint.run("pause", "till")
    (listed,) = await endpoint.json("list")
    assert listed["status"] == "paused"
    assert "is resumed" in await endpoint.run("resume", "till")
    assert re.search("^Status +unassigned since ", await endpoint.run("show", "till"), re.MULTILINE)


async def test_list_of_none_says_what_to_do(endpoint: EndpointCommands) -> None:
    assert "cdc-bridge endpoint add" in await endpoint.run("list")
    assert await endpoint.json("list") == []


async def test_name_that_is_not_there_is_told_with_the_nearest(endpoint: EndpointCommands) -> None:
    await endpoint.run("add", "kitchen", URL)
    for command in ("show", "pause", "resume", "rotate-secret", "test", "remove"):
        told = await endpoint.refused(command, "kitchn")
        assert "there is no endpoint kitchn; did you mean kitchen?" in told
    assert "There are: kitchen" in await endpoint.refused("set", "x", "--max-in-flight", "1")


async def test_what_is_refused_leaves_everything_as_it_was(database: Database, endpoint: EndpointCommands) -> None:
    await endpoint.run("add", "till", URL)
    before = database.execute("select e::text from cdc_bridge.endpoint e")
    assert "there is an endpoint till already" in await endpoint.refused("add", "till", URL)
    assert "NAME default belongs" in await endpoint.refused("add", "default", URL, code=2)
    assert "NAME has to be" in await endpoint.refused("add", "Till", URL, code=2)
    assert "URL has to begin with https://" in await endpoint.refused("add", "x", "http://localhost", code=2)
    assert "nothing to change" in await endpoint.refused("set", "till", code=2)
    assert "--max-in-flight" in await endpoint.refused("set", "till", "--max-in-flight", "0", code=2)
    assert "needs a client certificate file" in await endpoint.refused("set", "till", "--client-key-file", "/k", code=2)
    assert "Nothing was done" in await endpoint.run("remove", "till", code=2)
    assert database.execute("select e::text from cdc_bridge.endpoint e") == before


async def test_plain_http_to_this_machine_is_taken_where_it_is_admitted(endpoint: EndpointCommands) -> None:
    await endpoint.run("add", "till", "http://localhost:8080/x", CDC_BRIDGE_ALLOW_HTTP="true")


async def test_file_of_the_daemons_machine_is_taken_with_a_warning(
    database: Database, endpoint: EndpointCommands
) -> None:
    told = await endpoint.run("add", "till", URL, "--ca-file", "/of/the/daemon.pem", "--json")
    assert "warning: --ca-file: /of/the/daemon.pem cannot be read here" in told
    assert row(database, "ca_file") == ("/of/the/daemon.pem",)
    assert "cannot be used from here: ca_file names /of/the" in await endpoint.refused("test", "till")


async def test_removing_keeps_the_delivery_log_and_says_what_is_lost(
    database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL)
    database.execute(
        "insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, "
        "failures, next_attempt_at) select endpoint_id, 1, 'R', 'I', now(), 'retrying', 1, 1, now() "
        "from cdc_bridge.endpoint"
    )
    database.execute("insert into customers (id) values ('C')")
    database.execute("insert into reservations (id, cust_id, reference) select n, 'C', n from generate_series(1, 3) n")
    told = await endpoint.run("remove", "till", "--yes")
    assert "Queued or retrying deliveries to till: 1. Changes not sent to it yet: 3." in told
    assert database.value("select count(*) from cdc_bridge.endpoint") == 0
    assert database.value("select count(*) from cdc_bridge.delivery") == 1


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"y\n", 0)])
async def test_removing_asks_on_a_terminal(
    answer: bytes, left: int, database: Database, endpoint: EndpointCommands
) -> None:
    await endpoint.run("add", "till", URL)
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cdc_bridge", "endpoint", "remove", "till", env=clean_environment(endpoint.settings),
        stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answer)
    output, _ = await process.communicate()
    os.close(ours)
    assert b"Go ahead?" in output
    assert process.returncode == left
    assert database.value("select count(*) from cdc_bridge.endpoint") == left


SOME_OF_EACH = [
    ("list",),
    ("show", "till"),
    ("add", "other", URL),
    ("set", "till", "--max-in-flight", "2"),
    ("pause", "till"),
    ("resume", "till"),
    ("rotate-secret", "till"),
    ("test", "till"),
    ("remove", "till", "--yes"),
    ("apply", "-", "--yes"),
    ("export",),
]


@pytest.mark.parametrize("arguments", SOME_OF_EACH, ids=lambda arguments: arguments[0])
async def test_database_that_is_not_as_it_should_be_is_told_in_words(
    arguments: tuple[str, ...], database: Database, endpoint: EndpointCommands, example_database: Database
) -> None:
    away = "postgresql://cdc_bridge:top-secret-word@127.0.0.1:1/eres"
    assert "cannot be reached" in await endpoint.refused(*arguments, CDC_BRIDGE_DATABASE_URL=away)
    told = await endpoint.refused(*arguments, CDC_BRIDGE_DATABASE_URL=example_database.bridge_url)
    assert "is not installed" in told
    assert "cdc-bridge install" in told
    await endpoint.run("add", "till", URL)
    database.execute("revoke select, insert, update, delete on cdc_bridge.endpoint from cdc_bridge")
    told = await endpoint.refused(*arguments)
    assert "role cdc_bridge may not do this: permission denied for table endpoint" in told
    assert "cdc-bridge check" in told
    assert "top-secret-word" not in endpoint.printed


async def test_table_that_is_gone_is_told_in_words(database: Database, endpoint: EndpointCommands) -> None:
    database.execute("drop table cdc_bridge.endpoint cascade")
    assert "a statement failed" in await endpoint.refused("list")


async def test_pausing_needs_no_mapping(database: Database, endpoint: EndpointCommands) -> None:
    """When the payload is broken, requests have to be stoppable all the same."""
    await endpoint.run("add", "till", URL)
    database.execute("select cdc_bridge.drop_payload('reservation')")
    await endpoint.run("pause", "till")


async def test_reader_may_list(database: Database, endpoint: EndpointCommands) -> None:
    await endpoint.run("add", "till", URL)
    database.execute("alter role cdc_bridge_reader login password 'reader'")
    try:
        reader = database.server.url_for(database.name, user="cdc_bridge_reader", password="reader")
        assert "till" in await endpoint.run("list", CDC_BRIDGE_DATABASE_URL=reader)
        assert "may not do this" in await endpoint.refused("show", "till", CDC_BRIDGE_DATABASE_URL=reader)
        assert "may not do this" in await endpoint.refused("pause", "till", CDC_BRIDGE_DATABASE_URL=reader)
    finally:
        database.execute("alter role cdc_bridge_reader nologin password null")
