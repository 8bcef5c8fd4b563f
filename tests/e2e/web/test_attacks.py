"""Whoever has no right, or means harm: refused, or shown harmless."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from cdc_bridge.web.access import MOST_SESSIONS
from tests.support.access import add_token
from tests.support.bridge import HEADER, SECRET, Bridge, Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.page import TOKEN, VIEW_TOKEN, Visitor
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.waiting import until

SCRIPT = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
PAGES = [
    "/",
    "/deliveries",
    "/deliveries?state=dead",
    "/deliveries/default/1",
    "/endpoints/default",
    "/endpoints/new",
    "/endpoints/default/change",
    "/endpoints/default/rotate-secret",
    "/endpoints/default/remove",
    "/endpoints/default/resend",
    "/endpoints/default/backfill",
    "/endpoints/default/reconcile",
]
CHANGES = [
    "/endpoints/new",
    "/endpoints/default/change",
    "/endpoints/default/pause",
    "/endpoints/default/resume",
    "/endpoints/default/test",
    "/endpoints/default/rotate-secret",
    "/endpoints/default/remove",
    "/endpoints/default/resend",
    "/endpoints/default/backfill",
    "/endpoints/default/reconcile",
    "/endpoints/default/stop-work",
    "/deliveries/send",
    "/deliveries/default/1/send",
]


@pytest.fixture
async def viewer(visitor: Visitor) -> Visitor:
    """Signed in to see states."""
    assert (await visitor.sign_in(VIEW_TOKEN)).status == 200
    return visitor


async def delivered(database: Database, receiver: Receiver, *, reservation_id: str = "R") -> None:
    database.execute("insert into reservations (id, cust_id, reference) values (%s, 'C', 1)", (reservation_id,))
    await receiver.wait_for_delivered(1)
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery"), "it is recorded")


async def test_nobody_sees_a_page_without_signing_in(visitor: Visitor) -> None:
    for path in PAGES:
        answer = await visitor.get(path, follow=False)
        assert answer.status == 303, path
        assert answer.headers["location"].startswith("/sign-in")
        assert answer.html == ""


async def test_nobody_changes_anything_without_signing_in(visitor: Visitor) -> None:
    for path in CHANGES:
        assert (await visitor.ask("POST", path, data={"name": "x"}, follow=False)).status == 401, path


async def test_wrong_token_signs_nobody_in(visitor: Visitor) -> None:
    for token in ("", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "x" * 50_000):
        answer = await visitor.sign_in(token)
        assert answer.status == 403
        assert "Wrong token." in answer.text
    assert visitor.cookies == {}
    assert (await visitor.get("/", follow=False)).status == 303


async def test_ten_wrong_tokens_hold_up_wrong_ones_and_never_the_right_one(
    visitor: Visitor, page_bridge: Bridge
) -> None:
    for _ in range(10):
        assert (await visitor.sign_in("wrong")).status == 403
    for token in ("wrong", TOKEN[:-1]):
        answer = await visitor.sign_in(token)
        assert answer.status == 429
        assert 0 < int(answer.headers["retry-after"]) <= 601
        assert "Too many wrong tokens" in answer.text
    assert (await visitor.sign_in()).status == 200
    assert len([line for line in page_bridge.log if line["event"] == "sign-in rejected"]) == 10


async def test_sign_ins_to_see_states_end_no_session_that_may_change(operator: Visitor, page_port: int) -> None:
    viewer = Visitor(page_port)
    try:
        for _ in range(MOST_SESSIONS + 1):
            answer = await viewer.ask(
                "POST", "/sign-in", data={"token": VIEW_TOKEN}, follow=False, cookies={operator.cookie_name: "none"}
            )
            assert answer.status == 303
    finally:
        await viewer.close()
    assert (await operator.get("/endpoints/new", follow=False)).status == 200


async def test_who_may_see_states_sees_no_content_and_changes_nothing(
    viewer: Visitor, database: Database, receiver: Receiver
) -> None:
    database.execute("update customers set surname = 'Secretname'")
    await delivered(database, receiver)
    seen = await viewer.get("/deliveries/default/1")
    assert seen.status == 200
    assert "delivered" in seen.text
    assert "Secretname" not in seen.html
    assert "Request preview" not in seen.text
    form_token = seen.form_token
    for path in PAGES[5:]:
        assert (await viewer.get(path)).status == 403, path
    for path in CHANGES:
        answer = await viewer.ask("POST", path, data={"form_token": form_token, "keep_old_hours": "1"})
        assert answer.status == 403, path
    assert "does not allow this" in answer.text
    assert database.execute("select paused_at, name from cdc_bridge.endpoint") == [(None, "default")]


async def test_forged_form_changes_nothing(operator: Visitor) -> None:
    for forged in [None, "", "x" * 43, "é"]:
        fields = {} if forged is None else {"form_token": forged}
        for path in [*CHANGES, "/sign-out"]:
            assert (await operator.ask("POST", path, data=fields)).status == 403, path
        uploaded = aiohttp.FormData({"form_token": forged or ""})
        uploaded.add_field("form_token", b"x", filename="x")
        assert (await operator.ask("POST", "/endpoints/default/pause", data=uploaded)).status == 415
        assert (await operator.get("/", follow=False)).status == 200


async def test_form_that_another_site_sends_changes_nothing_though_it_has_the_token(
    operator: Visitor, database: Database
) -> None:
    for headers in [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ]:
        answer = await operator.send("/endpoints/default/pause", headers=headers)
        assert answer.status == 403
        assert "Another site sent this request." in answer.text
        assert database.value("select paused_at from cdc_bridge.endpoint") is None


async def test_form_of_an_earlier_session_changes_nothing(operator: Visitor) -> None:
    before = (await operator.get("/")).form_token
    await operator.send("/sign-out")
    await operator.sign_in()
    answer = await operator.ask("POST", "/endpoints/default/pause", data={"form_token": before})
    assert answer.status == 403


async def test_signing_out_ends_the_session_at_the_server(operator: Visitor) -> None:
    before = f"{operator.cookie_name}={operator.cookie}"
    await operator.send("/sign-out")
    answer = await operator.get("/", follow=False, headers={"cookie": before})
    assert answer.status == 303


async def test_signing_in_again_ends_the_session_before(operator: Visitor) -> None:
    before = operator.cookie
    await operator.sign_in()
    assert operator.cookie != before
    async with (
        aiohttp.ClientSession(headers={"cookie": f"{operator.cookie_name}={before}"}) as client,
        client.get(operator.url, allow_redirects=False) as answer,
    ):
        assert answer.status == 303


async def test_cookie_is_kept_from_scripts_and_other_sites(visitor: Visitor) -> None:
    answer = await visitor.ask("POST", "/sign-in", data={"token": TOKEN}, follow=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    assert "Max-Age=" in cookie
    assert TOKEN not in cookie


async def test_every_answer_forbids_browsers_what_it_does_not_need(operator: Visitor) -> None:
    for path in (
        "/",
        "/sign-in",
        "/deliveries",
        "/nothing",
        "/readyz",
        "/healthz",
        "/metrics",
        "/static/dashboard.css",
        "/static/x",
    ):
        headers = (await operator.get(path, follow=False)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        kept = "public, max-age=31536000, immutable"
        assert headers["cache-control"] == (kept if path.endswith(".css") else "no-store")


async def test_signing_in_leads_to_no_other_site(visitor: Visitor) -> None:
    for next_ in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/%0d%0aset-cookie: x",
        "\r\n/x",
        "javascript:x",
    ]:
        answer = await visitor.ask("POST", "/sign-in", data={"token": TOKEN, "next": next_}, follow=False)
        assert answer.status == 303
        location = answer.headers["location"]
        assert location == "/" or (location.startswith("/%") and "evil" not in location)
        assert "x" not in answer.headers.getall("set-cookie", [])  # type: ignore[attr-defined]


async def test_signing_in_leads_to_the_page_that_was_asked_for(visitor: Visitor) -> None:
    asked = await visitor.get("/deliveries?state=dead")
    assert 'name="next" value="/deliveries?state=dead"' in asked.html
    answer = await visitor.ask(
        "POST", "/sign-in", data={"token": TOKEN, "next": "/deliveries?state=dead"}, follow=False
    )
    assert answer.headers["location"] == "/deliveries?state=dead"


async def test_script_in_every_text_of_a_reservation_is_shown_as_text(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    for table in ("customers", "reservations"):
        columns = database.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 "
            "and atttypid in ('text'::regtype, 'varchar'::regtype) and attname not in ('id', 'cust_id', 'call_id') "
            "and not exists "
            "(select from pg_constraint where conrelid = attrelid and contype = 'c' and attnum = any (conkey))",
            (table,),
        )
        assert len(columns) > 5
        if table == "customers":
            database.execute(
                f"update customers set {', '.join(f'{name} = %(text)s' for (name,) in columns)}", {"text": SCRIPT}
            )
            continue
        names = [name for (name,) in columns]
        database.execute(
            f"insert into reservations (id, cust_id, reference, {', '.join(names)}) "
            f"values (%(id)s, 'C', 1, {', '.join(['%(text)s'] * len(names))})",
            {"id": SCRIPT, "text": SCRIPT},
        )
    await receiver.wait_for_delivered(1)
    await until(lambda: database.value("select count(*) from cdc_bridge.delivery"), "it is recorded")
    for path in ("/deliveries", "/deliveries/default/1"):
        page = await operator.get(path)
        assert page.status == 200
        assert "&lt;script&gt;" in page.html
        assert SCRIPT not in page.html
        assert "<img" not in page.html
    assert page.html.count("&lt;script&gt;") > 20


async def test_script_in_every_field_of_an_endpoint_is_refused_or_shown_as_text(
    operator: Visitor, database: Database
) -> None:
    for field in ["name", "url", "headers", "max_in_flight", "timeout_seconds", "ca_file", "client_key_file"]:
        fields = {
            "name": "till", "url": "https://till.example/", "max_in_flight": "1", "timeout_seconds": "1",
            "connect_timeout_seconds": "1",
        }  # fmt: skip
        answer = await operator.send("/endpoints/new", fields | {field: SCRIPT})
        assert SCRIPT not in answer.html
        assert "<img" not in answer.html
        if field != "client_key_file":  # Without its certificate it is not looked at, and shown nowhere.
            assert answer.status == 400
            assert database.value("select count(*) from cdc_bridge.endpoint") == 1


async def test_script_in_a_filter_is_shown_as_text(operator: Visitor) -> None:
    for query in ["endpoint", "state", "reservation", "since", "until", "after"]:
        answer = await operator.get("/deliveries", params={query: SCRIPT})
        assert answer.status == 200
        assert SCRIPT not in answer.html
        assert "<img" not in answer.html


async def test_headers_that_would_break_the_request_are_refused(operator: Visitor, database: Database) -> None:
    for headers in [
        "x-a: b\r\nx-evil: 1",
        "x-a: b\rx-evil",
        "content-length: 5",
        "webhook-id: 1",
        "no colon",
        "x-é: 1",
        "x: \x00",
    ]:
        fields = {
            "name": "till", "url": "https://till.example/", "max_in_flight": "1", "timeout_seconds": "1",
            "connect_timeout_seconds": "1", "headers": headers,
        }  # fmt: skip
        answer = await operator.send("/endpoints/new", fields)
        made = database.execute("select headers from cdc_bridge.endpoint where name = 'till'")
        if answer.status == 200:  # Two lines are two headers, and never one with a line end in it.
            assert made == [(["x-a: b", "x-evil: 1"],)]
            database.execute("delete from cdc_bridge.endpoint where name = 'till'")
        else:
            assert made == []


async def test_files_that_never_end_are_not_read(operator: Visitor, database: Database) -> None:
    fields = {
        "name": "till", "url": "https://till.example/", "max_in_flight": "1", "timeout_seconds": "1",
        "connect_timeout_seconds": "1", "ca_file": "/dev/zero",
    }  # fmt: skip
    answer = await operator.send("/endpoints/new", fields)
    assert "it is not a regular file" in answer.text


async def test_more_than_the_page_takes_is_refused(operator: Visitor) -> None:
    answer = await operator.send("/endpoints/new", {"headers": "x" * 100_000})
    assert answer.status == 413
    assert "The request is too large" in answer.text
    refused = await operator.get("/deliveries?reservation=" + "x" * 20_000)
    assert refused.status == 400
    assert (await operator.get("/")).status == 200


async def test_path_tricks_lead_nowhere(operator: Visitor) -> None:
    for path in [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2f..%2fsettings.py",
        "/static/dashboard.css/../../access.py",
        "/static//etc/passwd",
        "/endpoints/..%2f..%2fetc",
        "/endpoints/%00",
        "/deliveries/default/99999999999999999999",
        "/deliveries/default/0",
        "/deliveries/%2e%2e/1",
        "//",
        "/endpoints/none",
    ]:
        async with (
            aiohttp.ClientSession(cookies=operator.cookies, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client,
            client.get(URL(f"{operator.url}{path}", encoded=True)) as answer,
        ):
            assert answer.status == 404
            assert "def " not in await answer.text()


async def test_name_of_another_site_is_not_answered(visitor: Visitor) -> None:
    for host in ["evil.example", "evil.example:9187", "127.0.0.1.evil.example", "", "[", "localhost.evil"]:
        for path in ("/", "/sign-in", "/metrics", "/readyz"):
            answer = await visitor.get(path, headers={"host": host}, follow=False)
            assert answer.status == 421
            assert "localhost" in answer.html


async def test_other_methods_do_nothing(operator: Visitor) -> None:
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"]:
        assert (await operator.ask(method, "/endpoints/default/pause")).status == 405


async def test_without_a_token_in_the_settings_there_is_no_page(bridges: Bridges, page_port: int) -> None:
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port))
    visitor = Visitor(page_port)
    try:
        answer = await visitor.get("/")
        assert answer.status == 404
        assert "CDC_BRIDGE_WEB_TOKEN is not set" in answer.text
        for path in ("/sign-in", "/deliveries", "/endpoints/default", "/static/dashboard.css"):
            assert (await visitor.get(path)).status == 404
        assert (await visitor.sign_in("")).status in {404, 405}
        assert (await visitor.get("/healthz")).status == 200
    finally:
        await visitor.close()


async def test_no_secret_and_no_header_value_ever_reaches_a_browser(
    operator: Visitor, database: Database, receiver: Receiver, page_bridge: Bridge
) -> None:
    await delivered(database, receiver)
    value = HEADER.partition(": ")[2]
    for path in PAGES:
        page = await operator.get(path)
        for secret in (SECRET, value, TOKEN, VIEW_TOKEN):
            assert secret not in page.html, path
    for secret in (SECRET, TOKEN, VIEW_TOKEN):
        assert secret not in "".join(page_bridge.output)


@pytest.fixture
async def secure(
    bridges: Bridges, database: Database, page_port: int, certificates: Certificates
) -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody who comes over HTTPS."""
    add_token(database, "viewer", VIEW_TOKEN, "view")
    await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port),
        CDC_BRIDGE_WEB_ADDRESS="0.0.0.0",
        CDC_BRIDGE_WEB_TOKEN=TOKEN,
        CDC_BRIDGE_WEB_CERTIFICATE_FILE=str(certificates.server_certificate_file),
        CDC_BRIDGE_WEB_KEY_FILE=str(certificates.server_key_file),
    )
    context = ssl.create_default_context(cafile=str(certificates.ca_file))
    async with aiohttp.ClientSession(
        f"https://localhost:{page_port}", connector=aiohttp.TCPConnector(ssl=context)
    ) as client:
        yield client


async def test_over_https_the_cookie_is_for_https_alone(secure: aiohttp.ClientSession) -> None:
    async with secure.post("/sign-in", data={"token": TOKEN}, allow_redirects=False) as answer:
        assert answer.headers["set-cookie"].startswith("__Host-cdc-bridge-")
        assert "Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"].startswith("max-age=")
    async with secure.get("/") as answer:
        assert answer.status == 200
        assert "Add an endpoint" in await answer.text()


async def test_where_other_machines_come_figures_need_a_token(secure: aiohttp.ClientSession) -> None:
    for path in ("/metrics", "/readyz"):
        for authorization in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            async with secure.get(path, headers=authorization) as answer:
                assert answer.status == 401
        async with secure.get(path, headers={"authorization": f"Bearer {VIEW_TOKEN}"}) as answer:
            assert answer.status in {200, 503}
    async with secure.get("/healthz") as answer:
        assert answer.status == 200


async def test_what_the_database_refuses_is_told_without_its_statement(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    await delivered(database, receiver)
    database.execute("alter table cdc_bridge.delivery rename column attempts to attempts_before")
    answer = await operator.get("/deliveries")
    assert answer.status == 503
    assert "A statement failed" in answer.text
    assert "Traceback" not in answer.html
    assert "select" not in answer.html
    database.execute("alter table cdc_bridge.delivery rename column attempts_before to attempts")
    assert (await operator.get("/deliveries")).status == 200


async def test_half_a_form_is_given_up_and_keeps_no_daemon_from_stopping(page_bridge: Bridge, page_port: int) -> None:
    half = (
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 100\r\n\r\ntoken="
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", page_port)
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", page_port)
    try:
        writer.write(half)
        async with asyncio.timeout(30):
            assert b"408" in await reader.readline()
        other_writer.write(half)
        await other_writer.drain()
        async with asyncio.timeout(15):  # Bridge's own patience is longer than systemd would have.
            assert await page_bridge.terminate() == 0
        assert await other_reader.read() == b""
    finally:
        writer.close()
        other_writer.close()


async def test_broken_forms_are_refused_and_fill_no_log(visitor: Visitor, page_bridge: Bridge) -> None:
    for headers, body in [
        ({"content-type": "application/x-www-form-urlencoded; charset=nonsense"}, b"token=x"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"token=\xff\xfe"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nnonsense"),
        ({"content-type": "multipart/form-data"}, b"x"),
        ({"content-type": "application/x-www-form-urlencoded", "content-encoding": "gzip"}, b"no gzip"),
        ({"content-type": "application/json"}, b"{}"),
        ({"content-type": "nonsense"}, b""),
    ]:
        answer = await visitor.ask("POST", "/sign-in", data=body, headers=headers)
        assert answer.status in {400, 415}
        assert not [line for line in page_bridge.log if line["level"] == "error"]


async def test_page_is_given_up_where_the_network_swallows_what_the_database_says(
    bridges: Bridges, database: Database, page_port: int, proxy: Proxy
) -> None:
    await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port),
        CDC_BRIDGE_WEB_TOKEN=TOKEN,
        CDC_BRIDGE_DATABASE_URL=proxy.through(database.bridge_url),
    )
    visitor = Visitor(page_port)
    try:
        await visitor.sign_in()
        assert (await visitor.get("/deliveries")).status == 200
        proxy.forget_connections()
        async with asyncio.timeout(30):
            assert (await visitor.get("/deliveries")).status == 503
        assert (await visitor.get("/deliveries")).status == 200
    finally:
        await visitor.close()


async def test_address_is_what_the_named_proxy_added(bridges: Bridges, database: Database, page_port: int) -> None:
    bridge = await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_WEB_TOKEN=TOKEN, CDC_BRIDGE_WEB_PROXY_ADDRESS="127.0.0.0/8"
    )
    visitor = Visitor(page_port)
    try:
        for number in range(12):
            headers = CIMultiDict(
                [("x-forwarded-for", f"10.0.0.{number}"), ("x-forwarded-for", f"10.1.1.{number}, 192.0.2.7")]
            )
            answer = await visitor.ask("POST", "/sign-in", data={"token": "wrong"}, headers=headers)
        assert answer.status == 429
        assert {line["address"] for line in bridge.log if line["event"] == "sign-in rejected"} == {"192.0.2.7"}
        headers = CIMultiDict([("x-forwarded-for", "192.0.2.8")])
        answer = await visitor.ask("POST", "/sign-in", data={"token": "wrong"}, headers=headers)
        assert answer.status == 403
        assert (await visitor.ask("POST", "/sign-in", data={"token": TOKEN}, follow=False)).status == 303
    finally:
        await visitor.close()


async def test_address_that_anybody_but_the_proxy_reports_is_ignored(
    bridges: Bridges, database: Database, page_port: int
) -> None:
    bridge = await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_WEB_TOKEN=TOKEN, CDC_BRIDGE_WEB_PROXY_ADDRESS="192.0.2.1"
    )
    visitor = Visitor(page_port)
    try:
        for number in range(12):
            headers = {"x-forwarded-for": f"10.0.0.{number}", "forwarded": f"for=10.0.0.{number}"}
            answer = await visitor.ask("POST", "/sign-in", data={"token": "wrong"}, headers=headers)
        assert answer.status == 429
        assert {line["address"] for line in bridge.log if line["event"] == "sign-in rejected"} == {"127.0.0.1"}
    finally:
        await visitor.close()


async def test_machine_with_an_old_token_keeps_nobody_from_signing_in(secure: aiohttp.ClientSession) -> None:
    for _ in range(12):
        async with secure.get("/readyz", headers={"authorization": "Bearer an older token"}) as answer:
            last = answer.status
    assert last == 429
    async with secure.post("/sign-in", data={"token": TOKEN}, allow_redirects=False) as answer:
        assert answer.status == 303
