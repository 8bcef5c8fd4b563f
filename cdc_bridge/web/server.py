"""The daemon's HTTP server: what is served under which path, and who may ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from cdc_bridge.errors import SettingsError
from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.settings import PREFIX
from cdc_bridge.tasks import end
from cdc_bridge.web import monitoring
from cdc_bridge.web.access import Right, Tokens
from cdc_bridge.web.guard import MIDDLEWARES
from cdc_bridge.web.listening import Listening
from cdc_bridge.web.pages import deliveries, endpoints, overview, sign_in
from cdc_bridge.web.reading import PageDatabase
from cdc_bridge.web.requests import SITE, Handler, Site
from cdc_bridge.web.static_files import STATIC

_MOST_BYTES_SENT = 64 * 1024
_EVERYBODY = None
_STOP_WITHIN_SECONDS = 1.0
_IDLE_SECONDS = 30.0
_ASK_WITHIN_SECONDS = 10.0
_LONGEST_TEST_SECONDS = 620.0  # two time-outs of an endpoint at their highest
MOST_CONNECTIONS = 100
"""As many files of the daemon's may the page use, whoever asks."""

_MONITORING: tuple[tuple[str, str, Handler, Right | None], ...] = (
    ("GET", "/metrics", monitoring.figures, _EVERYBODY),
    ("GET", "/healthz", monitoring.alive, _EVERYBODY),
    ("GET", "/readyz", monitoring.ready, _EVERYBODY),
)
_WITHOUT_PAGE: tuple[tuple[str, str, Handler, Right | None], ...] = (("GET", "/", sign_in.no_page, _EVERYBODY),)
_PAGE: tuple[tuple[str, str, Handler, Right | None], ...] = (
    ("GET", "/static/{name}", STATIC.serve, _EVERYBODY),
    ("GET", "/sign-in", sign_in.form, _EVERYBODY),
    ("POST", "/sign-in", sign_in.sign_in, _EVERYBODY),
    ("POST", "/sign-out", sign_in.sign_out, Right.VIEW),
    ("GET", "/", overview.show, Right.VIEW),
    ("GET", "/endpoints/new", endpoints.new, Right.ALL),
    ("POST", "/endpoints/new", endpoints.add, Right.ALL),
    ("GET", "/endpoints/{name}", endpoints.show, Right.VIEW),
    ("GET", "/endpoints/{name}/change", endpoints.change_form, Right.ALL),
    ("POST", "/endpoints/{name}/change", endpoints.change, Right.ALL),
    ("POST", "/endpoints/{name}/pause", endpoints.pause, Right.ALL),
    ("POST", "/endpoints/{name}/resume", endpoints.resume, Right.ALL),
    ("POST", "/endpoints/{name}/test", endpoints.test, Right.ALL),
    ("GET", "/endpoints/{name}/rotate-secret", endpoints.rotate_form, Right.ALL),
    ("POST", "/endpoints/{name}/rotate-secret", endpoints.rotate, Right.ALL),
    ("GET", "/endpoints/{name}/remove", endpoints.remove_form, Right.ALL),
    ("POST", "/endpoints/{name}/remove", endpoints.remove, Right.ALL),
    ("POST", "/endpoints/{name}/retry-dead", deliveries.retry_all_dead, Right.ALL),
    ("GET", "/deliveries", deliveries.list_, Right.VIEW),
    ("POST", "/deliveries/retry", deliveries.retry_chosen, Right.ALL),
    ("GET", "/deliveries/{endpoint}/{seq:[0-9]{1,19}}", deliveries.show, Right.VIEW),
    ("POST", "/deliveries/{endpoint}/{seq:[0-9]{1,19}}/send", deliveries.send_again, Right.ALL),
)

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def web_server(listening: Listening, observer: HealthMonitor, settings: CurrentSettings) -> AsyncIterator[None]:
    """Serve for as long as the block runs.

    Args:
        listening: where.
        observer: looks how the daemon is.
        settings: have the tokens, and the way to the database.

    Raises:
        SettingsError: the port cannot be had.
    """
    site = _site(listening, observer, settings)
    application = _application(site)
    runner = web.AppRunner(
        application,
        access_log=None,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_STOP_WITHIN_SECONDS,
        auto_decompress=False,  # No form of ours is compressed, and what others send need not be unpacked.
    )
    await site.database.open()
    await runner.setup()
    server: asyncio.Server | None = None
    try:
        try:
            server = await _listen(runner, site)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}WEB_PORT {listening.port} cannot be had: {error.strerror}", "Choose another one."
            ) from error
        _log.info("serving", address=listening.url, page=bool(site.tokens))
        yield
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()
        await end(site.long_work.values())
        await site.database.close()


async def _listen(runner: web.AppRunner, site: Site) -> asyncio.Server:
    """Listen, and keep strangers from using up what deliveries need: files, and memory."""
    loop, served = asyncio.get_running_loop(), runner.server
    if served is None:
        raise RuntimeError("the runner is not set up")

    def accepted() -> asyncio.BaseProtocol:
        if len(served.connections) >= MOST_CONNECTIONS:
            return _Refused()
        handler = served()
        loop.call_later(_ASK_WITHIN_SECONDS, _hang_up_on_who_has_not_asked, handler, site)
        return handler

    listening = site.listening
    return await loop.create_server(
        accepted,
        listening.address,
        listening.port,
        ssl=listening.tls,
        ssl_handshake_timeout=None if listening.tls is None else _ASK_WITHIN_SECONDS,
    )


class _Refused(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _hang_up_on_who_has_not_asked(handler: asyncio.Protocol, site: Site) -> None:
    transport = getattr(handler, "transport", None)
    if transport is not None and transport not in site.asked:
        transport.abort()


def _site(listening: Listening, observer: HealthMonitor, settings: CurrentSettings) -> Site:
    everything, view = settings.now.web_token, settings.now.web_view_token
    return Site(
        listening=listening,
        observer=observer,
        settings=settings,
        database=PageDatabase(settings.now.database_url.get_secret_value()),
        tokens=Tokens(
            everything=None if everything is None else everything.get_secret_value(),
            view=None if view is None else view.get_secret_value(),
        ),
    )


def _application(site: Site) -> web.Application:
    application = web.Application(middlewares=MIDDLEWARES, client_max_size=_MOST_BYTES_SENT)
    application[SITE] = site
    for method, path, handler, right in (*_MONITORING, *(_PAGE if site.tokens else _WITHOUT_PAGE)):
        application.router.add_route(method, path, handler)
        site.needed[handler] = right
    site.within_seconds[endpoints.test] = _LONGEST_TEST_SECONDS
    return application
