"""The vendor's portal over HTTPS: what a link opens, and what somebody tries who has one, had one, or guesses."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from html import unescape
from pathlib import Path

import aiohttp
import pytest

from cdc_bridge.access.rights import Right
from cdc_bridge.web import server
from cdc_bridge.web.api.routes import OPERATIONS
from cdc_bridge.web.portal import MOST_CHANGES
from tests.support.access import add_portal_token, add_token
from tests.support.api import API_SETTINGS, ApiClient
from tests.support.bridge import HEADER, SECRET, Bridge, Bridges, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.page import CONTENT_TOKEN, TOKEN, VIEW_TOKEN, PageResponse, Visitor
from tests.support.receiver import ReceivedRequest, Receiver
from tests.support.responses import Response
from tests.support.waiting import until, until_it

LINK = "cdcb_the token of the link of the endpoint default"
RIVAL = "rival-of-the-restaurant"
RIVALS_LINK = "cdcb_the token of the link of another endpoint"
GUEST = "Featherstonehaugh"
SEQS = "select seq from cdc_bridge.delivery order by seq"
OPEN = {
    ("GET", "/"): Right.VIEW,
    ("GET", "/endpoints/{name}"): Right.VIEW,
    ("GET", "/deliveries"): Right.VIEW,
    ("GET", "/deliveries/{endpoint}/{seq}"): Right.VIEW,
    ("POST", "/endpoints/{name}/test"): Right.CHANGE,
    ("POST", "/deliveries/{endpoint}/{seq}/send"): Right.CHANGE,
}
"""All that the portal has, and the right that it takes."""
CLOSED = {
    ("GET", "/audit"): Right.CHANGE,
    ("GET", "/endpoints/new"): Right.CHANGE,
    ("POST", "/endpoints/new"): Right.CHANGE,
    ("GET", "/endpoints/{name}/change"): Right.CHANGE,
    ("POST", "/endpoints/{name}/change"): Right.CHANGE,
    ("POST", "/endpoints/{name}/pause"): Right.CHANGE,
    ("POST", "/endpoints/{name}/resume"): Right.CHANGE,
    ("GET", "/endpoints/{name}/rotate-secret"): Right.CHANGE,
    ("POST", "/endpoints/{name}/rotate-secret"): Right.CHANGE,
    ("GET", "/endpoints/{name}/remove"): Right.CHANGE,
    ("POST", "/endpoints/{name}/remove"): Right.CHANGE,
    ("GET", "/endpoints/{name}/resend"): Right.CHANGE,
    ("POST", "/endpoints/{name}/resend"): Right.CHANGE,
    ("GET", "/endpoints/{name}/backfill"): Right.CHANGE,
    ("POST", "/endpoints/{name}/backfill"): Right.CHANGE,
    ("GET", "/endpoints/{name}/reconcile"): Right.CHANGE,
    ("POST", "/endpoints/{name}/reconcile"): Right.CHANGE,
    ("POST", "/endpoints/{name}/stop-work"): Right.CHANGE,
    ("POST", "/deliveries/send"): Right.CHANGE,
}
"""All that the dashboard has beside that."""
RIGHTS = {Right.VIEW: VIEW_TOKEN, Right.CONTENT: CONTENT_TOKEN, Right.CHANGE: TOKEN}


@pytest.fixture
async def secure_bridge(
    database: Database,
    bridges: Bridges,
    page_port: int,
    certificates: Certificates,
    receiver: Receiver,
    other: Receiver,
) -> Bridge:
    """A daemon over HTTPS with two endpoints, each with a rejected delivery of the same change, and a link of each."""
    database.execute("insert into customers (id, surname) values ('C', %s)", (GUEST,))
    add_endpoint(database, RIVAL, other.url, certificates.ca_file, SECRET)
    receiver.script = other.script = lambda request: Response(204 if is_test(request) else 422)
    for right in (Right.VIEW, Right.CONTENT):
        add_token(database, right.value, RIGHTS[right], right.value)
    bridge = await bridges.start(
        CDC_BRIDGE_WEB_PORT=str(page_port),
        CDC_BRIDGE_WEB_ADDRESS="0.0.0.0",
        CDC_BRIDGE_WEB_TOKEN=TOKEN,
        CDC_BRIDGE_WEB_CERTIFICATE_FILE=str(certificates.server_certificate_file),
        CDC_BRIDGE_WEB_KEY_FILE=str(certificates.server_key_file),
        **API_SETTINGS,
    )
    await bridge.until_assigned("default", RIVAL)
    add_portal_token(database, "default", LINK)
    add_portal_token(database, RIVAL, RIVALS_LINK)
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    await until(lambda: len(database.execute(SEQS)) == 2, "both endpoints have rejected it")
    return bridge


@pytest.fixture
async def people(
    secure_bridge: Bridge, page_port: int, certificates: Certificates
) -> AsyncIterator[Callable[[], Visitor]]:
    """Makes people with a browser each."""
    tls = ssl.create_default_context(cafile=str(certificates.ca_file))
    made: list[Visitor] = []

    def make() -> Visitor:
        made.append(Visitor(page_port, tls))
        return made[-1]

    yield make
    for visitor in made:
        await visitor.close()


@pytest.fixture
async def vendor(people: Callable[[], Visitor]) -> Visitor:
    """Somebody who has opened the link of the endpoint ``default``."""
    vendor = people()
    assert (await vendor.open_portal(LINK)).status == 200
    return vendor


def is_test(request: ReceivedRequest) -> bool:
    return request.headers["ce-type"] == "cdc-bridge.test"


def number(database: Database) -> int:
    return int(database.value("select max(seq) from cdc_bridge.delivery"))


def path_of(route: str, database: Database, endpoint: str = "default") -> str:
    seq = str(number(database))
    return route.replace("{name}", endpoint).replace("{endpoint}", endpoint).replace("{seq}", seq)


def audited(database: Database) -> list[tuple[str, ...]]:
    return database.execute("select via, who, action, endpoint from cdc_bridge.audit order by at, audit_id")


async def send(visitor: Visitor, path: str, page: str = "/endpoints/default") -> PageResponse:
    token = (await visitor.get(page)).form_token
    return await visitor.ask("POST", path, data={"form_token": token}, follow=False)


# What the link is for


async def test_vendor_finds_out_why_a_delivery_was_rejected_and_has_it_sent_again(
    database: Database,
    bridges: Bridges,
    people: Callable[[], Visitor],
    receiver: Receiver,
    other: Receiver,
    page_port: int,
) -> None:
    _, output, _ = await run_command(
        "endpoint", "portal", "default", "--url", f"https://localhost:{page_port}/", **bridges.settings
    )
    assert "The link that default had is revoked." in output
    link = re.search(r"^    (https://localhost:\d+)/portal#(cdcb_\S+)$", output, re.MULTILINE)
    assert link is not None
    vendor = people()
    assert vendor.url == link[1]
    assert (await vendor.open_portal(LINK)).status == 403
    page = await vendor.open_portal(link[2])
    assert page.status == 200
    assert "HTTP 422" in page.text
    assert "signed in as portal of default to view deliveries" in page.text
    listed = await vendor.get("/deliveries")
    assert re.search(r"\bR\b.*retrying.*HTTP 422", listed.text)
    seq = number(database)
    delivery = await vendor.get(f"/deliveries/default/{seq}")
    assert "rejected by the endpoint (HTTP 422)" in delivery.text
    assert GUEST in delivery.text
    received = len(other.requests)
    tested = await vendor.ask("POST", "/endpoints/default/test", data={"form_token": delivery.form_token})
    assert "Test request: HTTP 204" in tested.text
    receiver.script = lambda _: Response()
    sent = await vendor.ask("POST", f"/deliveries/default/{seq}/send", data={"form_token": delivery.form_token})
    assert "is due now" in sent.text
    of_default = (
        "select state from cdc_bridge.delivery d join cdc_bridge.endpoint e using (endpoint_id) where name = %s"
    )
    await until(lambda: database.value(of_default, ("default",)) == "delivered", "it is delivered")
    assert database.value(of_default, (RIVAL,)) == "retrying"
    assert not any(is_test(request) for request in other.requests[received:])
    await until(lambda: ("portal", "portal of default", "signed in", "default") in audited(database), "that is noted")
    noted = [entry for entry in audited(database) if entry[2] != "signed in"]
    assert [entry[2:] for entry in noted] == [
        ("portal link made", "default"), ("endpoint tested", "default"), ("delivery retried", "default"),
    ]  # fmt: skip
    assert {entry[:2] for entry in noted[1:]} == {("portal", "portal of default")}


async def test_vendor_of_an_endpoint_without_a_surname_in_its_payload_is_what_the_right_says(
    database: Database, people: Callable[[], Visitor]
) -> None:
    seen = {}
    for right in Right:
        database.execute(
            "delete from cdc_bridge.access_token where endpoint_id is not null and access_right = 'change'"
        )
        database.execute("delete from cdc_bridge.access_token t using cdc_bridge.endpoint e where e.name = 'default' "
                         "and t.endpoint_id = e.endpoint_id")  # fmt: skip
        add_portal_token(database, "default", f"{LINK} {right}", right.value)
        vendor = people()
        assert (await vendor.open_portal(f"{LINK} {right}")).status == 200
        delivery = await vendor.get(path_of("/deliveries/default/{seq}", database))
        seen[right] = (GUEST in delivery.text, "Send again" in delivery.text)
    assert seen == {Right.VIEW: (False, False), Right.CONTENT: (True, False), Right.CHANGE: (True, True)}


# Rights: each page and action, each right, dashboard and portal


@pytest.mark.parametrize("right", Right)
async def test_each_right_opens_what_it_says_on_the_dashboard(
    right: Right, database: Database, people: Callable[[], Visitor]
) -> None:
    visitor = people()
    assert (await visitor.sign_in(RIGHTS[right])).status == 200
    for (method, route), required in {**OPEN, **CLOSED}.items():
        if right.includes(required):
            if method == "GET":
                assert (await visitor.get(path_of(route, database, RIVAL), follow=False)).status == 200, route
            continue
        path = path_of(route, database)
        answer = await (visitor.get(path) if method == "GET" else send(visitor, path))
        assert answer.status == 403, (method, route)
    assert [entry[2] for entry in audited(database) if entry[2] != "signed in"] == []


@pytest.mark.parametrize("right", Right)
async def test_each_right_opens_in_the_portal_what_is_open_there_and_nothing_else(
    right: Right, database: Database, people: Callable[[], Visitor]
) -> None:
    database.execute("delete from cdc_bridge.access_token where endpoint_id is not null")
    add_portal_token(database, "default", LINK, right.value)
    vendor = people()
    await vendor.open_portal(LINK)
    for (method, route), required in {**OPEN, **CLOSED}.items():
        path = path_of(route, database)
        answer = await (vendor.get(path) if method == "GET" else send(vendor, path))
        allowed = right.includes(required)
        expected = {404} if (method, route) in CLOSED else {403} if not allowed else {200, 303}
        assert answer.status in expected, (method, route)
        assert RIVAL not in answer.html
    state = "select name, paused_at, secret is null from cdc_bridge.endpoint order by name"
    assert [row[:2] for row in database.execute(state)] == [("default", None), (RIVAL, None)]
    changed = [entry[2:] for entry in audited(database) if entry[2] != "signed in"]
    assert changed == (
        [("endpoint tested", "default"), ("delivery retried", "default")] if right is Right.CHANGE else []
    )


def test_no_page_is_forgotten_here() -> None:
    dashboard = {(method, path.replace(":[0-9]{1,19}", "")) for method, path, _, right in server._DASHBOARD if right}
    assert {*OPEN, *CLOSED, ("POST", "/sign-out")} == dashboard


# Other endpoints


async def test_nothing_of_another_endpoint_is_reached_by_its_name_its_number_or_a_webhook_id(
    database: Database, vendor: Visitor, other: Receiver
) -> None:
    seq, before = number(database), len(other.requests)
    webhook_id = other.requests[0].headers["webhook-id"]
    rivals_id = database.value("select endpoint_id from cdc_bridge.endpoint where name = %s", (RIVAL,))
    near = RIVAL[:-1]
    for path in [
        f"/endpoints/{RIVAL}",
        f"/endpoints/{near}",
        f"/endpoints/default/../{RIVAL}",
        f"/endpoints/default%2f..%2f{RIVAL}",
        f"/endpoints/%72{RIVAL[1:]}",
        f"/deliveries/{RIVAL}/{seq}",
        f"/deliveries/{near}/{seq}",
        f"/deliveries/default/{webhook_id}",
        f"/deliveries/{RIVAL}/{webhook_id}",
        f"/deliveries/default/{seq + 1}",
        f"/deliveries?endpoint={RIVAL}",
        f"/deliveries?endpoint={near}",
        f"/deliveries?endpoint=default&endpoint={RIVAL}",
        f"/deliveries?endpoint={RIVAL}&endpoint=default",
        f"/deliveries?endpoint=default&of={RIVAL}/{seq}",
        f"/deliveries?endpoint=default&of=default/{seq}&of={RIVAL}/{seq}",
        f"/deliveries?of={near}/{seq}",
        f"/deliveries?endpoint=default&of={seq}",
        f"/deliveries?endpoint=default&of={webhook_id}",
        f"/?search={RIVAL}",
        "/?page=2",
    ]:
        answer = await vendor.get(path, follow=False)
        assert answer.status in {404, 303}, path
        assert RIVAL not in answer.text, path
        if answer.status == 303:
            assert answer.headers["location"] == "/endpoints/default", path
    for path in [f"/endpoints/{RIVAL}/test", f"/deliveries/{RIVAL}/{seq}/send", f"/endpoints/{near}/test"]:
        assert (await send(vendor, path)).status == 404
    token = (await vendor.get("/endpoints/default")).form_token
    fields = {"form_token": token, "endpoint": RIVAL, "name": RIVAL, "delivery": f"{RIVAL}/{seq}"}
    for path in ("/deliveries/send", f"/deliveries/default/{seq}/send", "/endpoints/default/test"):
        answer = await vendor.ask("POST", path, data=fields)
        assert RIVAL not in answer.text
    assert len(other.requests) == before
    assert {entry[3] for entry in audited(database)} <= {"default"}
    for query in (
        f"after=1-{rivals_id}",
        f"after={2**63 - 1}-{rivals_id}",
        "reservation=R",
        "state=retrying",
        "of=default/1",
    ):
        page = await vendor.get(f"/deliveries?endpoint=default&{query}")
        assert RIVAL not in page.html, query
        assert page.status == 200


async def test_other_endpoints_are_named_nowhere_not_even_once_ones_own_is_gone(
    database: Database, vendor: Visitor, people: Callable[[], Visitor]
) -> None:
    seq = number(database)
    form_token = (await vendor.get("/endpoints/default")).form_token
    pages = ["/", "/endpoints/default", "/deliveries", f"/deliveries/default/{seq}", "/nothing", "/deliveries?state=no"]
    for path in pages:
        assert RIVAL not in (await vendor.get(path)).html, path
    # Until the daemon notices, pages and actions find no such endpoint, and there is one of a near name.
    database.execute("update cdc_bridge.endpoint set name = 'defaul' where name = %s", (RIVAL,))
    database.execute("update cdc_bridge.endpoint set name = 'hidden' where name = 'default'")
    answers = [await vendor.get(path) for path in pages]
    for path in ("/endpoints/default/test", f"/deliveries/default/{seq}/send"):
        answers += [await vendor.ask("POST", path, data={"form_token": form_token})]
    answers += [await vendor.get("/deliveries"), await vendor.get("/deliveries?endpoint=default&of=default/1")]
    rival = people()
    await rival.open_portal(RIVALS_LINK)
    form_token = (await rival.get("/portal")).form_token
    database.execute("update cdc_bridge.endpoint set name = %s where name = 'defaul'", (RIVAL[:-1],))
    answers += [await rival.ask("POST", f"/endpoints/{RIVAL}/test", data={"form_token": form_token})]
    assert "This is not possible at present." in answers[-1].text
    for answer in answers:
        assert f"{RIVAL[:-1]} " not in answer.text
        assert "defaul " not in answer.text
        assert "defaul?" not in answer.text
        assert "hidden" not in answer.text
        assert "did you mean" not in answer.text.lower()
        assert "There are:" not in answer.text


async def test_nothing_that_is_the_restaurants_is_shown(
    database: Database, vendor: Visitor, bridges: Bridges, secure_bridge: Bridge
) -> None:
    host = database.value("select name from cdc_bridge.daemon")
    value = HEADER.partition(": ")[2]
    secrets = [SECRET, value, LINK, host, bridges.settings["CDC_BRIDGE_ENDPOINT_CA_FILE"], "CA file", "Proxy", "Daemon"]
    for path in ("/endpoints/default", "/deliveries", path_of("/deliveries/default/{seq}", database)):
        page = await vendor.get(path)
        assert page.status == 200
        for secret in secrets:
            assert secret not in page.html, (path, secret)
        for link in re.findall(r'(?:href|action)="([^"]*)"', page.html):
            assert not re.search(
                "/(audit|new|change|pause|resume|rotate-secret|remove|resend|backfill|reconcile|stop-work|deliveries/send)$",
                link,
            ), link
    database.execute(
        "update cdc_bridge.endpoint set proxy = 'http://proxy-of-the-restaurant:3128' where name = 'default'"
    )
    assert "proxy-of-the-restaurant" not in (await vendor.get("/endpoints/default")).html
    database.execute("alter table cdc_bridge.delivery rename column attempts to attempts_before")
    broken = await vendor.get("/deliveries")
    database.execute("alter table cdc_bridge.delivery rename column attempts_before to attempts")
    assert broken.status == 503
    assert "This is not available at present." in broken.text
    assert "check" not in broken.text


async def test_link_and_its_session_are_good_for_no_api_no_figures_and_no_dashboard(
    vendor: Visitor, people: Callable[[], Visitor], page_port: int, certificates: Certificates
) -> None:
    tls = ssl.create_default_context(cafile=str(certificates.ca_file))
    cookie = f"{vendor.cookie_name}={vendor.cookie}"
    async with aiohttp.ClientSession(
        f"https://localhost:{page_port}", connector=aiohttp.TCPConnector(ssl=tls), cookie_jar=aiohttp.DummyCookieJar()
    ) as client:
        for headers in ({"authorization": f"Bearer {LINK}"}, {"cookie": cookie}):
            for path in ("/metrics", "/readyz"):
                async with client.get(path, headers=headers) as answer:
                    assert answer.status in {401, 429}
            for operation in OPERATIONS:
                path = "/api/v1" + operation.path.replace("{name}", "default").replace("{endpoint}", "default")
                async with client.request(operation.method, path.replace("{id}", "1"), headers=headers) as answer:
                    assert answer.status in {401, 429}, operation.name
    assert (await people().sign_in(LINK)).status in {403, 429}


# Expired, revoked, replaced, guessed


async def test_revoked_link_ends_its_sessions_and_no_others(
    database: Database, bridges: Bridges, vendor: Visitor, people: Callable[[], Visitor]
) -> None:
    rival = people()
    assert (await rival.open_portal(RIVALS_LINK)).status == 200
    form_token = (await vendor.get("/endpoints/default")).form_token
    code, output, _ = await run_command("endpoint", "portal", "default", "--revoke", **bridges.settings)
    assert (code, output) == (0, "The link of default is revoked.\n")

    async def is_signed_out() -> bool:
        return (await vendor.get("/endpoints/default", follow=False)).status == 303

    await until_it(is_signed_out, "the session has ended")
    for path in ("/endpoints/default/test", path_of("/deliveries/default/{seq}/send", database)):
        assert (await vendor.ask("POST", path, data={"form_token": form_token})).status == 401
    assert (await vendor.open_portal(LINK)).status == 403
    assert (await rival.get(f"/endpoints/{RIVAL}", follow=False)).status == 200
    _, output, _ = await run_command("endpoint", "portal", "default", "--revoke", **bridges.settings)
    assert output == "default had no link.\n"
    assert [entry[2] for entry in audited(database) if entry[0] == "command"] == ["portal link revoked"]


async def test_link_that_expires_ends_its_sessions(database: Database, people: Callable[[], Visitor]) -> None:
    database.execute("delete from cdc_bridge.access_token where endpoint_id is not null")
    add_portal_token(database, "default", LINK, lifetime="4 seconds")
    vendor = people()
    assert (await vendor.open_portal(LINK)).status == 200

    async def is_signed_out() -> bool:
        return (await vendor.get("/endpoints/default", follow=False)).status == 303

    await until_it(is_signed_out, "the session has ended")
    assert database.value("select expires_at <= now() from cdc_bridge.access_token where endpoint_id is not null")
    answer = await vendor.open_portal(LINK)
    assert answer.status == 403
    assert "has expired" in answer.text


async def test_link_of_a_removed_endpoint_does_not_open_its_successor(
    database: Database, vendor: Visitor, people: Callable[[], Visitor], other: Receiver, certificates: Certificates
) -> None:
    rival = people()
    await rival.open_portal(RIVALS_LINK)
    database.execute("delete from cdc_bridge.endpoint where name = %s", (RIVAL,))
    add_endpoint(database, RIVAL, other.url, certificates.ca_file)

    async def is_signed_out() -> bool:
        return (await rival.get(f"/endpoints/{RIVAL}", follow=False)).status == 303

    await until_it(is_signed_out, "the session has ended")
    assert (await rival.open_portal(RIVALS_LINK)).status == 403
    assert (await vendor.get("/endpoints/default", follow=False)).status == 200


async def test_guessed_tokens_are_limited_and_the_right_one_never_is(
    people: Callable[[], Visitor], database: Database
) -> None:
    stranger, vendor = people(), people()
    hash_ = database.value(
        "select encode(token_hash, 'hex') from cdc_bridge.access_token where endpoint_id is not null limit 1"
    )
    guesses = [
        "",
        "cdcb_",
        LINK[:-1],
        LINK.upper(),
        f"{LINK} x",
        "default",
        hash_,
        "x" * 50_000,
        "\u00e9",
        TOKEN,
        VIEW_TOKEN,
    ]
    statuses = [(await stranger.ask("POST", "/portal", data={"token": guess})).status for guess in guesses]
    assert statuses == [403] * 10 + [429]
    assert stranger.cookies == {}
    assert (await vendor.open_portal(LINK)).status == 200
    assert (await stranger.get("/endpoints/default", follow=False)).status == 303


# Sessions


async def test_no_right_is_gained_by_a_session_that_was_there_before(people: Callable[[], Visitor]) -> None:
    visitor = people()
    await visitor.sign_in()
    staff = visitor.cookie
    await visitor.open_portal(LINK)
    vendors = visitor.cookie
    assert vendors != staff
    assert (await visitor.get("/endpoints/new")).status == 404
    named = visitor.cookie_name
    for cookie in (staff, "planted by somebody else", ""):
        stranger = people()
        headers = {"cookie": f"{named}={cookie}"}
        assert (await stranger.get("/endpoints/default", follow=False, headers=headers)).status == 303
        answer = await stranger.ask("POST", "/portal", data={"token": LINK}, follow=False, headers=headers)
        assert answer.status == 303
        assert stranger.cookie not in {cookie, vendors}


async def test_cookie_of_the_portal_is_as_that_of_the_dashboard(people: Callable[[], Visitor]) -> None:
    answer = await people().ask("POST", "/portal", data={"token": LINK}, follow=False)
    assert answer.headers["location"] == "/endpoints/default"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-cdc-bridge-")
    for flag in ("HttpOnly", "SameSite=Strict", "Path=/", "Secure"):
        assert flag in cookie
    assert LINK not in cookie


async def test_forged_forms_change_nothing(vendor: Visitor, database: Database) -> None:
    token = (await vendor.get("/endpoints/default")).form_token
    for path in ("/endpoints/default/test", path_of("/deliveries/default/{seq}/send", database)):
        for forged in ({}, {"form_token": ""}, {"form_token": "x" * 43}):
            assert (await vendor.ask("POST", path, data=forged)).status == 403
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
            assert (await vendor.ask("POST", path, data={"form_token": token}, headers=headers)).status == 403
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert (await vendor.ask("POST", "/portal", data={"token": LINK}, headers=headers)).status == 403
    assert [entry for entry in audited(database) if entry[2] != "signed in"] == []


async def test_signing_out_ends_the_session_at_the_server(vendor: Visitor) -> None:
    before = f"{vendor.cookie_name}={vendor.cookie}"
    assert (await send(vendor, "/sign-out")).status == 303
    assert (await vendor.get("/endpoints/default", follow=False, headers={"cookie": before})).status == 303


async def test_vendor_without_a_session_is_led_to_the_form_of_the_link(vendor: Visitor, database: Database) -> None:
    left = await send(vendor, "/sign-out")
    assert left.headers["location"] == "/portal"
    assert (await vendor.open_portal(LINK)).status == 200
    database.execute("delete from cdc_bridge.access_token")
    await until_it(ended_for(vendor), "the session has ended")
    page = await vendor.get(path_of("/deliveries/default/{seq}", database))
    assert "Your session has ended. Open your link again" in page.text
    refused = await vendor.ask("POST", "/endpoints/default/test", data={})
    assert 'href="/portal"' in refused.html


def ended_for(vendor: Visitor) -> Callable[[], Awaitable[bool]]:
    async def ended() -> bool:
        return (await vendor.get("/endpoints/default", follow=False)).status == 303

    return ended


async def test_each_link_on_the_vendors_pages_leads_to_one_of_them(vendor: Visitor, database: Database) -> None:
    to_see = {"/endpoints/default", "/nothing", "/endpoints/new", "/deliveries?endpoint=default&state=dead"}
    to_see |= {path_of("/deliveries/default/{seq}", database)}
    seen = set[str]()
    while to_see:
        seen.add(path := to_see.pop())
        page = await vendor.get(path)
        assert "portal of default" in page.text, path
        found = {unescape(link) for link in re.findall(r'<a[^>]* href="(/[^"]*)"', page.html)}
        assert "/" not in found, path
        to_see |= {link for link in found if re.match("/(endpoints|deliveries)", link)} - seen
    assert len(seen) > 6


async def test_vendor_of_a_paused_endpoint_reads_who_can_end_it_and_no_command(
    vendor: Visitor, database: Database
) -> None:
    assert "sent once a request succeeds." in (await vendor.get("/endpoints/default")).text
    database.execute("update cdc_bridge.endpoint set paused_at = now() where name = 'default'")
    assert "Deliveries are kept until the restaurant resumes them." in (await vendor.get("/endpoints/default")).text
    path = path_of("/deliveries/default/{seq}", database)
    assert "Endpoint default is paused: nothing is sent until it is resumed." in (await vendor.get(path)).text
    await send(vendor, f"{path}/send", path)
    assert "cdc-bridge endpoint" not in (await vendor.get(path)).text


async def test_endpoint_that_got_nothing_yet_offers_no_filter_to_take_away(vendor: Visitor, database: Database) -> None:
    page = await vendor.get("/deliveries?state=dead")
    assert "No delivery matches. Show all" in page.text
    database.execute("truncate cdc_bridge.delivery, cdc_bridge.attempt")
    page = await vendor.get("/deliveries")
    assert "Nothing was delivered yet." in page.text
    assert "Show all" not in page.text


async def test_vendor_fills_neither_the_audit_log_nor_the_connections(vendor: Visitor, database: Database) -> None:
    token = (await vendor.get("/endpoints/default")).form_token
    path = path_of("/deliveries/default/{seq}/send", database)
    statuses = [
        (await vendor.ask("POST", path, data={"form_token": token}, follow=False)).status
        for _ in range(MOST_CHANGES + 5)
    ]
    assert statuses == [303] * MOST_CHANGES + [429] * 5
    changes = "select count(*) from cdc_bridge.audit where action <> 'signed in'"
    assert database.value(changes) <= MOST_CHANGES
    assert (await vendor.get("/endpoints/default")).status == 200


# Tokens where they do not belong


async def test_token_is_in_no_log_no_address_and_on_no_page(
    vendor: Visitor, people: Callable[[], Visitor], secure_bridge: Bridge, database: Database
) -> None:
    wrong = "cdcb_a token that is wrong and may be somebody's all the same"
    await people().open_portal(wrong)
    page = await vendor.get("/portal")
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert LINK not in page.html
    await vendor.get(f"/portal?token={LINK}")
    answer = await people().ask("POST", f"/portal?token={LINK}", data={}, follow=False)
    assert answer.status == 403
    await secure_bridge.wait_for_log("signed in", token="portal of default")
    for text in (LINK, wrong, RIVALS_LINK):
        assert text not in "".join(secure_bridge.output)
    stored = "select string_agg(t::text, '') from cdc_bridge.access_token t"
    await until(lambda: audited(database), "the sign-in is noted")
    for text in (LINK, wrong):
        assert text not in database.value(stored)
        assert text not in str(database.execute("select a::text from cdc_bridge.audit a"))


# The command


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("default",), "CDC_BRIDGE_WEB_URL", 2),
        (("default", "--url", "http://bridge.example"), "--url", 2),
        (("default", "--url", "https://user@bridge.example"), "has to be https://", 2),
        (("default", "--url", "https://bridge.example/path"), "has to be https://", 2),
        (("default", "--url", "https://bridge.example?x"), "has to be https://", 2),
        (("default", "--url", "nonsense"), "has to be https://", 2),
        (("default", "--url", "https://a b"), "has to be https://", 2),
        (("default", "--url", "https://b", "--expires", "91d"), "at most 90 days", 2),
        (("default", "--url", "https://b", "--expires", "0m"), "at most 90 days, and not 0", 2),
        (("default", "--url", "https://b", "--expires", "1y"), "such as 90d", 2),
        (("default", "--url", "https://b", "--right", "all"), "Invalid value for '--right'", 2),
        (("defaul", "--url", "https://b"), "there is no endpoint defaul", 1),
        (("defaul", "--revoke"), "there is no endpoint defaul", 1),
    ],
    ids=str,
)
async def test_what_makes_no_link_is_refused(
    arguments: tuple[str, ...], words: str, code: int, database: Database, tmp_path: Path
) -> None:
    add_endpoint(database, "default", "https://till.example/", tmp_path)
    ended, output, errors = await run_command(
        "endpoint", "portal", *arguments, CDC_BRIDGE_DATABASE_URL=database.bridge_url
    )
    assert ended == code, output + errors
    assert words in " ".join((output + errors).split())
    assert database.value("select count(*) from cdc_bridge.access_token") == 0
    assert audited(database) == []


async def test_link_lives_for_a_week_unless_it_is_told_otherwise(database: Database, tmp_path: Path) -> None:
    add_endpoint(database, "till", "https://till.example/", tmp_path)
    settings = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url, "CDC_BRIDGE_WEB_URL": "https://bridge.example"}
    rights = "select access_right, expires_at - created_at from cdc_bridge.access_token"
    _, output, _ = await run_command("endpoint", "portal", "till", "--json", **settings)
    made = json.loads(output)
    assert re.fullmatch(r"https://bridge\.example/portal#cdcb_[\w-]{43}", made["link"])
    ((right, lifetime),) = database.execute(rights)
    assert (right, lifetime.days) == ("change", 7)
    await run_command("endpoint", "portal", "till", "--right", "content", "--expires", "12h", **settings)
    ((right, lifetime),) = database.execute(rights)
    assert (right, lifetime.total_seconds()) == ("content", 12 * 3600)
    _, listed, _ = await run_command("token", "list", **settings)
    assert "portal of till" in listed


async def test_api_is_not_opened_by_a_link(database: Database, bridges: Bridges, page_port: int) -> None:
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port))
    await bridge.until_assigned()
    add_portal_token(database, "default", LINK)
    visitor, api = Visitor(page_port), ApiClient(page_port, LINK)
    try:

        async def is_open() -> bool:
            return (await visitor.get("/portal")).status == 200

        await until_it(is_open, "there is a portal")
        assert (await api.get("/endpoints")).status == 404
    finally:
        await visitor.close()
        await api.close()
