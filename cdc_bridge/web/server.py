"""The HTTP server: routes, and the right that each requires."""

from __future__ import annotations

import asyncio
import time
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
from cdc_bridge.web.connections import IDLE_SECONDS, ConnectionListener
from cdc_bridge.web.database import DashboardDatabase
from cdc_bridge.web.guard import MIDDLEWARES
from cdc_bridge.web.limited_log import ServerLogger
from cdc_bridge.web.listen_settings import ListenSettings
from cdc_bridge.web.pages import deliveries, delivery_retry, endpoint_definition, endpoints, overview, sign_in
from cdc_bridge.web.requests import SITE, Handler, Site
from cdc_bridge.web.static_files import STATIC

_MOST_BYTES_SENT = 64 * 1024
_OPEN = None
_STOP_WITHIN_SECONDS = 1.0
_UPLOAD_DISCARDED_SECONDS = 1.0
_TEST_TIMEOUT_SECONDS = 620.0  # two time-outs of an endpoint at their maximum

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
    runner = web.AppRunner(
        _application(site),
        access_log=None,
        logger=ServerLogger(site.log),
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=_UPLOAD_DISCARDED_SECONDS,
        shutdown_timeout=_STOP_WITHIN_SECONDS,
        auto_decompress=False,  # Browsers compress no form; what else is sent need not be unpacked.
    )
    await site.database.open()
    await runner.setup()
    accepting: asyncio.Task[None] | None = None
    try:
        if runner.server is None:
            raise RuntimeError("the runner is not set up")
        try:
            site.connections = ConnectionListener(listen, runner.server, site.log)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}WEB_PORT {listen.port} cannot be used: {error.strerror}", "Choose another port."
            ) from error
        accepting = asyncio.create_task(site.connections.run())
        _log.info("serving", address=listen.url, dashboard=bool(site.tokens))
        yield
    finally:
        if accepting is not None:
            await end([accepting])
        await runner.cleanup()
        if site.connections is not None:
            site.connections.close_served()
        site.log.flush(time.monotonic(), at_once=True)
        await end(site.replays.values())
        await site.database.close()


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
