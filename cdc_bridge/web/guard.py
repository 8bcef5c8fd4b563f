"""What every request passes, in this order, before a page sees it.

1. Whatever is answered gets the headers that forbid browsers everything that the pages do not need; and an error is
   a page in words, or a line for who is no browser.
2. On loopback the name that was asked for has to be this machine's: else a web site that was opened in a browser here
   could have its own name lead to this port, and read what it answers (DNS rebinding).
3. Somebody with the right that the handler needs is signed in. A handler that nobody has thought of needs every right.
4. A request that changes something comes from a page of ours: it has the session's form token, and the browser says
   that no other site sent it. (OWASP, "Cross-Site Request Forgery Prevention".)
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web

from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError
from cdc_bridge.web.access import Right
from cdc_bridge.web.notices import sentence
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import (
    Handler,
    form_of,
    is_refresh,
    note_session,
    session_of,
    site_of,
)
from cdc_bridge.web.time_limit import within

FORM_TOKEN = "form_token"  # noqa: S105 - a field's name
SIGN_IN = "/sign-in"
LONGEST_SECONDS = 20.0
"""A handler that takes longer is given up, if nothing else is said of it."""

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
_SAID = {
    HTTPStatus.UNAUTHORIZED: "Sign in first.",
    HTTPStatus.FORBIDDEN: "The token that you signed in with does not allow this.",
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.METHOD_NOT_ALLOWED: "That cannot be done here.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "That was more than the page takes.",
}
_NAMES_OF_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

_log = structlog.get_logger(__name__)


def cookie_name(request: web.Request) -> str:
    """Return the name of the cookie of a session; over HTTPS one that no other host and no other path can set."""
    listening = site_of(request).listening
    # Cookies are one host's, whatever the port, and two daemons may be on one machine.
    name = f"cdc-bridge-{listening.port}"
    return f"__Host-{name}" if listening.over_https else name


@web.middleware
async def answer_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with our headers, also where something is wrong."""
    response = await _answer(request, handler)
    response.headers.update(_HEADERS)
    response.headers.setdefault("cache-control", "no-store")
    if site_of(request).listening.over_https:
        response.headers["strict-transport-security"] = _ONE_YEAR_OF_HTTPS
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    site = site_of(request)
    if request.transport is not None:
        site.asked.add(request.transport)
    longest_seconds = site.within_seconds.get(request.match_info.handler, LONGEST_SECONDS)
    try:
        return await within(longest_seconds, _called(handler, request))
    except web.HTTPRedirection as redirection:
        return web.Response(status=redirection.status, headers={"location": redirection.headers["location"]})
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        said = _SAID.get(status, "") if error.text is None or _is_aiohttps(error) else error.text
        headers = {name: error.headers[name] for name in ("allow", "retry-after") if name in error.headers}
        return await _in_words(request, status, said, headers=headers)
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon goes on
        return await _in_words(request, *_failure(request, error))


async def _called(handler: Handler, request: web.Request) -> web.StreamResponse:
    return await handler(request)


def _failure(request: web.Request, error: Exception) -> tuple[HTTPStatus, str, str]:
    """Return what to answer, what to say of it, and what mends it."""
    match error:
        case DatabaseUnavailable() | InstallationError():
            return HTTPStatus.SERVICE_UNAVAILABLE, sentence(error.problem), error.remedy
        case BridgeError():
            return HTTPStatus.BAD_REQUEST, sentence(error.problem), error.remedy
        case TimeoutError():
            return HTTPStatus.GATEWAY_TIMEOUT, "This took too long, and was given up.", ""
        case _:
            _log.error("page ended by a surprise", method=request.method, path=request.path, exc_info=error)
            return HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong; the log has it.", ""


def _is_aiohttps(error: web.HTTPException) -> bool:
    """Return whether an error's words are aiohttp's own, which tell people little."""
    return isinstance(error, web.HTTPRequestEntityTooLarge) or (error.text or "").startswith(str(error.status))


async def _in_words(
    request: web.Request, status: HTTPStatus, problem: str, remedy: str = "", headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    if "text/html" not in request.headers.get("accept", ""):
        text = f"{problem}\n{remedy}".strip() or status.phrase
        return web.Response(status=status, text=f"{text}\n", headers=headers)
    return await page(
        request, "error.html", status=status, headers=headers, title=status.phrase, problem=problem, remedy=remedy
    )


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse names that are not this machine's, where only this machine is to reach it."""
    listening = site_of(request).listening
    if listening.to_this_machine_only and _host_name(request) not in {*_NAMES_OF_LOOPBACK, listening.address}:
        raise web.HTTPMisdirectedRequest(text="This is served to this machine alone: ask for localhost or 127.0.0.1.")
    return await handler(request)


def _host_name(request: web.Request) -> str | None:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return None


@web.middleware
async def check_right(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let nobody through who is not signed in with the right that the handler needs."""
    if request.match_info.http_exception is not None:
        raise request.match_info.http_exception
    site = site_of(request)
    cookie = request.cookies.get(cookie_name(request))
    session = cookie and site.sessions.find(cookie, time.monotonic(), by_itself=is_refresh(request))
    if session:
        note_session(request, session)
    needed = site.needed.get(request.match_info.handler, Right.ALL)
    if needed is None:
        return await handler(request)
    if not session:
        if request.method != "GET" or is_refresh(request):
            raise web.HTTPUnauthorized(text="You are signed out. Sign in again, and then once more.")
        raise web.HTTPSeeOther(SIGN_IN if request.path == "/" else f"{SIGN_IN}?next={quote(request.path_qs, safe='')}")
    if not session.right.includes(needed):
        raise web.HTTPForbidden
    return await handler(request)


@web.middleware
async def check_sender(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let nothing change that another site has sent."""
    if request.method not in {"GET", "HEAD"}:
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise web.HTTPForbidden(text="Another site has sent this.")
        origin = request.headers.get("origin")
        if origin is not None and "sec-fetch-site" not in request.headers and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="Another site has sent this.")
        if site_of(request).needed.get(request.match_info.handler, Right.ALL) is not None:
            sent = (await form_of(request)).get(FORM_TOKEN, "")
            if not hmac.compare_digest(sent.encode("utf-8", "replace"), session_of(request).form_token.encode()):
                raise web.HTTPForbidden(
                    text="This form is of an earlier session. Go back, load the page anew, and send it again."
                )
    return await handler(request)


MIDDLEWARES = (answer_in_words, check_host, check_right, check_sender)
