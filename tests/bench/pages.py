"""How fast each page of the dashboard is served, with a thousand endpoints and long logs."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from html import unescape

from cdc_bridge.demo.ports import free_port
from tests.bench.endpoints.hosted import hosted
from tests.bench.figures import Goal, Line, alone
from tests.bench.hosted_log import (
    BEHIND,
    ENDPOINTS,
    OF_BEHIND,
    OF_OTHER,
    OTHER,
    fill,
    let_it_want_everything,
    missing_number,
    newest_number,
)
from tests.bench.scale import Scale
from tests.bench.stage import Stage
from tests.support.page import TOKEN, PageResponse, Visitor

_GOAL = Goal("at most", 100)
_SEARCHING = Goal("at most", 300)
"""It compares the bookings of a thousand deliveries."""
_TIMES = 15
_OLDER = re.compile(r'href="([^"]*)">(?:Older|Search older ones)<')
_RESERVATION = hashlib.md5(b"r4711", usedforsecurity=False).hexdigest().upper()
_ONE = "/deliveries/{endpoint}/{seq:[0-9]{1,19}}"


@dataclass(frozen=True)
class Page:
    """A page that is measured."""

    name: str
    route: str
    path: str
    """With the numbers of deliveries left open."""
    token: str | None = TOKEN
    """With which one signs in; of a vendor, by the link to the portal."""
    status: int = 200
    goal: Goal = _GOAL
    older: bool = False
    """Measured is the page that its link to older ones leads to."""


PAGES = (
    Page("endpoints", "/", "/"),
    Page("endpoints, the last of them", "/", f"/?page={ENDPOINTS // 50}"),
    Page("endpoints, search for one", "/", f"/?search={OTHER}7"),
    Page("endpoints, those paused", "/", "/?status=paused"),
    Page("deliveries", "/deliveries", "/deliveries"),
    Page("deliveries, older", "/deliveries", "/deliveries", older=True),
    Page("deliveries, dead", "/deliveries", "/deliveries?state=dead"),
    Page("deliveries, queued", "/deliveries", "/deliveries?state=queued"),
    Page("deliveries, in a state that none is in", "/deliveries", "/deliveries?state=skipped"),
    Page("deliveries, until a time long ago", "/deliveries", "/deliveries?until=2000-01-01"),
    Page("deliveries, since a time to come", "/deliveries", "/deliveries?since=2100-01-01"),
    Page("deliveries of one endpoint", "/deliveries", f"/deliveries?endpoint={OTHER}"),
    Page("deliveries of the endpoint behind", "/deliveries", f"/deliveries?endpoint={BEHIND}"),
    Page("deliveries of the endpoint behind, older", "/deliveries", f"/deliveries?endpoint={BEHIND}", older=True),
    Page("deliveries, search for a guest", "/deliveries", "/deliveries?search=Firstname1+Surname1", goal=_SEARCHING),
    Page("deliveries, search for a guest who is nowhere", "/deliveries", "/deliveries?search=nobody", goal=_SEARCHING),
    Page("the same, searched on", "/deliveries", "/deliveries?search=nobody", goal=_SEARCHING, older=True),
    Page("deliveries of the endpoint behind, search for a guest who is nowhere", "/deliveries",
         f"/deliveries?search=nobody&endpoint={BEHIND}", goal=_SEARCHING),
    Page("deliveries, search for a key", "/deliveries", f"/deliveries?search={_RESERVATION}"),
    Page("deliveries, search for a reference", "/deliveries", "/deliveries?search=4711", goal=_SEARCHING),
    Page("deliveries of the reservation of one", "/deliveries", f"/deliveries?of={OTHER}/{{other}}"),
    Page("delivery", _ONE, f"/deliveries/{OTHER}/{{other}}"),
    Page("delivery, dead", _ONE, "/deliveries/e{dead_endpoint}/{dead}"),
    Page("delivery, queued", _ONE, f"/deliveries/{BEHIND}/{{behind}}"),
    Page("delivery, a number that nobody has", _ONE, f"/deliveries/{BEHIND}/{{missing}}", status=404),
    Page("delivery, a number to come", _ONE, f"/deliveries/{BEHIND}/{{to_come}}", status=404),
    Page("delivery, a number of another endpoint", _ONE, f"/deliveries/{OTHER}/{{behind}}", status=404),
    Page("endpoint", "/endpoints/{name}", f"/endpoints/{OTHER}"),
    Page("endpoint behind", "/endpoints/{name}", f"/endpoints/{BEHIND}"),
    Page("endpoint, unknown", "/endpoints/{name}", "/endpoints/nobody", status=404),
    Page("form of a new endpoint", "/endpoints/new", "/endpoints/new"),
    Page("form of an endpoint", "/endpoints/{name}/change", f"/endpoints/{OTHER}/change"),
    Page("secret", "/endpoints/{name}/rotate-secret", f"/endpoints/{OTHER}/rotate-secret"),
    Page("removal", "/endpoints/{name}/remove", f"/endpoints/{BEHIND}/remove"),
    Page("resend", "/endpoints/{name}/resend", f"/endpoints/{OTHER}/resend"),
    Page("resend, counted", "/endpoints/{name}/resend", f"/endpoints/{OTHER}/resend?state=delivered"),
    Page("backfill", "/endpoints/{name}/backfill", f"/endpoints/{OTHER}/backfill"),
    Page("reconcile", "/endpoints/{name}/reconcile", f"/endpoints/{OTHER}/reconcile"),
    Page("audit log", "/audit", "/audit"),
    Page("audit log, older", "/audit", "/audit", older=True),
    Page("sign-in", "/sign-in", "/sign-in", token=None),
    Page("portal, its link", "/portal", "/portal", token=None),
    Page("style sheet", "/static/{name}", "/static/dashboard.css", token=None),
    Page("portal", "/endpoints/{name}", f"/endpoints/{OTHER}", token=OF_OTHER),
    Page("portal, deliveries", "/deliveries", f"/deliveries?endpoint={OTHER}", token=OF_OTHER),
    Page("portal, search for a key", "/deliveries", f"/deliveries?endpoint={OTHER}&search={_RESERVATION}",
         token=OF_OTHER),
    Page("portal, delivery", _ONE, f"/deliveries/{OTHER}/{{other}}", token=OF_OTHER),
    Page("portal behind", "/endpoints/{name}", f"/endpoints/{BEHIND}", token=OF_BEHIND),
    Page("portal behind, deliveries", "/deliveries", f"/deliveries?endpoint={BEHIND}", token=OF_BEHIND),
    Page("portal behind, search for a key", "/deliveries", f"/deliveries?endpoint={BEHIND}&search={_RESERVATION}",
         token=OF_BEHIND),
    Page("portal behind, a number that nobody has", _ONE, f"/deliveries/{BEHIND}/{{missing}}", token=OF_BEHIND,
         status=404),
)  # fmt: skip
OF_A_LONG_QUEUE = tuple(
    page for page in PAGES if page.name.startswith("deliver") or BEHIND in page.path or page.path == "/"
)
"""Which are measured again where the endpoint that is behind wants everything."""


async def page_times(stage: Stage, scale: Scale) -> list[Line]:
    """Return a line for each page: how long it takes from the request to the last byte."""
    stage.say(f"writing {scale.logged:,} changes and deliveries")
    port = free_port()
    settings = {"CDC_BRIDGE_WEB_PORT": str(port), "CDC_BRIDGE_WEB_TOKEN": TOKEN}
    under = f"{ENDPOINTS:,} endpoints, {scale.logged:,} deliveries"
    async with AsyncExitStack() as stack:
        database = hosted(stage, stack)
        url = await stack.enter_async_context(stage.receiver())
        await fill(database, scale.logged, url, stage.certificate.ca_file)
        stage.checkpoint()
        await stack.enter_async_context(stage.daemon(database, **settings))
        visitors = await stack.enter_async_context(signed_in(port))
        stage.say(f"loading {len(PAGES)} pages")
        lines = await _lines(under, visitors, PAGES, scale.logged)
        let_it_want_everything(database)
        return lines + await _lines(f"{under}, {scale.logged:,} queued", visitors, OF_A_LONG_QUEUE, scale.logged)


@asynccontextmanager
async def signed_in(port: int) -> AsyncIterator[dict[str | None, Visitor]]:
    """Sign in with each token that pages are asked for with."""
    visitors: dict[str | None, Visitor] = {token: Visitor(port) for token in (None, TOKEN, OF_BEHIND, OF_OTHER)}
    try:
        await visitors[TOKEN].sign_in()
        for token in (OF_BEHIND, OF_OTHER):
            await visitors[token].open_portal(token)
        yield visitors
    finally:
        for visitor in visitors.values():
            await visitor.close()


async def _lines(under: str, visitors: dict[str | None, Visitor], pages: Sequence[Page], changes: int) -> list[Line]:
    return [
        alone(
            f"dashboard, {under}: {page.name}", "ms", await milliseconds(visitors[page.token], page, changes), page.goal
        )
        for page in pages
    ]


async def milliseconds(visitor: Visitor, page: Page, changes: int) -> list[float]:
    """Return how long a page takes, several times."""
    path = _path_of(page, changes)
    first = await _checked(visitor, path, page)
    if page.older:
        found = _OLDER.search(first.html)
        assert found is not None, first.text
        path = f"{page.route}{unescape(found[1]).removeprefix(page.route)}"
    times = []
    for _ in range(_TIMES):
        began = time.monotonic()
        await _checked(visitor, path, page)
        times.append(1000 * (time.monotonic() - began))
    return times


def _path_of(page: Page, changes: int) -> str:
    dead = changes // 2 // 997 * 997
    return page.path.format(
        other=newest_number(changes, OTHER), behind=newest_number(changes, BEHIND), missing=missing_number(changes),
        to_come=changes + 1_000_000, dead=dead, dead_endpoint=dead % ENDPOINTS,
    )  # fmt: skip


async def _checked(visitor: Visitor, path: str, page: Page) -> PageResponse:
    response = await visitor.get(path)
    assert response.status == page.status, (path, response.status, response.text)
    return response
