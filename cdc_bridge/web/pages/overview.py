"""The first page: problems, advice and every endpoint."""

from __future__ import annotations

from aiohttp import web

from cdc_bridge.endpoints.advice import advice_for
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import site_of


async def show(request: web.Request) -> web.StreamResponse:
    """Show all endpoints."""
    snapshot = await site_of(request).health.snapshot()
    return await page(
        request,
        "overview.html",
        title="Endpoints",
        endpoints=snapshot.endpoints,
        database_up=snapshot.database_up,
        advice=advice_for(snapshot.endpoints),
        standby=bool(snapshot.endpoints) and not snapshot.leased,
    )
