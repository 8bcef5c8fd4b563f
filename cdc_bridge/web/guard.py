"""What every request passes before its handler, in this order.

1. Every response gets security headers. An error becomes a page, or a line of text for a client that is no browser; of
   the API, a problem.
2. On loopback the host that was asked for has to be this machine: else a web site opened in a browser here could
   resolve its own name to this port and read the responses (DNS rebinding).
3. The session has the right that the handler requires. A handler without a declared right requires all rights. One of
   the API requires a token with that right instead, and looks at no session. A token that was removed, or has expired,
   ends its sessions. Without any token there is neither. A session in the portal is admitted to what is about its own
   endpoint, and open to it (:mod:`cdc_bridge.web.portal`); everything else is not there.
4. A request that changes something comes from the dashboard: it carries the session's form token, and the browser
   reports no other site as its sender. (OWASP, "Cross-Site Request Forgery Prevention".) A request to the API needs
   none of that: no browser adds a token by itself.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from aiohttp import web

from cdc_bridge.access.known_tokens import Place
from cdc_bridge.access.rights import Right
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError
from cdc_bridge.escaping import escaped
from cdc_bridge.settings import PREFIX
from cdc_bridge.web import portal
from cdc_bridge.web.access import OF_PORTAL, Session
from cdc_bridge.web.api.problems import Problem, problem_of
from cdc_bridge.web.bearer import holder_by_bearer
from cdc_bridge.web.notices import sentence
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import (
    Handler,
    address_of,
    form_of,
    is_refresh,
    note_holder,
    note_right_token,
    note_session,
    session_of,
    signed_in,
    site_of,
)
from cdc_bridge.web.time_limit import within

FORM_TOKEN = "form_token"  # noqa: S105 - a field's name
SIGN_IN = "/sign-in"
HANDLER_TIMEOUT_SECONDS = 20.0
"""Default time limit of a handler."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_ONE_YEAR_OF_HTTPS = "max-age=31536000"
_MESSAGES = {
    HTTPStatus.UNAUTHORIZED: "Sign in first.",
    HTTPStatus.FORBIDDEN: "Your token does not allow this.",
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This method is not allowed here.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The request is too large.",
}
_TITLES = {
    HTTPStatus.BAD_REQUEST: "Not possible",
    HTTPStatus.UNAUTHORIZED: "Signed out",
    HTTPStatus.FORBIDDEN: "Not allowed",
}
_PASSED_ON = ("allow", "retry-after", "www-authenticate")
_API = "/api/"
_NO_RESOURCE = "There is no such resource."
_ADD_ONE = "nor is there a named token: cdc-bridge token add NAME"
_API_IS_OFF = f"The API is off: {PREFIX}WEB_API_TOKEN is not set, {_ADD_ONE}."
_DASHBOARD_IS_OFF = f"The dashboard is off: {PREFIX}WEB_TOKEN is not set, {_ADD_ONE}."
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


def is_of_api(request: web.Request) -> bool:
    """Return whether a request is to the API, whatever it asks for."""
    return request.path.startswith(_API)


def cookie_name(request: web.Request) -> str:
    """Return the name of the session cookie; over HTTPS one that no other host or path can set."""
    listen = site_of(request).listen
    # Cookies ignore the port, and two daemons may run on one machine.
    name = f"cdc-bridge-{listen.port}"
    return f"__Host-{name}" if listen.over_https else name


@web.middleware
async def respond(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add security headers, and turn errors into pages."""
    site = site_of(request)
    if site.connections is None:
        raise RuntimeError("a request without a connection")
    async with site.connections.handling(request):
        response = await _response(request, handler)
    if site.connections.should_close(request):
        response.force_close()
    response.headers.update(_HEADERS)
    response.headers.setdefault("cache-control", "no-store")
    if site.listen.over_https:
        response.headers["strict-transport-security"] = _ONE_YEAR_OF_HTTPS
    return response


async def _response(request: web.Request, handler: Handler) -> web.StreamResponse:
    site = site_of(request)
    timeout_seconds = site.timeouts.get(request.match_info.handler, HANDLER_TIMEOUT_SECONDS)
    try:
        return await within(timeout_seconds, _handled(handler, request))
    except web.HTTPRedirection as redirection:
        return web.Response(status=redirection.status, headers={"location": redirection.headers["location"]})
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        message = _message(request, status) if error.text is None or _is_default(error) else error.text
        headers = {name: error.headers[name] for name in _PASSED_ON if name in error.headers}
        return await _error(request, status, message, headers=headers)
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon goes on
        if is_of_api(request) and (problem := problem_of(error)) is not None:
            return problem.response()
        return await _error(request, *_failure(request, error))


def _message(request: web.Request, status: HTTPStatus) -> str:
    if status is HTTPStatus.NOT_FOUND and is_of_api(request):
        return _NO_RESOURCE if site_of(request).tokens.is_open(Place.API) else _API_IS_OFF
    return _MESSAGES.get(status, "")


async def _handled(handler: Handler, request: web.Request) -> web.StreamResponse:
    return await handler(request)


def _failure(request: web.Request, error: Exception) -> tuple[HTTPStatus, str, str]:
    """Return status, problem and remedy of an exception."""
    match error:
        case DatabaseUnavailable() | InstallationError():
            return HTTPStatus.SERVICE_UNAVAILABLE, sentence(error.problem), error.remedy
        case BridgeError():
            return HTTPStatus.BAD_REQUEST, sentence(error.problem), error.remedy
        case TimeoutError():
            return HTTPStatus.GATEWAY_TIMEOUT, "This took too long and was cancelled.", ""
        case _:
            resource = request.match_info.route.resource
            site_of(request).log.crashed.note(
                time.monotonic(),
                address_of(request),
                method=request.method,
                route="" if resource is None else resource.canonical,  # Not the path: it may name a reservation.
                exc_info=error,
            )
            return HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; see the log.", ""


def _is_default(error: web.HTTPException) -> bool:
    """Return whether an error has aiohttp's default text, which helps nobody."""
    return isinstance(error, web.HTTPRequestEntityTooLarge) or (error.text or "").startswith(str(error.status))


async def _error(
    request: web.Request, status: HTTPStatus, problem: str, remedy: str = "", headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    session = signed_in(request)
    if session is not None and session.endpoint is not None:
        problem, remedy = portal.neutral(status, problem), ""
    if is_of_api(request):
        return Problem(status, problem, remedy=remedy, headers=headers or {}).response()
    if "text/html" not in request.headers.get("accept", ""):
        text = escaped(f"{problem}\n{remedy}".strip(), keep="\n") or status.phrase
        return web.Response(status=status, text=f"{text}\n", headers=headers)
    return await page(
        request,
        "error.html",
        status=status,
        headers=headers,
        title=_TITLES.get(status, status.phrase),
        problem=problem,
        remedy=remedy,
        way_on=_way_on(request, session),
    )


def _way_on(request: web.Request, session: Session | None) -> tuple[str, str] | None:
    """Return path and label of the link on the page of an error; ``None``: nothing is open to this browser."""
    if session is None:
        is_open = site_of(request).tokens.is_open(Place.DASHBOARD)
        return (_sign_in_form(request), "Sign in") if is_open else None
    return ("/", "Endpoints") if session.endpoint is None else (portal.home_of(session.endpoint), session.endpoint)


def _sign_in_form(request: web.Request) -> str:
    """Return the path of the form that begins a session like the one that the browser had."""
    return portal.SIGN_IN if request.cookies.get(cookie_name(request), "").startswith(OF_PORTAL) else SIGN_IN


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject names that are not this machine's, where only this machine may reach the server."""
    listen = site_of(request).listen
    if listen.is_local and _host_name(request) not in {*_LOOPBACK_NAMES, listen.address}:
        raise web.HTTPMisdirectedRequest(text="This is served to this machine only: use localhost or 127.0.0.1.")
    return await handler(request)


def _host_name(request: web.Request) -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return None


@web.middleware
async def check_right(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require a session with the right that the handler requires."""
    if request.match_info.http_exception is not None:
        if not is_of_api(request):
            _session(request)  # The page that says so has its menu.
        raise request.match_info.http_exception
    site, asked = site_of(request), request.match_info.handler
    if asked in site.of_api:
        await _check_api(request)
        return await handler(request)
    if asked in site.of_dashboard:
        await site.tokens.refresh()
        if not site.tokens.is_open(Place.DASHBOARD):
            raise web.HTTPNotFound(text=_DASHBOARD_IS_OFF)
    session = _session(request)
    required = site.required_rights.get(asked, Right.CHANGE)
    if required is None:
        return await handler(request)
    if not session:
        raise _signed_out(request)
    if session.endpoint is not None:
        _check_portal(request, session.endpoint)
    if not session.right.includes(required):
        raise web.HTTPForbidden
    return await handler(request)


def _signed_out(request: web.Request) -> web.HTTPException:
    if request.method != "GET" or is_refresh(request):
        return web.HTTPUnauthorized(text="You are signed out. Sign in and try again.")
    form = _sign_in_form(request)
    has_next = form == SIGN_IN and request.path != "/"
    return web.HTTPSeeOther(f"{form}?next={quote(request.path_qs, safe='')}" if has_next else form)


def _check_portal(request: web.Request, endpoint: str) -> None:
    """Admit a request of a session in the portal only if it is about the session's endpoint."""
    site, asked = site_of(request), request.match_info
    named_by = site.of_portal.get(asked.handler)
    try:
        elsewhere = portal.redirection(endpoint, named_by, request.path, asked, request.query)
    except portal.NotAdmitted:
        raise web.HTTPNotFound from None
    if elsewhere is not None:
        raise web.HTTPSeeOther(elsewhere)
    if site.required_rights.get(asked.handler, Right.CHANGE) is Right.CHANGE:
        wait = site.vendor_limit.note(endpoint, time.monotonic())
        if wait > 0:
            raise web.HTTPTooManyRequests(
                text="Too many requests within a minute. Try again later.", headers={"retry-after": str(int(wait) + 1)}
            )


async def _check_api(request: web.Request) -> None:
    site = site_of(request)
    await site.tokens.refresh()
    if not site.tokens.is_open(Place.API):
        raise web.HTTPNotFound
    holder = await holder_by_bearer(request, Place.API, wanted="one of the API's tokens")
    if not holder.right.includes(site.required_rights[request.match_info.handler] or Right.VIEW):
        raise web.HTTPForbidden
    note_holder(request, holder)


def _session(request: web.Request) -> Session | None:
    """Return the session of a request, unless its token was removed or has expired."""
    site = site_of(request)
    cookie = request.cookies.get(cookie_name(request))
    session = cookie and site.sessions.find(cookie, time.monotonic(), automatic=is_refresh(request))
    if not session:
        return None
    if not site.tokens.is_valid(session.holder):
        site.sessions.close_all_of(session.holder)
        return None
    note_session(request, session)
    if session.endpoint is None:  # Of many connections, those of vendors are no better than a stranger's.
        note_right_token(request)
    return session


@web.middleware
async def check_sender(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reject changes that another site sends."""
    if request.method not in {"GET", "HEAD"} and request.match_info.handler not in site_of(request).of_api:
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise web.HTTPForbidden(text="Another site sent this request.")
        origin = request.headers.get("origin")
        if origin is not None and "sec-fetch-site" not in request.headers and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="Another site sent this request.")
        if site_of(request).required_rights.get(request.match_info.handler, Right.CHANGE) is not None:
            sent = (await form_of(request)).get(FORM_TOKEN, "")
            if not hmac.compare_digest(sent.encode("utf-8", "replace"), session_of(request).form_token.encode()):
                raise web.HTTPForbidden(
                    text="This form belongs to an earlier session. Go back, reload and send it again."
                )
    return await handler(request)


MIDDLEWARES = (respond, check_host, check_right, check_sender)
