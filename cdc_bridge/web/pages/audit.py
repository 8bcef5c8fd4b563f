"""The audit log, newest first, page by page."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from cdc_bridge.audit.log import Cursor, entries
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import site_of

_ENTRIES_PER_PAGE = 100


async def show(request: web.Request) -> web.StreamResponse:
    """Show a page of the audit log."""
    after = _after(request)
    listed = await site_of(request).database.read(partial(entries, limit=_ENTRIES_PER_PAGE, after=after))
    return await page(
        request,
        "audit.html",
        title="Audit log",
        listed=listed,
        newest=None if after is None else "/audit",
        older=None if listed.next is None else f"/audit?{urlencode({'after': str(listed.next)})}",
    )


def _after(request: web.Request) -> Cursor | None:
    if (text := request.query.get("after")) is None:
        return None
    try:
        return Cursor.parse(text)
    except ValueError:
        raise web.HTTPNotFound from None
