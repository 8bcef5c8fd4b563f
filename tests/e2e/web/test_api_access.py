"""Who may use the API, and how it rejects whoever may not and whatever it cannot read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from cdc_bridge.access.rights import Right
from cdc_bridge.web.api.operations import Operation
from cdc_bridge.web.api.routes import OPERATIONS
from tests.support.access import add_token
from tests.support.api import API_SETTINGS, API_TOKEN, API_VIEW_TOKEN, ApiClient, ApiResponse
from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.http import get
from tests.support.page import TOKEN, Visitor
from tests.support.proxy import Proxy

TILL = {"name": "till", "url": "https://till.example/"}
STATE = "select name, paused_at, secret from cdc_bridge.endpoint order by name"


async def ask(client: ApiClient, operation: Operation, **headers: str) -> ApiResponse:
    """Send an operation's request for the endpoint ``default``."""
    path = operation.path.replace("{id}", "1")
    return await client.ask(operation.method, re.sub(r"{\w+}", "default", path), **headers)


@pytest.fixture
async def viewer(api_bridge: Bridge, page_port: int) -> AsyncIterator[ApiClient]:
    client = ApiClient(page_port, API_VIEW_TOKEN)
    yield client
    await client.close()


@pytest.fixture
async def stranger(api_bridge: Bridge, page_port: int) -> AsyncIterator[ApiClient]:
    client = ApiClient(page_port, None)
    yield client
    await client.close()


async def test_no_operation_is_carried_out_without_a_token(stranger: ApiClient, database: Database) -> None:
    before = database.execute(STATE)
    for operation in OPERATIONS:
        response = await ask(stranger, operation)
        assert (response.status, response.type) == (401, "blank"), operation.name
        assert response.headers["www-authenticate"] == 'Bearer realm="cdc-bridge"'
    assert database.execute(STATE) == before


async def test_who_may_view_changes_nothing(viewer: ApiClient, database: Database) -> None:
    before = database.execute(STATE)
    rights = {Right.VIEW: {200, 404}, Right.CHANGE: {403}}
    for operation in OPERATIONS:
        assert (await ask(viewer, operation)).status in rights[operation.right], operation.name
        assert (operation.method == "GET") is (operation.right is Right.VIEW)
    assert database.execute(STATE) == before
    assert (await viewer.post("/endpoints", TILL)).body["detail"] == "Your token does not allow this."


async def test_wrong_tokens_are_limited_and_the_right_one_never_is(
    api: ApiClient, api_bridge: Bridge, stranger: ApiClient
) -> None:
    for number in range(12):
        token = ("wrong", API_TOKEN[:-1], API_TOKEN.upper())[number % 3]
        response = await stranger.get("/endpoints", authorization=f"Bearer {token}")
        assert response.status == (401 if number < 10 else 429)
        if number < 10:
            assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert response.type == "blank"
    assert 0 < int(response.headers["retry-after"]) <= 601
    assert (await api.get("/endpoints")).status == 200
    assert (await stranger.get("/endpoints", authorization=f"bearer  {API_TOKEN} ")).status == 200
    assert len([line for line in api_bridge.log if line["event"] == "sign-in rejected"]) == 10
    for authorization in (f"Basic {API_TOKEN}", API_TOKEN, "Bearer"):
        assert (await stranger.get("/endpoints", authorization=authorization)).status == 401
    for token in (API_TOKEN, API_VIEW_TOKEN):
        assert token not in "".join(api_bridge.output)


async def test_dashboard_and_api_share_neither_tokens_of_the_settings_nor_sessions(
    bridges: Bridges, page_port: int
) -> None:
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_WEB_TOKEN=TOKEN, **API_SETTINGS)
    client, visitor = ApiClient(page_port, None), Visitor(page_port)
    try:
        assert (await client.get("/endpoints", authorization=f"Bearer {TOKEN}")).status == 401
        assert (await visitor.sign_in(API_TOKEN)).status == 403
        assert (await visitor.sign_in()).status == 200
        for operation in OPERATIONS:
            cookie = f"{visitor.cookie_name}={visitor.cookie}"
            assert (await ask(client, operation, cookie=cookie)).status == 401, operation.name
        await visitor.send("/sign-out")
        page = await visitor.get("/", follow=False, headers={"authorization": f"Bearer {API_TOKEN}"})
        assert page.status == 303
        response = await client.get("/endpoints", authorization=f"Bearer {API_TOKEN}")
        assert "set-cookie" not in response.headers
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in response.headers
    finally:
        await client.close()
        await visitor.close()


async def test_where_other_machines_come_figures_are_open_to_the_tokens_of_the_api(
    bridges: Bridges, database: Database, page_port: int
) -> None:
    add_token(database, "prometheus", API_VIEW_TOKEN, "view")
    behind_a_proxy = {"CDC_BRIDGE_WEB_PROXY_ADDRESS": "192.0.2.1"}
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port), **behind_a_proxy, **API_SETTINGS)
    client = Visitor(page_port)
    try:
        for path in ("/metrics", "/readyz"):
            assert (await client.get(path)).status == 401
            for token in (API_TOKEN, API_VIEW_TOKEN):
                response = await client.get(path, headers={"authorization": f"Bearer {token}"})
                assert response.status in {200, 503}
    finally:
        await client.close()


async def test_without_its_token_there_is_no_api(bridges: Bridges, page_port: int) -> None:
    await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_WEB_TOKEN=TOKEN)
    client = ApiClient(page_port, TOKEN)
    try:
        for operation in OPERATIONS:
            response = await ask(client, operation)
            assert (response.status, response.type) == (404, "blank"), operation.name
            assert response.body["detail"] == (
                "The API is off: CDC_BRIDGE_WEB_API_TOKEN is not set, nor is there a named token: "
                "cdc-bridge token add NAME."
            )
    finally:
        await client.close()


async def test_every_error_is_a_problem(api: ApiClient, page_port: int) -> None:
    paths = ("/nothing", "/endpoints/", "/endpoints/default/nothing", "/deliveries/default", "//endpoints")
    for path in paths:
        missing = await api.get(path)
        assert (missing.status, missing.type, missing.body["detail"]) == (
            404, "blank", "There is no such resource."
        ), path  # fmt: skip
    wrong = await api.ask("PUT", "/endpoints/default")
    assert (wrong.status, wrong.type, wrong.headers["allow"]) == (405, "blank", "DELETE,GET,PATCH")
    assert (await api.ask("OPTIONS", "/endpoints")).headers["allow"] == "GET,POST"
    large = await api.post("/endpoints", {**TILL, "only": ["x" * 70_000]})
    assert (large.status, large.type) == (413, "blank")
    for headers in ({"content_type": "text/plain"}, {"content_type": ""}, {"content_encoding": "gzip"}):
        rejected = await api.post("/endpoints", TILL, **headers)
        assert (rejected.status, rejected.type) == (415, "blank"), headers
    elsewhere = await api.get("/endpoints", host=f"evil.example:{page_port}")
    assert (elsewhere.status, elsewhere.type) == (421, "blank")
    assert (await api.post("/endpoints", TILL, expect="something else")).status == 201
    assert (await api.post("/endpoints", TILL, expect="100-continue")).status == 409


async def test_lost_database_is_a_problem_that_may_pass(
    bridges: Bridges, database: Database, page_port: int, proxy: Proxy
) -> None:
    url = proxy.through(database.bridge_url)
    bridge = await bridges.start(CDC_BRIDGE_WEB_PORT=str(page_port), CDC_BRIDGE_DATABASE_URL=url, **API_SETTINGS)
    client = ApiClient(page_port)
    try:
        await proxy.cut()
        for response in [
            await client.get("/endpoints"),
            await client.post("/endpoints", TILL, key="k"),
            await client.post("/endpoints/default/test"),
            await client.post("/endpoints/default/replay", {"states": ["dead"]}),
        ]:
            assert (response.status, response.type) == (503, "database-unavailable")
            assert int(response.headers["retry-after"]) > 0
    finally:
        await client.close()
    assert bridge.running


async def test_program_with_more_requests_than_places_is_served_and_so_is_whoever_comes_meanwhile(
    api: ApiClient, page_port: int
) -> None:
    sent = [asyncio.create_task(api.get("/endpoints")) for _ in range(500)]
    await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
    assert (await get(page_port, "/healthz"))[0] == 200
    assert not all(each.done() for each in sent)
    assert {(await each).status for each in sent} == {200}


async def test_text_that_a_terminal_would_obey_is_escaped_and_keeps_its_value(
    api: ApiClient, database: Database
) -> None:
    hostile = "R\u202e\x1b[31m\u009b\u200b"
    database.execute(
        "insert into cdc_bridge.delivery select endpoint_id, 4711, %s, 'U', now(), 'delivered', null, 1, 0 "
        "from cdc_bridge.endpoint",
        (hostile,),
    )
    listed = await api.get("/deliveries")
    assert listed.body["deliveries"][0]["reservation_id"] == hostile
    assert listed.text.isascii()
    assert listed.text.isprintable()
