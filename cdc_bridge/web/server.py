"""The daemon's HTTP server. It listens on loopback only, as it asks nobody who they are.

``/healthz`` says whether the daemon is alive; one that is not is to be started again. ``/readyz`` says whether all
is well, and what is not in words; starting it again mends none of that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import structlog
from aiohttp import web

from cdc_bridge import metrics
from cdc_bridge.errors import SettingsError
from cdc_bridge.operations.health.collector import LookCollector
from cdc_bridge.operations.health.observer import Observer

_LOOPBACK = "127.0.0.1"
_OBSERVER = web.AppKey("observer", Observer)

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def web_server(port: int, observer: Observer) -> AsyncIterator[None]:
    """Serve for as long as the block runs.

    Args:
        port: on loopback.
        observer: looks how the daemon is.

    Raises:
        SettingsError: the port cannot be had.
    """
    application = web.Application()
    application[_OBSERVER] = observer
    application.router.add_get("/metrics", _metrics)
    application.router.add_get("/healthz", _alive)
    application.router.add_get("/readyz", _ready)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _LOOPBACK, port).start()
        except OSError as error:
            raise SettingsError(
                f"CDC_BRIDGE_WEB_PORT {port} cannot be had: {error.strerror}", "Choose another one."
            ) from error
        _log.info("serving", address=f"http://{_LOOPBACK}:{port}", paths=["/metrics", "/healthz", "/readyz"])
        yield
    finally:
        await runner.cleanup()


async def _metrics(request: web.Request) -> web.Response:
    look = await request.app[_OBSERVER].look()
    body = metrics.exposition(LookCollector(look))
    return web.Response(body=body, headers={"content-type": metrics.CONTENT_TYPE})


async def _alive(request: web.Request) -> web.Response:
    problem = request.app[_OBSERVER].why_not_alive()
    return _words(HTTPStatus.OK, "alive") if problem is None else _words(HTTPStatus.SERVICE_UNAVAILABLE, problem)


async def _ready(request: web.Request) -> web.Response:
    look = await request.app[_OBSERVER].look()
    if not look.problems:
        return _words(HTTPStatus.OK, "ready")
    return _words(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(str(problem) for problem in look.problems))


def _words(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={"cache-control": "no-store"})
