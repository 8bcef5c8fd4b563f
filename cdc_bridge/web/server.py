"""The daemon's HTTP server. It listens on loopback only, as it asks nobody who they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from cdc_bridge import metrics
from cdc_bridge.errors import SettingsError

_LOOPBACK = "127.0.0.1"

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def web_server(port: int) -> AsyncIterator[None]:
    """Serve for as long as the block runs.

    Raises:
        SettingsError: the port cannot be had.
    """
    application = web.Application()
    application.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _LOOPBACK, port).start()
        except OSError as error:
            raise SettingsError(
                f"CDC_BRIDGE_WEB_PORT {port} cannot be had: {error.strerror}", "Choose another one."
            ) from error
        _log.info("serving", address=f"http://{_LOOPBACK}:{port}/metrics")
        yield
    finally:
        await runner.cleanup()


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=metrics.exposition(), headers={"content-type": metrics.CONTENT_TYPE})
