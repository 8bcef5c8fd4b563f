"""The first page: whether all bookings arrive, what is wrong, and the endpoints, those in trouble first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from cdc_bridge.endpoints.status import EndpointStatus
from cdc_bridge.endpoints.survey import PAGE, EndpointSurvey, Search, survey
from cdc_bridge.web.concerns import MOST_SHOWN, concerns_of
from cdc_bridge.web.endpoint_words import figure_of
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import site_of

_MOST_PAGES = 10_000_000
_SEARCHED_FROM = 10
"""Endpoints from which on there is a search."""
_REFRESH_MANY_SECONDS = 10
"""A page that needs a statement of its own about all endpoints is refreshed less often."""


@dataclass(frozen=True, slots=True)
class _Paging:
    """Which endpoints are on a page, and the links to the pages beside it."""

    first: int
    last: int
    before: str | None
    after: str | None


async def show(request: web.Request) -> web.StreamResponse:
    """Show the endpoints that match a search."""
    site = site_of(request)
    snapshot = await site.health.snapshot()
    asked = {name: request.query.get(name, "").strip()[:200] for name in ("search", "status", "order")}
    number = _page_of(request)
    found = snapshot.survey
    own = found is not None and (number > 1 or any(asked.values()))
    if own:
        read = partial(survey, max_lag_seconds=site.settings.now.max_lag_seconds, search=_search(asked, number))
        found = await site.database.read(read)
    max_lag_seconds, now = site.settings.now.max_lag_seconds, datetime.now(UTC)
    concerns = concerns_of(snapshot, max_lag_seconds)
    return await page(
        request,
        "overview.html",
        title="Endpoints",
        database_up=snapshot.database_up,
        survey=found,
        asked=asked,
        searching=any(asked[name] for name in ("search", "status")),
        searchable=found is not None and found.number > _SEARCHED_FROM,
        statuses=[status.value for status in EndpointStatus],
        paging=_paging(found, asked, number),
        concerns=concerns[:MOST_SHOWN],
        more_concerns=len(concerns[MOST_SHOWN:]),
        figures={} if found is None else {one.name: figure_of(one, now, max_lag_seconds) for one in found.page},
        standby=found is not None and found.number > 0 and not snapshot.number_leased,
        refresh_seconds=_REFRESH_MANY_SECONDS if own else None,
    )


def _search(asked: dict[str, str], number: int) -> Search:
    return Search(
        asked["search"],
        [status for status in EndpointStatus if status == asked["status"]],
        by_name=asked["order"] == "name",
        limit=PAGE,
        offset=(number - 1) * PAGE,
    )


def _page_of(request: web.Request) -> int:
    text = request.query.get("page", "1")
    return min(max(1, int(text)), _MOST_PAGES) if text.isascii() and text.isdecimal() and len(text) < 10 else 1


def _paging(found: EndpointSurvey | None, asked: dict[str, str], number: int) -> _Paging:
    matching = 0 if found is None else found.matching
    given = {name: value for name, value in asked.items() if value}

    def link(to: int) -> str:
        return "/?" + urlencode(given | ({"page": str(to)} if to > 1 else {}))

    first = (number - 1) * PAGE + 1
    return _Paging(
        first,
        min(first + PAGE - 1, matching),
        link(number - 1) if number > 1 else None,
        link(number + 1) if number * PAGE < matching else None,
    )
