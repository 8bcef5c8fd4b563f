"""The HTTP server: routes, the right that each requires, and limits on connections."""

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
from cdc_bridge.web.database import DashboardDatabase
from cdc_bridge.web.guard import MIDDLEWARES
from cdc_bridge.web.listen_settings import ListenSettings
from cdc_bridge.web.pages import deliveries, delivery_retry, endpoint_definition, endpoints, overview, sign_in
from cdc_bridge.web.requests import SITE, Handler, Site
from cdc_bridge.web.static_files import STATIC

_MOST_BYTES_SENT = 64 * 1024
_OPEN = None
_STOP_WITHIN_SECONDS = 1.0
_IDLE_SECONDS = 30.0
_REQUEST_WITHIN_SECONDS = 10.0
_TEST_TIMEOUT_SECONDS = 620.0  # two time-outs of an endpoint at their maximum
MOST_CONNECTIONS = 100
"""Limit on the file descriptors that the server takes from the daemon."""

_MONITORING: tuple[tuple[str, str, Handler, Right | None], ...] = (
    ("GET", "/metrics", monitoring.show_metrics, _OPEN),
    ("GET", "/healthz", monitoring.alive, _OPEN),
    ("GET", "/readyz", monitoring.ready, _OPEN),
)
_WITHOUT_DASHBOARD: tuple[tuple[str, str, Handler, Right | None], ...] = (("GET", "/", sign_in.no_dashboard, _OPEN),)
_DASHBOARD: tuple[tuple[str, str, Handler, Right | None], ...] = (
    ("GET", "/static/{name}", STATIC.serve, _OPEN),
    ("GET", "/sign-in", sign_in.form, _OPEN),
    ("POST", "/sign-in", sign_in.sign_in, _OPEN),
    ("POST", "/sign-out", sign_in.sign_out, Right.VIEW),
    ("GET", "/", overview.show, Right.VIEW),
    ("GET", "/endpoints/new", endpoint_definition.new, Right.ALL),
    ("POST", "/endpoints/new", endpoint_definition.add, Right.ALL),
    ("GET", "/endpoints/{name}", endpoints.show, Right.VIEW),
    ("GET", "/endpoints/{name}/change", endpoint_definition.change_form, Right.ALL),
    ("POST", "/endpoints/{name}/change", endpoint_definition.change, Right.ALL),
    ("POST", "/endpoints/{name}/pause", endpoints.pause, Right.ALL),
    ("POST", "/endpoints/{name}/resume", endpoints.resume, Right.ALL),
    ("POST", "/endpoints/{name}/test", endpoints.test, Right.ALL),
    ("GET", "/endpoints/{name}/rotate-secret", endpoints.rotate_form, Right.ALL),
    ("POST", "/endpoints/{name}/rotate-secret", endpoints.rotate, Right.ALL),
    ("GET", "/endpoints/{name}/remove", endpoints.remove_form, Right.ALL),
    ("POST", "/endpoints/{name}/remove", endpoints.remove, Right.ALL),
    ("POST", "/endpoints/{name}/retry-dead", delivery_retry.replay_dead, Right.ALL),
    ("GET", "/deliveries", deliveries.list_, Right.VIEW),
    ("POST", "/deliveries/retry", delivery_retry.retry_selected, Right.ALL),
    ("GET", "/deliveries/{endpoint}/{seq:[0-9]{1,19}}", deliveries.show, Right.VIEW),
    ("POST", "/deliveries/{endpoint}/{seq:[0-9]{1,19}}/send", delivery_retry.send_again, Right.ALL),
)

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def web_server(listen: ListenSettings, health: HealthMonitor, settings: CurrentSettings) -> AsyncIterator[None]:
    """Serve for as long as the block runs.

    Args:
        listen: Address, port and TLS.
        health: Has the health snapshots.
        settings: Have the tokens and the database URL.

    Raises:
        SettingsError: The port cannot be used.
    """
    site = _site(listen, health, settings)
    application = _application(site)
    runner = web.AppRunner(
        application,
        access_log=None,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_STOP_WITHIN_SECONDS,
        auto_decompress=False,  # Browsers compress no form; what else is sent need not be unpacked.
    )
    await site.database.open()
    await runner.setup()
    server: asyncio.Server | None = None
    try:
        try:
            server = await _listen(runner, site)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}WEB_PORT {listen.port} cannot be used: {error.strerror}", "Choose another port."
            ) from error
        _log.info("serving", address=listen.url, dashboard=bool(site.tokens))
        yield
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()
        await end(site.replays.values())
        await site.database.close()


async def _listen(runner: web.AppRunner, site: Site) -> asyncio.Server:
    """Listen, within limits that leave file descriptors and memory to deliveries."""
    loop, served = asyncio.get_running_loop(), runner.server
    if served is None:
        raise RuntimeError("the runner is not set up")

    def protocol() -> asyncio.BaseProtocol:
        if len(served.connections) >= MOST_CONNECTIONS:
            return _Rejected()
        handler = served()
        loop.call_later(_REQUEST_WITHIN_SECONDS, _close_without_request, handler, site)
        return handler

    listen = site.listen
    return await loop.create_server(
        protocol,
        listen.address,
        listen.port,
        ssl=listen.tls,
        ssl_handshake_timeout=None if listen.tls is None else _REQUEST_WITHIN_SECONDS,
    )


class _Rejected(asyncio.Protocol):
    """A connection beyond the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _close_without_request(handler: asyncio.Protocol, site: Site) -> None:
    transport = getattr(handler, "transport", None)
    if transport is not None and transport not in site.active:
        transport.abort()


def _site(listen: ListenSettings, health: HealthMonitor, settings: CurrentSettings) -> Site:
    everything, view = settings.now.web_token, settings.now.web_view_token
    return Site(
        listen=listen,
        health=health,
        settings=settings,
        database=DashboardDatabase(settings.now.database_url.get_secret_value()),
        tokens=Tokens(
            everything=None if everything is None else everything.get_secret_value(),
            view=None if view is None else view.get_secret_value(),
        ),
    )


def _application(site: Site) -> web.Application:
    application = web.Application(middlewares=MIDDLEWARES, client_max_size=_MOST_BYTES_SENT)
    application[SITE] = site
    for method, path, handler, right in (*_MONITORING, *(_DASHBOARD if site.tokens else _WITHOUT_DASHBOARD)):
        application.router.add_route(method, path, handler)
        site.required_rights[handler] = right
    site.timeouts[endpoints.test] = _TEST_TIMEOUT_SECONDS
    return application
