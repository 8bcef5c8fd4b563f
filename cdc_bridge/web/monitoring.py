"""/metrics, /healthz and /readyz.

``/healthz`` says whether the daemon is alive; restart one that is not. ``/readyz`` lists problems that a restart does
not solve. ``/healthz`` is open. Where other machines reach the server, the other two require one of the dashboard's
tokens: ``Authorization: Bearer ...``.
"""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import web

from cdc_bridge import metrics
from cdc_bridge.escaping import escaped
from cdc_bridge.runtime.metrics_collector import HealthCollector
from cdc_bridge.web.requests import note_right_token, note_wrong_token, site_of

_BEARER = "bearer "


async def alive(request: web.Request) -> web.Response:
    """Respond whether the daemon is alive."""
    problem = site_of(request).health.why_not_alive()
    return _text(HTTPStatus.OK, "alive") if problem is None else _text(HTTPStatus.SERVICE_UNAVAILABLE, problem)


async def ready(request: web.Request) -> web.Response:
    """Respond with the problems, or that there is none."""
    _require_token(request)
    snapshot = await site_of(request).health.snapshot()
    if not snapshot.problems:
        return _text(HTTPStatus.OK, "ready")
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(str(problem) for problem in snapshot.problems))


async def show_metrics(request: web.Request) -> web.Response:
    """Respond with the metrics for Prometheus."""
    _require_token(request)
    snapshot = await site_of(request).health.snapshot()
    body = metrics.exposition(HealthCollector(snapshot))
    return web.Response(body=body, headers={"content-type": metrics.CONTENT_TYPE})


def _require_token(request: web.Request) -> None:
    site = site_of(request)
    if site.listen.is_local:
        return
    given = request.headers.get("authorization", "")
    if given[: len(_BEARER)].lower() == _BEARER:
        if site.tokens.right_of(given[len(_BEARER) :].strip()) is not None:
            note_right_token(request)
            return
        if (wait := note_wrong_token(request, time.monotonic())) > 0:
            raise web.HTTPTooManyRequests(
                text="Too many wrong tokens from your address.", headers={"retry-after": str(int(wait) + 1)}
            )
    raise web.HTTPUnauthorized(text="This requires one of the dashboard's tokens: Authorization: Bearer ...")


def _text(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=escaped(f"{text}\n", keep="\n"), headers={"cache-control": "no-store"})
