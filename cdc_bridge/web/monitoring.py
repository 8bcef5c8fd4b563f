"""/metrics, /healthz and /readyz.

``/healthz`` says whether the daemon is alive; restart one that is not. ``/readyz`` lists problems that a restart does
not solve. ``/healthz`` is open. Where other machines reach the server, the other two require one of the dashboard's
or the API's tokens: ``Authorization: Bearer ...``.
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from cdc_bridge import metrics
from cdc_bridge.access.known_tokens import Place
from cdc_bridge.escaping import escaped
from cdc_bridge.runtime.metrics_collector import HealthCollector
from cdc_bridge.web.bearer import holder_by_bearer
from cdc_bridge.web.requests import site_of


async def alive(request: web.Request) -> web.Response:
    """Respond whether the daemon is alive."""
    problem = site_of(request).health.why_not_alive()
    return _text(HTTPStatus.OK, "alive") if problem is None else _text(HTTPStatus.SERVICE_UNAVAILABLE, problem)


async def ready(request: web.Request) -> web.Response:
    """Respond with the problems, or that there is none."""
    await _require_token(request)
    snapshot = await site_of(request).health.snapshot()
    if not snapshot.problems:
        return _text(HTTPStatus.OK, "ready")
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(str(problem) for problem in snapshot.problems))


async def show_metrics(request: web.Request) -> web.Response:
    """Respond with the metrics for Prometheus."""
    await _require_token(request)
    snapshot = await site_of(request).health.snapshot()
    body = metrics.exposition(HealthCollector(snapshot))
    return web.Response(body=body, headers={"content-type": metrics.CONTENT_TYPE})


async def _require_token(request: web.Request) -> None:
    if not site_of(request).listen.is_local:
        await holder_by_bearer(request, Place.DASHBOARD, Place.API, wanted="one of the dashboard's or the API's tokens")


def _text(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=escaped(f"{text}\n", keep="\n"), headers={"cache-control": "no-store"})
