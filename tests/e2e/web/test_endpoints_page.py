"""Pages of endpoints, against a real daemon."""

from __future__ import annotations

import re
from base64 import b64encode
from html import unescape

from cdc_bridge.demo.ports import free_port
from tests.support.bridge import Bridge, Bridges
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.page import TOKEN, Visitor, until_on_page
from tests.support.payloads import define_payload
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
WHSEC = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
TILL = {
    "name": "till",
    "url": "https://till.example/reservations?key=in-the-query",
    "headers": "x-key: a value that is secret\nx-site: 7",
    "start": "now",
    "signed": "on",
    "max_in_flight": "4",
    "timeout_seconds": "2.5",
    "connect_timeout_seconds": "1",
}
LEFT = {
    "payload": "reservation",
    "events": "both",
    **{name: TILL[name] for name in ("max_in_flight", "timeout_seconds", "connect_timeout_seconds")},
}
"""What stands in the fields of the form that changes it, as long as nothing else is typed."""
LEASED = "select daemon_id from cdc_bridge.endpoint where name = %s"
ROW = (
    "select url, headers, max_in_flight, timeout_seconds, latest_only, secret from cdc_bridge.endpoint "
    "where name = 'till'"
)


async def test_first_page_shows_each_endpoint_and_that_there_are_no_problems(operator: Visitor) -> None:
    text = await until_on_page(operator, "/", "The next booking goes to the till.", "default", "healthy")
    assert "Add an endpoint" in text


async def test_first_page_says_what_is_wrong_since_when_and_what_to_do(operator: Visitor, database: Database) -> None:
    database.execute("select cdc_bridge.disable_capture()")
    text = await until_on_page(operator, "/", "Capture was switched off by cdc_bridge.disable_capture(). Since 20")
    assert "select cdc_bridge.enable_capture();" in text
    assert "No request can be sent to default." in text
    summary = "Not all bookings reach the bridge. Whoever runs it has to act: see below."
    assert summary in text
    banner = await operator.get("/deliveries")
    assert f"{summary} Details" in banner.text


async def test_endpoint_of_the_settings_is_shown_as_such_and_cannot_be_changed(
    operator: Visitor, database: Database
) -> None:
    page = await operator.get("/endpoints/default")
    assert "declared in the daemon's settings" in page.text
    assert "/endpoints/default/change" not in page.html
    for path in ("/endpoints/default/change", "/endpoints/default/rotate-secret"):
        for refused in (await operator.get(path), await operator.send(path, {"url": "x", "keep_old_hours": "1"})):
            assert "is declared in a daemon's settings, and is changed there only" in refused.text
    assert "/endpoints/default/remove" not in page.html
    refused = await operator.send("/endpoints/default/remove")
    assert "in the settings of the live daemon" in refused.text
    assert database.value("select count(*) from cdc_bridge.endpoint") == 1


async def test_endpoint_is_added_with_its_options_and_its_secret_is_shown_once(
    operator: Visitor, database: Database, page_bridge: Bridge
) -> None:
    answer = await operator.send("/endpoints/new", TILL)
    assert "Endpoint till is added. It starts with changes committed from now on." in answer.text
    (secret,) = set(WHSEC.findall(answer.html))
    ((url, headers, max_in_flight, timeout_seconds, latest_only, in_database),) = database.execute(ROW)
    assert (url, max_in_flight, timeout_seconds, latest_only) == (TILL["url"], 4, 2.5, False)
    assert headers == ["x-key: a value that is secret", "x-site: 7"]
    assert in_database == secret
    again = await operator.get("/endpoints/till")
    assert "x-key: ***, x-site: ***" in again.text
    for page in (answer, again, await operator.get("/endpoints/till/change")):
        assert "in-the-query" not in page.html
        assert "a value that is secret" not in page.html
    assert secret not in again.html
    told = await page_bridge.wait_for_log("dashboard change", what="endpoint added")
    assert (told["right"], told["address"], told["url"]) == (
        "change",
        "127.0.0.1",
        "https://till.example/reservations?...",
    )
    assert secret not in "".join(page_bridge.output)


async def test_endpoint_is_added_with_a_secret_that_the_vendor_made(operator: Visitor, database: Database) -> None:
    secret = "whsec_" + b64encode(b"v" * 32).decode()
    refused = await operator.send("/endpoints/new", TILL | {"vendor_secret": "without-its-mark", "max_in_flight": "0"})
    assert refused.status == 400
    assert "Vendor's secret has to begin with whsec_." in refused.text
    assert "Concurrency limit" in refused.text
    assert "without-its-mark" not in refused.html
    answer = await operator.send("/endpoints/new", TILL | {"vendor_secret": f" {secret} "})
    assert "Its requests are signed with the vendor's secret." in answer.text
    assert secret not in answer.html
    assert database.execute(ROW)[0][-1] == secret


async def test_unsigned_endpoint_gets_no_secret(operator: Visitor, database: Database) -> None:
    answer = await operator.send("/endpoints/new", {name: value for name, value in TILL.items() if name != "signed"})
    assert "Its requests are not signed." in answer.text
    assert database.execute(ROW)[0][-1] is None


async def test_wrong_value_is_told_by_the_fields_name_and_what_was_typed_stays(
    operator: Visitor, database: Database
) -> None:
    for field, value, words in [
        ("name", "Till", "Name has to be of lower-case letters"),
        ("name", "default", "Name default belongs to the endpoint that a daemon's settings declare."),
        ("url", "http://till.example/", "URL has to begin with https://"),
        ("url", "https://user:secret@till.example/", "has a user name or password in it"),
        ("headers", "content-length: 7", "Header sets content-length"),
        ("max_in_flight", "0", "Concurrency limit"),
        ("max_in_flight", "many", "Concurrency limit has to be a number."),
        ("timeout_seconds", "nan", "Request timeout"),
        ("timeout_seconds", "1e99", "Request timeout"),
        ("client_key_file", "key.pem", "Client key file has to be an absolute path"),
    ]:
        answer = await operator.send("/endpoints/new", TILL | {field: value})
        assert answer.status == 400
        assert words in answer.text
        assert "--" not in answer.text
        assert 'value="2.5"' in answer.html or field == "timeout_seconds"
        assert "a value that is secret" not in answer.html
        assert database.value("select count(*) from cdc_bridge.endpoint") == 1


def sent_by_a_browser(html: str) -> dict[str, str]:
    """Return what a browser sends of the form on a page if nothing is touched."""
    sent = {name: unescape(value) for name, value in re.findall(r'<input [^>]*name="(\w+)"[^>]* value="([^"]*)"', html)}
    for name, text in re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>([^<]*)</textarea>', html):
        sent[name] = unescape(text)
    for name, options in re.findall(r'<select [^>]*name="(\w+)"[^>]*>(.*?)</select>', html):
        (sent[name],) = re.findall(r"<option selected>(\w+)</option>", options)
    sent |= dict.fromkeys(re.findall(r'<input [^>]*name="(\w+)" type="checkbox" checked', html), "on")
    return {name: value.replace("\n", "\r\n") for name, value in sent.items() if name != "form_token"}


async def test_what_an_endpoint_gets_is_typed_and_comes_back_as_it_was(operator: Visitor, database: Database) -> None:
    define_payload(database, "select r.id, r.room_name, r.status from {reservation} r", "kitchen")
    conditions = 'room_name="Bar, ""Terrace""",Restaurant\r\nstatus=<b>'
    typed = {"payload": "kitchen", "only": conditions, "events": "created", "skip_unchanged": "on"}
    columns = "select payload, \"only\", events, skip_unchanged from cdc_bridge.endpoint where name = 'till'"
    answer = await operator.send("/endpoints/new", TILL | typed)
    assert "Warning: Conditions status: when status changes" in answer.text
    assert database.execute(columns) == [("kitchen", conditions.split("\r\n"), "created", True)]
    assert f"Conditions {conditions.replace(chr(13) + chr(10), ' and ')}" in answer.text
    assert "Events created" in answer.text
    assert "Skipped none" in answer.text

    form = await operator.get("/endpoints/till/change")
    browser = sent_by_a_browser(form.html)
    assert (browser["only"], browser["shown_only"]) == (conditions, conditions)
    assert (browser["events"], browser["skip_unchanged"]) == ("created", "on")
    assert "Nothing was changed." in (await operator.send("/endpoints/till/change", browser)).text

    for field, value, words in [
        ("payload", "kitchn", "Payload kitchn: the mapping defines no such payload; did you mean kitchen?"),
        ("only", "room_nam=Bar", "has no column &#34;room_nam&#34;; did you mean room_name?"),
        ("only", "room_name", "Conditions has to be COLUMN=VALUE"),
        ("events", "deleted", "Events has to be one of both, created, updated"),
    ]:
        refused = await operator.send("/endpoints/till/change", browser | {field: value})
        assert refused.status == 400
        assert unescape(words) in refused.text
        assert f">{value}</textarea>" in refused.html or field != "only"
    assert database.execute(columns) == [("kitchen", conditions.split("\r\n"), "created", True)]

    changed = await operator.send("/endpoints/till/change", browser | {"only": "", "events": "both"})
    assert "Endpoint till is changed." in changed.text
    assert "cdc-bridge backfill till" in changed.text
    assert database.execute(columns) == [("kitchen", [], "both", True)]


async def test_name_that_is_taken_is_told(operator: Visitor) -> None:
    await operator.send("/endpoints/new", TILL)
    answer = await operator.send("/endpoints/new", TILL)
    assert answer.status == 400
    assert "There is an endpoint till already." in answer.text


async def test_change_leaves_what_was_left_empty_and_takes_away_what_is_to_go(
    operator: Visitor, database: Database, page_bridge: Bridge
) -> None:
    await operator.send("/endpoints/new", TILL)
    form = LEFT
    answer = await operator.send("/endpoints/till/change", form)
    assert "Nothing was changed." in answer.text
    answer = await operator.send("/endpoints/till/change", form | {"latest_only": "on", "max_in_flight": "8"})
    assert "Endpoint till is changed." in answer.text
    ((url, headers, max_in_flight, _, latest_only, _),) = database.execute(ROW)
    assert (url, len(headers), max_in_flight, latest_only) == (TILL["url"], 2, 8, True)
    told = await page_bridge.wait_for_log("dashboard change", what="endpoint changed")
    assert sorted(told["options"]) == ["latest_only", "max_in_flight"]
    await operator.send("/endpoints/till/change", form | {"drop_headers": "on", "url": "https://till.example/v2"})
    ((url, headers, max_in_flight, _, latest_only, _),) = database.execute(ROW)
    assert (url, headers, max_in_flight, latest_only) == ("https://till.example/v2", [], 4, False)
    refused = await operator.send("/endpoints/till/change", form | {"url": "ftp://till.example/"})
    assert refused.status == 400
    assert "URL has to begin with https://" in refused.text


async def test_other_server_gets_no_headers_and_no_secret_unless_that_is_said(
    operator: Visitor, database: Database
) -> None:
    await operator.send("/endpoints/new", TILL)
    columns = "select url, headers, secret from cdc_bridge.endpoint where name = 'till'"
    before = database.execute(columns)
    form = LEFT | {"url": "https://other.example/"}
    for given in ({}, {"headers": "x-new: 1"}, {"new_secret": "on"}):
        asked = await operator.send("/endpoints/till/change", form | given)
        assert asked.status == 400
        assert "URL leads to another server" in asked.text
        assert "--" not in asked.text
        assert 'name="keep_headers"' in asked.html
        assert ('name="new_secret" type="checkbox" checked' in asked.html) == ("new_secret" in given)
    assert database.execute(columns) == before
    changed = await operator.send("/endpoints/till/change", form | {"headers": "x-new: 1", "new_secret": "on"})
    ((url, headers, secret),) = database.execute(columns)
    assert (url, headers) == ("https://other.example/", ["x-new: 1"])
    assert WHSEC.findall(changed.html) == [secret] != [before[0][2]]
    await operator.send("/endpoints/till/change", form | {"url": "https://third.example/", "keep_headers": "on"})
    assert database.execute(columns) == [("https://third.example/", headers, secret)]


async def test_rotation_under_way_is_told_and_can_be_cut_short(operator: Visitor, database: Database) -> None:
    first = WHSEC.findall((await operator.send("/endpoints/new", TILL)).html)[0]
    path = "/endpoints/till/rotate-secret"
    second = await operator.send(path, {"keep_old_hours": "24"})
    assert "and with the previous one until " in second.text
    refused = await operator.send(path, {"keep_old_hours": "24"})
    assert "A rotation is in progress: until " in refused.text
    assert "cdc-bridge endpoint" not in refused.text
    assert WHSEC.findall(refused.html) == []
    assert "Drop the previous secret now" in (await operator.get(path)).text
    third = await operator.send(path, {"keep_old_hours": "0", "cut_short": "on"})
    (secret,) = set(WHSEC.findall(third.html))
    assert secret not in {first, WHSEC.findall(second.html)[0]}
    assert database.execute("select secret, previous_secret from cdc_bridge.endpoint where name = 'till'") == [
        (secret, None)
    ]
    for wrong in ("", "many", "-1", "1e9", "nan"):
        refused = await operator.send(path, {"keep_old_hours": wrong, "vendor_secret": "mine"})
        assert "Overlap has to be" in refused.text
        assert "Vendor's secret has to begin with whsec_." in refused.text
        assert "Enter the vendor's secret again." in refused.text
        assert f'name="keep_old_hours" inputmode="decimal" value="{wrong}"' in refused.html


async def test_rotation_takes_a_secret_that_the_vendor_made_and_never_shows_it(
    operator: Visitor, database: Database
) -> None:
    first = WHSEC.findall((await operator.send("/endpoints/new", TILL)).html)[0]
    path = "/endpoints/till/rotate-secret"
    secret = "whsec_" + b64encode(b"v" * 32).decode()
    columns = "select secret, previous_secret from cdc_bridge.endpoint where name = 'till'"
    assert "Vendor's secret" in (await operator.get(path)).text
    for wrong, words in (
        ("a-secret-without-its-mark", "Vendor's secret has to begin with whsec_."),
        (first, "Requests are signed with this secret already."),
    ):
        answer = await operator.send(path, {"keep_old_hours": "24", "vendor_secret": wrong})
        assert words in answer.text
        assert wrong not in answer.html + (await operator.get(path)).html
    assert database.execute(columns) == [(first, None)]
    answer = await operator.send(path, {"keep_old_hours": "24", "vendor_secret": f" {secret} "})
    assert "Requests to till are signed with the vendor's secret, and with the previous one until " in answer.text
    assert secret not in answer.html + (await operator.get(path)).html
    assert database.execute(columns) == [(secret, first)]


async def test_what_removing_loses_is_said_before(operator: Visitor, database: Database) -> None:
    await operator.send("/endpoints/new", TILL)
    await operator.send("/endpoints/till/pause")
    database.execute(BOOKING, ("R",))
    asked = await operator.get("/endpoints/till/remove")
    assert "This loses 0 pending deliveries and 1 unread changes." in asked.text
    answer = await operator.send("/endpoints/till/remove")
    assert "Endpoint till is removed." in answer.text
    assert database.value("select count(*) from cdc_bridge.endpoint where name = 'till'") == 0
    assert (await operator.get("/endpoints/till")).status == 404


async def test_pausing_twice_and_resuming_twice_say_so(operator: Visitor) -> None:
    said = [(await operator.send(f"/endpoints/default/{what}")).text for what in ("pause", "pause", "resume", "resume")]
    for text, words in zip(
        said, ["is paused.", "was paused already.", "is resumed", "neither paused nor"], strict=True
    ):
        assert words in text


async def test_test_request_shows_the_response(operator: Visitor, receiver: Receiver) -> None:
    for status in [200, 401, 503]:
        receiver.script = lambda _, status=status: Response(status=status)  # type: ignore[misc]
        answer = await operator.send("/endpoints/default/test")
        assert f"Test request, directly: HTTP {status}" in answer.text
        assert receiver.requests[-1].headers["ce-type"] == "cdc-bridge.test"


async def test_certificates_file_that_is_missing_is_only_a_warning_as_for_the_command(
    operator: Visitor, certificates: Certificates
) -> None:
    answer = await operator.send("/endpoints/new", TILL | {"ca_file": "/nowhere/ca.pem"})
    assert "Warning:" in answer.text
    answer = await operator.send("/endpoints/new", TILL | {"name": "bar", "ca_file": str(certificates.ca_file)})
    assert "Warning:" not in answer.text


async def test_dashboard_says_that_the_database_is_lost_and_comes_back(operator: Visitor, database: Database) -> None:
    try:
        database.execute(
            "alter role cdc_bridge connection limit 0; select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'cdc_bridge'"
        )
        answer = await operator.get("/deliveries")
        assert answer.status == 503
        assert "The database does not respond" in answer.text
        await until_on_page(operator, "/", "PostgreSQL does not respond.")
    finally:
        database.execute("alter role cdc_bridge connection limit -1")
    await until_on_page(operator, "/", "healthy")
    assert (await operator.get("/deliveries")).status == 200


async def test_reader_takes_no_more_than_two_connections(operator: Visitor, database: Database) -> None:
    for path in ["/deliveries", "/endpoints/default"] * 10:
        assert (await operator.get(path)).status == 200
    pages = "select count(*) from pg_stat_activity where application_name like 'cdc-bridge dashboard%'"
    await until(lambda: 1 <= database.value(pages) <= 2, "pages have one or two connections")


async def test_two_who_change_one_endpoint_take_nothing_back_of_one_another(
    operator: Visitor, database: Database
) -> None:
    await operator.send("/endpoints/new", TILL)
    form = await operator.get("/endpoints/till/change")
    shown = dict(re.findall(r'name="(shown_[a-z_]+)" value="([^"]*)"', form.html))
    assert shown["shown_timeout_seconds"] == "2.5"
    await operator.send("/endpoints/till/change", shown | LEFT | {"timeout_seconds": "20"})
    await operator.send("/endpoints/till/change", shown | LEFT | {"latest_only": "on"})
    ((_, _, max_in_flight, timeout_seconds, latest_only, _),) = database.execute(ROW)
    assert (max_in_flight, timeout_seconds, latest_only) == (4, 20, True)


async def test_rejected_booking_and_the_result_of_a_reconcile_are_shown(
    operator: Visitor, database: Database, receiver: Receiver
) -> None:
    receiver.script = lambda _: Response(status=422)
    database.execute(BOOKING, ("R",))
    text = await until_on_page(operator, "/", "default has taken no bookings", "HTTP 422 Unprocessable Entity")
    assert "All bookings reach" not in text
    database.execute(
        "update cdc_bridge.endpoint set reconciled_at = now(), reconciled_missing = 17, reconciled_stale = 3"
    )
    await until_on_page(operator, "/", "The last comparison found 20 bookings that default does not have as they are.")
    await until_on_page(operator, "/endpoints/default", "17 missing, 3 stale")


async def test_rate_limit_is_the_reason_of_the_lag_until_it_is_removed(
    operator: Visitor, database: Database, receiver: Receiver, certificates: Certificates
) -> None:
    form = TILL | LEFT | {"url": receiver.url, "ca_file": str(certificates.ca_file), "max_per_second": "0.01"}
    await operator.send("/endpoints/new", form)
    await operator.send("/endpoints/default/pause")
    await until(lambda: database.value(LEASED, ("default",)) is None, "the other one sends nothing")
    database.execute(BOOKING, ("R1",))
    database.execute(BOOKING, ("R2",))
    await until_on_page(operator, "/", "limited to 0.01 requests a second")
    await until_on_page(operator, "/endpoints/till", "healthy limited to 0.01 requests a second")
    form |= {"payload": "reservation", "events": "both"}
    changed = form | {"max_per_second": "many"}
    assert "Rate limit has to be a number." in (await operator.send("/endpoints/till/change", changed)).text
    await operator.send("/endpoints/till/change", form | {"max_per_second": ""})
    await receiver.wait_for_delivered(2)
    assert database.value("select max_per_second from cdc_bridge.endpoint where name = 'till'") is None


async def test_daemon_on_standby_says_that_another_one_delivers(operator: Visitor, bridges: Bridges) -> None:
    port = free_port()
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(port), CDC_BRIDGE_WEB_TOKEN=TOKEN)
    second = Visitor(port)
    try:
        await second.sign_in()
        await until_on_page(second, "/", "This bridge is on standby: another one delivers", "healthy")
    finally:
        await second.close()


async def test_restored_dump_promises_nothing(operator: Visitor, database: Database) -> None:
    await operator.send("/endpoints/default/pause")
    await until(
        lambda: database.value("select daemon_id is null from cdc_bridge.endpoint"),
        "the endpoint is given back",
    )
    database.execute("update cdc_bridge.endpoint set cluster = 1, position = '99999999:99999999:'")
    assert "Backlog unknown" in (await operator.get("/endpoints/default")).text
    answer = await operator.send("/endpoints/default/resume")
    assert "But it is invalid: this database was restored from a dump into another PostgreSQL cluster" in answer.text
