"""The HTTP server: routes, and the right that each requires."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from cdc_bridge.access.known_tokens import KnownTokens, Place, ReadTokens, read_tokens
from cdc_bridge.access.rights import Holder, Right
from cdc_bridge.errors import SettingsError
from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.settings import PREFIX
from cdc_bridge.tasks import end
from cdc_bridge.web import monitoring
from cdc_bridge.web.api.routes import add_api
from cdc_bridge.web.connections import IDLE_SECONDS, ConnectionListener
from cdc_bridge.web.database import WebDatabase
from cdc_bridge.web.guard import MIDDLEWARES
from cdc_bridge.web.late_writes import LateWrites
from cdc_bridge.web.limited_log import ServerLogger
from cdc_bridge.web.listen_settings import ListenSettings
from cdc_bridge.web.pages import (
    audit,
    deliveries,
    delivery_retry,
    endpoint_definition,
    endpoints,
    overview,
    portal_sign_in,
    send_again,
    sign_in,
)
from cdc_bridge.web.portal import NamedBy
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
_DASHBOARD: tuple[tuple[str, str, Handler, Right | None], ...] = (
    ("GET", "/static/{name}", STATIC.serve, _OPEN),
    ("GET", "/sign-in", sign_in.form, _OPEN),
    ("POST", "/sign-in", sign_in.sign_in, _OPEN),
    ("GET", "/portal", portal_sign_in.form, _OPEN),
    ("POST", "/portal", portal_sign_in.sign_in, _OPEN),
    ("POST", "/sign-out", sign_in.sign_out, Right.VIEW),
    ("GET", "/", overview.show, Right.VIEW),
    ("GET", "/endpoints/new", endpoint_definition.new, Right.CHANGE),
    ("POST", "/endpoints/new", endpoint_definition.add, Right.CHANGE),
    ("GET", "/endpoints/{name}", endpoints.show, Right.VIEW),
    ("GET", "/endpoints/{name}/change", endpoint_definition.change_form, Right.CHANGE),
    ("POST", "/endpoints/{name}/change", endpoint_definition.change, Right.CHANGE),
    ("POST", "/endpoints/{name}/pause", endpoints.pause, Right.CHANGE),
    ("POST", "/endpoints/{name}/resume", endpoints.resume, Right.CHANGE),
    ("POST", "/endpoints/{name}/test", endpoints.test, Right.CHANGE),
    ("GET", "/endpoints/{name}/rotate-secret", endpoints.rotate_form, Right.CHANGE),
    ("POST", "/endpoints/{name}/rotate-secret", endpoints.rotate, Right.CHANGE),
    ("GET", "/endpoints/{name}/remove", endpoints.remove_form, Right.CHANGE),
    ("POST", "/endpoints/{name}/remove", endpoints.remove, Right.CHANGE),
    ("GET", "/endpoints/{name}/resend", send_again.resend_form, Right.CHANGE),
    ("POST", "/endpoints/{name}/resend", send_again.resend, Right.CHANGE),
    ("GET", "/endpoints/{name}/backfill", send_again.backfill_form, Right.CHANGE),
    ("POST", "/endpoints/{name}/backfill", send_again.backfill, Right.CHANGE),
    ("GET", "/endpoints/{name}/reconcile", send_again.reconcile_form, Right.CHANGE),
    ("POST", "/endpoints/{name}/reconcile", send_again.reconcile, Right.CHANGE),
    ("POST", "/endpoints/{name}/stop-work", send_again.stop, Right.CHANGE),
    ("GET", "/audit", audit.show, Right.CHANGE),
    ("GET", "/deliveries", deliveries.list_, Right.VIEW),
    ("POST", "/deliveries/send", delivery_retry.send_selected, Right.CHANGE),
    ("GET", "/deliveries/{endpoint}/{seq:[0-9]{1,19}}", deliveries.show, Right.VIEW),
    ("POST", "/deliveries/{endpoint}/{seq:[0-9]{1,19}}/send", delivery_retry.send_again, Right.CHANGE),
)

_OF_PORTAL: dict[Handler, NamedBy] = {
    sign_in.sign_out: NamedBy.NOTHING,
    overview.show: NamedBy.HOME,
    endpoints.show: NamedBy.PATH,
    endpoints.test: NamedBy.PATH,
    deliveries.list_: NamedBy.QUERY,
    deliveries.show: NamedBy.PATH,
    delivery_retry.send_again: NamedBy.PATH,
}
"""What is open to the vendor of an endpoint, with the right that it requires of everybody. All else is closed."""

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
    await site.tokens.refresh()
    await runner.setup()
    accepting: asyncio.Task[None] | None = None
    writing = asyncio.create_task(site.late_writes.run())
    try:
        if runner.server is None:
            raise RuntimeError("the runner is not set up")
        try:
            site.connections = ConnectionListener(listen, runner.server, site.log)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}WEB_PORT {listen.port} cannot be used: {error.strerror}",
                f"Choose another port. To see who has it: ss -ltnp 'sport = :{listen.port}'",
            ) from error
        accepting = asyncio.create_task(site.connections.run())
        _log.info("serving", address=listen.url, **_served(site))
        yield
    finally:
        if accepting is not None:
            await end([accepting])
        await runner.cleanup()
        if site.connections is not None:
            site.connections.close_served()
        site.log.flush(time.monotonic(), at_once=True)
        await end([*site.replays.values(), writing])
        await site.works.close()
        await site.tokens.close()
        await site.database.close()


def _served(site: Site) -> dict[str, bool]:
    return {place.name.lower(): site.tokens.is_open(place) for place in (Place.DASHBOARD, Place.API)}


def _site(listen: ListenSettings, health: HealthMonitor, settings: CurrentSettings) -> Site:
    database = WebDatabase(settings.now.database_url.get_secret_value())
    given = {
        Place.DASHBOARD: ("web_token", settings.now.web_token),
        Place.API: ("web_api_token", settings.now.web_api_token),
    }
    of_settings = {
        place: (Holder(name, Right.CHANGE), token.get_secret_value())
        for place, (name, token) in given.items()
        if token is not None
    }
    return Site(
        listen=listen,
        health=health,
        settings=settings,
        database=database,
        tokens=KnownTokens(of_settings, _reading(database)),
        late_writes=LateWrites(database),
    )


def _reading(database: WebDatabase) -> ReadTokens:
    return lambda known: database.read(lambda connection: read_tokens(connection, known))


def _application(site: Site) -> web.Application:
    application = web.Application(middlewares=MIDDLEWARES, client_max_size=_MOST_BYTES_SENT)
    application[SITE] = site
    site.of_portal |= _OF_PORTAL
    for method, path, handler, right in (*_MONITORING, *_DASHBOARD):
        application.router.add_route(method, path, handler)
        site.required_rights[handler] = right
    site.of_dashboard |= {handler for _, _, handler, _ in _DASHBOARD}
    site.timeouts[endpoints.test] = _TEST_TIMEOUT_SECONDS
    add_api(application, site)
    return application
