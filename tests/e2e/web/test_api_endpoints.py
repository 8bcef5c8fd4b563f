"""The API's operations on endpoints, against a real daemon."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest

from cdc_bridge.endpoints.option import Setter
from cdc_bridge.endpoints.options import options_for
from tests.support.api import API_VIEW_TOKEN, ApiClient
from tests.support.bridge import Bridge
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import EndpointCommands
from tests.support.payloads import define_payload
from tests.support.receiver import Receiver
from tests.support.responses import Response

WHSEC = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
TILL = {"name": "till", "url": "https://till.example/reservations?key=in-the-query"}
VENDORS = "whsec_" + b64encode(b"a secret that the vendor made, 32").decode()
ROW = (
    "select url, headers, secret, max_in_flight, max_per_second, position::text from cdc_bridge.endpoint "
    "where name = %s"
)


async def test_endpoint_is_added_with_its_options_and_its_secret(
    api: ApiClient, database: Database, api_bridge: Bridge
) -> None:
    headers = ["x-key: a value that is secret", "x-site: 7"]
    added = await api.post("/endpoints", {**TILL, "headers": headers, "max_in_flight": 4, "max_per_second": 2.5})
    assert added.status == 201
    assert added.headers["location"] == "/api/v1/endpoints/till"
    assert added.headers["cache-control"] == "no-store"
    secret = added.body["secret"]
    assert WHSEC.fullmatch(secret)
    shown_url = "https://till.example/reservations?..."
    assert added.body == {"name": "till", "url": shown_url, "start": "now", "secret": secret, "warnings": []}
    assert database.execute(ROW, ("till",))[0][:5] == (TILL["url"], headers, secret, 4, 2.5)
    shown = await api.get(added.headers["location"])
    assert shown.status == 200
    assert (shown.body["header_names"], shown.body["signed"]) == (["x-key", "x-site"], True)
    for text in (added.text, shown.text, (await api.get("/endpoints")).text):
        assert "in-the-query" not in text
        assert "a value that is secret" not in text
    assert secret not in shown.text
    logged = await api_bridge.wait_for_log("api change", what="endpoint added")
    assert (logged["endpoint"], logged["token"], logged["right"], logged["address"]) == (
        "till", "web_api_token", "change", "127.0.0.1",
    )  # fmt: skip
    assert secret not in "".join(api_bridge.output)


@pytest.mark.parametrize(
    "more", [{"start": "oldest"}, {"signed": False}, {"secret": VENDORS}, {"secret": None, "start": "now"}], ids=str
)
async def test_start_and_signature_are_chosen_as_by_the_command(
    more: dict[str, Any], api: ApiClient, database: Database
) -> None:
    added = await api.post("/endpoints", {**TILL, **more})
    assert added.status == 201, added.text
    ((_, _, stored, _, _, position),) = database.execute(ROW, ("till",))
    assert (position == "1:1:") is (more.get("start") == "oldest")
    assert stored == (more.get("secret") or added.body["secret"])
    assert (stored is None) is ("signed" in more)
    assert VENDORS not in added.text


async def test_every_option_that_an_operator_may_set_is_taken_shown_and_removed(
    api: ApiClient, database: Database, certificates: Certificates
) -> None:
    define_payload(database, "select r.id, r.room_name from {reservation} r", "kitchen")
    values: dict[str, Any] = {
        "url": "https://other.example/", "headers": ["x-a: b"], "max_in_flight": 3, "payload": "kitchen",
        "only": ["room_name=Bar"], "events": "created", "skip_unchanged": True,
        "keep_responses": True, "max_per_second": 1,
        "latest_only": True, "timeout_seconds": 2, "connect_timeout_seconds": 1.5, "proxy": "http://proxy:3128",
        "ca_file": str(certificates.ca_file), "client_certificate_file": str(certificates.client_certificate_file),
        "client_key_file": str(certificates.client_key_file),
    }  # fmt: skip
    assert values.keys() == {option.name for option in options_for(Setter.OPERATOR)}
    assert (await api.post("/endpoints", TILL)).status == 201
    changed = await api.patch("/endpoints/till", {**values, "new_secret": True})
    assert changed.status == 200, changed.text
    assert WHSEC.fullmatch(changed.body["secret"])
    assert "when room_name changes" in changed.body["warnings"][0]
    assert changed.body["consequences"]
    shown = (await api.get("/endpoints/till")).body
    assert {name: shown["header_names" if name == "headers" else name] for name in values} == values | {
        "headers": ["x-a"]
    }
    removable = ["headers", "only", "max_per_second", "proxy", "ca_file", "client_certificate_file", "client_key_file"]
    assert (await api.patch("/endpoints/till", dict.fromkeys(removable))).status == 200
    shown = (await api.get("/endpoints/till")).body
    assert [shown["header_names" if name == "headers" else name] for name in removable] == [[], [], *[None] * 5]
    assert shown["max_in_flight"] == 3


async def test_all_faulty_fields_are_named_in_the_words_of_the_command(
    api: ApiClient, endpoint: EndpointCommands, database: Database
) -> None:
    faulty = {
        "max_in_flight": 0,
        "timeout_seconds": 1e9,
        "headers": ["host: x"],
        "proxy": "socks://x",
        "events": "none",
    }
    rejected = await api.post("/endpoints", {"name": "Till", "url": "http://till.example", "secret": "x", **faulty})
    assert rejected.faults.keys() == {"name", "url", "secret", *faulty}
    flags = [word for name in ("max_in_flight", "timeout_seconds") for word in (f"--{name}", str(faulty[name]))]
    arguments = [flag.replace("_", "-") for flag in flags] + ["--header", "host: x", "--proxy", "socks://x"]
    told = await endpoint.refused("add", "Till", "http://till.example", *arguments, code=2)
    for name, detail in rejected.faults.items():
        if name not in {"secret", "events"}:
            assert detail.removeprefix(f"{name} ") in told, name
    assert database.value("select count(*) from cdc_bridge.endpoint") == 1


async def test_value_of_another_type_and_unknown_fields_are_rejected(api: ApiClient) -> None:
    body = {
        **TILL, "max_in_flight": "4", "timeout_seconds": True, "latest_only": "yes", "headers": "x-a: b", "only": [1],
        "ca_file": 7, "payload": None, "start": "later", "signed": 1, "secret": 5, "maxInFlight": 4,
    }  # fmt: skip
    assert (await api.post("/endpoints", body)).faults == {
        "maxInFlight": "maxInFlight is not known; did you mean max_in_flight?",
        "start": "start has to be one of now, oldest",
        "signed": "signed has to be true or false",
        "secret": "secret has to be a text",
        "max_in_flight": "max_in_flight has to be a number",
        "timeout_seconds": "timeout_seconds has to be a number",
        "latest_only": "latest_only has to be true or false",
        "headers": "headers has to be a list of texts",
        "only": "only has to be a list of texts, none of them null",
        "ca_file": "ca_file has to be a text",
        "payload": "payload has to be a text",
    }
    assert (await api.post("/endpoints", {**TILL, "max_in_flight": 1.5})).faults == {
        "max_in_flight": "max_in_flight has to be a whole number"
    }
    assert (await api.post("/endpoints", {})).faults.keys() == {"name", "url"}
    for known in ({"payload": "kitchen"}, {"only": ["dish=x"]}, {"only": ["adults=many"]}):
        assert (await api.post("/endpoints", {**TILL, **known})).faults.keys() == known.keys()
    faults = (await api.post("/endpoints", {**TILL, "signed": False, "secret": VENDORS})).faults
    assert faults == {"secret": "secret does not go with signed: false"}


async def test_name_that_is_taken_and_endpoint_that_is_not_there(api: ApiClient) -> None:
    assert (await api.post("/endpoints", TILL)).status == 201
    taken = await api.post("/endpoints", TILL)
    assert (taken.status, taken.type) == (409, "conflict")
    for method, path, body in [
        ("GET", "/endpoints/tull", None),
        ("PATCH", "/endpoints/tull", {"max_in_flight": 1}),
        ("DELETE", "/endpoints/tull", None),
        *(("POST", f"/endpoints/tull/{do}", None) for do in ("pause", "resume", "test", "rotate-secret")),
        ("POST", "/endpoints/tull/replay", {"states": ["dead"]}),
    ]:
        missing = await api.ask(method, path, body)
        assert (missing.status, missing.type) == (404, "not-found"), path
        assert "There is no endpoint tull; did you mean till?" in missing.body["detail"]


async def test_endpoint_of_the_settings_is_shown_paused_and_tested_and_not_changed(
    api: ApiClient, receiver: Receiver
) -> None:
    shown = (await api.get("/endpoints/default")).body
    assert (shown["in_settings"], shown["header_names"], shown["signed"], shown["revision"]) == (True, None, None, None)
    for rejected in [
        await api.patch("/endpoints/default", {"max_in_flight": 1}),
        await api.post("/endpoints/default/rotate-secret"),
        await api.delete("/endpoints/default"),
    ]:
        assert (rejected.status, rejected.type) == (409, "conflict")
    assert (await api.post("/endpoints/default/test")).body["delivered"] is True
    assert (await api.post("/endpoints/default/pause")).body == {"name": "default", "changed": True}


async def test_pause_resume_and_remove(api: ApiClient, database: Database, api_bridge: Bridge) -> None:
    await api.post("/endpoints", TILL)
    paused = "select paused_at is not null from cdc_bridge.endpoint where name = 'till'"
    for do, changes, is_paused in [("pause", True, True), ("pause", False, True), ("resume", True, False),
                                   ("resume", False, False)]:  # fmt: skip
        assert (await api.post(f"/endpoints/till/{do}")).body == {"name": "till", "changed": changes}
        assert database.value(paused) is is_paused
    assert (await api.post("/endpoints/till/pause", {"reason": "x"})).faults.keys() == {"reason"}
    gone = await api.delete("/endpoints/till")
    assert (gone.status, gone.text) == (204, "")
    assert database.value("select count(*) from cdc_bridge.endpoint where name = 'till'") == 0
    logged = [line["what"] for line in api_bridge.log if line["event"] == "api change"]
    assert logged == ["endpoint added", "endpoint paused", "endpoint resumed", "probe requested", "endpoint removed"]


async def test_test_request_is_sent_and_its_response_explained(
    api: ApiClient, receiver: Receiver, certificates: Certificates
) -> None:
    body = {"name": "till", "url": receiver.url, "ca_file": str(certificates.ca_file)}
    assert (await api.post("/endpoints", body)).status == 201
    tested = (await api.post("/endpoints/till/test")).body
    assert (tested["delivered"], tested["status"], tested["route"]) == (True, 200, "directly")
    receiver.script = lambda _: Response(status=422)
    failed = await api.post("/endpoints/till/test", {"sample": True})
    assert (failed.status, failed.body["delivered"], failed.body["status"]) == (200, False, 422)
    assert [request.headers["ce-type"] for request in receiver.requests] == ["cdc-bridge.test"] * 2


async def test_secret_is_rotated(api: ApiClient, database: Database) -> None:
    first = (await api.post("/endpoints", TILL)).body["secret"]
    rotated = (await api.post("/endpoints/till/rotate-secret", {"keep_old_hours": 1})).body
    secrets = "select secret, previous_secret from cdc_bridge.endpoint where name = 'till'"
    assert database.execute(secrets) == [(rotated["secret"], first)]
    assert rotated["old_until"].endswith("Z")
    under_way = await api.post("/endpoints/till/rotate-secret")
    assert (under_way.status, under_way.type) == (409, "conflict")
    assert "a rotation is in progress" in under_way.body["detail"].lower()
    cut = await api.post("/endpoints/till/rotate-secret", {"now": True, "keep_old_hours": 0, "secret": VENDORS})
    assert cut.body == {"name": "till", "secret": None, "old_until": None}
    assert database.execute(secrets) == [(VENDORS, None)]
    wrong = await api.post("/endpoints/till/rotate-secret", {"keep_old_hours": -1, "secret": "x"})
    assert wrong.faults.keys() == {"keep_old_hours", "secret"}


async def test_url_of_another_server_needs_its_secrets_anew(api: ApiClient, database: Database) -> None:
    await api.post("/endpoints", {**TILL, "headers": ["x-key: secret"]})
    moved = {"url": "https://other.example/"}
    rejected = await api.patch("/endpoints/till", moved)
    assert "leads to another server" in rejected.faults["url"]
    assert "--" not in rejected.text
    halves: list[dict[str, Any]] = [{"headers": []}, {"new_secret": True}]
    for more in halves:
        assert (await api.patch("/endpoints/till", moved | more)).faults.keys() == {"url"}
    assert (await api.patch("/endpoints/till", moved | {"keep_headers": True})).status == 200
    both = {"url": "https://third.example/", "headers": [], "new_secret": True}
    assert (await api.patch("/endpoints/till", both | {"secret": VENDORS})).faults.keys() == {"secret"}
    secret = (await api.patch("/endpoints/till", both)).body["secret"]
    assert database.execute(ROW, ("till",))[0][:3] == ("https://third.example/", [], secret)
    assert (await api.patch("/endpoints/till", {"new_secret": True})).body["detail"] == "New_secret needs url."


async def test_change_is_bound_to_the_revision_that_was_read(
    api: ApiClient, database: Database, page_port: int
) -> None:
    await api.post("/endpoints", {**TILL, "headers": ["x-key: one"]})
    read = (await api.get("/endpoints/till")).headers["etag"]
    await api.post("/endpoints/till/pause")  # It is no option.
    database.execute("update cdc_bridge.endpoint set position = pg_current_snapshot()")
    changed = await api.patch("/endpoints/till", {"headers": ["x-key: two"]}, if_match=read)
    assert (changed.status, changed.headers["etag"]) == (200, f'"{changed.body["revision"]}"')
    assert changed.headers["etag"] == (await api.get("/endpoints/till")).headers["etag"] != read
    late = await api.patch("/endpoints/till", {"max_in_flight": 3}, if_match=read)
    assert (late.status, late.type) == (412, "revision-differs")
    assert (await api.patch("/endpoints/till", {"max_in_flight": 2}, if_match="*")).status == 200
    for wrong in ("W/" + read, read.strip('"'), f"{read}, {read}"):
        assert (await api.patch("/endpoints/till", {"max_in_flight": 3}, if_match=wrong)).faults.keys() == {"If-Match"}
    assert database.value("select max_in_flight from cdc_bridge.endpoint where name = 'till'") == 2
    viewer = ApiClient(page_port, API_VIEW_TOKEN)
    try:
        seen = await viewer.get("/endpoints/till")
    finally:
        await viewer.close()
    assert seen.body["revision"] is None
    assert "etag" not in seen.headers


async def test_nothing_to_change_and_nothing_that_is_an_object(api: ApiClient) -> None:
    await api.post("/endpoints", TILL)
    nothing = await api.patch("/endpoints/till", {})
    assert (nothing.status, nothing.type, nothing.body["detail"]) == (
        400, "invalid-input", "Nothing to change was given.",
    )  # fmt: skip
    for body in (b"[]", b"null", b"7", b'"x"', b"{", b"{}{}", b"\xff", b'{"a": NaN}', b'"\\ud800"'):
        rejected = await api.ask("PATCH", "/endpoints/till", body)
        assert (rejected.status, rejected.type) == (400, "blank"), body


async def test_pages_follow_one_another_while_endpoints_are_added_and_removed(api: ApiClient) -> None:
    for name in ("b", "d", "f"):
        await api.post("/endpoints", {"name": name, "url": TILL["url"]})
    first = (await api.get("/endpoints?limit=2")).body
    assert [each["name"] for each in first["endpoints"]] == ["b", "d"]
    for name in ("a", "c", "e"):
        await api.post("/endpoints", {"name": name, "url": TILL["url"]})
    await api.delete("/endpoints/d")
    names, link = [], first["next"]
    while link is not None:
        page = (await api.get(link)).body
        names += [each["name"] for each in page["endpoints"]]
        link = page["next"]
    assert names == ["default", "e", "f"]
    assert (await api.get("/endpoints?limit=6")).body["next"] is None


async def test_query_that_cannot_be_used_is_named(api: ApiClient) -> None:
    for cursor in ("!", "", "x", "AAAA", "VGlsbA=="):
        assert (await api.get(f"/endpoints?limit=0&cursor={cursor}&order=name")).faults == {
            "order": "order is not known",
            "limit": "limit has to be a whole number from 1 to 1000",
            "cursor": "cursor is not a cursor of this list",
        }
    assert (await api.get("/endpoints?limit=1&limit=2")).faults == {"limit": "limit is given more than once"}
    await api.post("/endpoints", TILL)
    assert (await api.ask("DELETE", "/endpoints/till?dry_run=true")).faults == {"dry_run": "dry_run is not known"}
    assert (await api.get("/endpoints/till")).status == 200
