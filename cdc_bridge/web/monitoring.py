"""/metrics, /healthz and /readyz.

``/healthz`` says whether the daemon is alive; one that is not is to be started again. ``/readyz`` says whether all
is well, and what is not in words; starting it again mends none of that. The first is for everybody. Where other
machines reach them, the other two want one of the page's tokens: ``Authorization: Bearer ...``.
"""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import web

from cdc_bridge import metrics
from cdc_bridge.runtime.metrics_collector import HealthCollector
from cdc_bridge.web.requests import address_of, site_of

_BEARER = "bearer "


async def alive(request: web.Request) -> web.Response:
    """Answer whether the daemon is alive."""
    problem = site_of(request).observer.why_not_alive()
    return _words(HTTPStatus.OK, "alive") if problem is None else _words(HTTPStatus.SERVICE_UNAVAILABLE, problem)


async def ready(request: web.Request) -> web.Response:
    """Answer whether all is well, and what is not."""
    _require_token(request)
    look = await site_of(request).observer.look()
    if not look.problems:
        return _words(HTTPStatus.OK, "ready")
    return _words(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(str(problem) for problem in look.problems))


async def figures(request: web.Request) -> web.Response:
    """Answer with the metrics, for Prometheus."""
    _require_token(request)
    look = await site_of(request).observer.look()
    body = metrics.exposition(HealthCollector(look))
    return web.Response(body=body, headers={"content-type": metrics.CONTENT_TYPE})


def _require_token(request: web.Request) -> None:
    site, now = site_of(request), time.monotonic()
    if site.listening.to_this_machine_only:
        return
    given = request.headers.get("authorization", "")
    if given[: len(_BEARER)].lower() == _BEARER:
        if (wait := site.bearer_limit.seconds_to_wait(address_of(request), now)) > 0:
            raise web.HTTPTooManyRequests(
                text="Too many wrong tokens came from your address.", headers={"retry-after": str(int(wait) + 1)}
            )
        if site.tokens.right_of(given[len(_BEARER) :].strip()) is not None:
            return
        site.bearer_limit.failed(address_of(request), now)
    raise web.HTTPUnauthorized(text="This needs one of the page's tokens: Authorization: Bearer ...")


def _words(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={"cache-control": "no-store"})
