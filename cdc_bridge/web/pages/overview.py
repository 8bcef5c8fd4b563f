"""The first page: what is wrong, and how each endpoint is."""

from __future__ import annotations

from aiohttp import web

from cdc_bridge.endpoints.advice import remarks
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import site_of


async def show(request: web.Request) -> web.StreamResponse:
    """Show all endpoints."""
    look = await site_of(request).observer.look()
    return await page(
        request,
        "overview.html",
        title="Endpoints",
        endpoints=look.endpoints,
        database_up=look.database_up,
        remarks=remarks(look.endpoints),
        stands_by=bool(look.endpoints) and not look.held,
    )
