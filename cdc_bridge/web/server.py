"""The daemon's HTTP server: what is served under which path, and who may ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from cdc_bridge.errors import SettingsError
from cdc_bridge.operations.health.observer import Observer
from cdc_bridge.operations.reload import CurrentSettings
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
async def web_server(listening: Listening, observer: Observer, settings: CurrentSettings) -> AsyncIterator[None]:
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
    runner = web.AppRunner(application, access_log=None)
    await site.database.open()
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, listening.address, listening.port, ssl_context=listening.tls).start()
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}WEB_PORT {listening.port} cannot be had: {error.strerror}", "Choose another one."
            ) from error
        _log.info("serving", address=listening.url, page=bool(site.tokens))
        yield
    finally:
        await runner.cleanup()
        await end(site.long_work)
        await site.database.close()


def _site(listening: Listening, observer: Observer, settings: CurrentSettings) -> Site:
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
    return application
