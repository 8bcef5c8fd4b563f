"""Sign-in with a token from the settings, and sign-out."""

from __future__ import annotations

import time
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from cdc_bridge.settings import PREFIX
from cdc_bridge.web.access import LONGEST_SECONDS
from cdc_bridge.web.guard import cookie_name
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import (
    address_of,
    form_of,
    note_right_token,
    note_wrong_token,
    session_of,
    signed_in,
    site_of,
)

_MOST_TOKEN_CHARACTERS = 1000


async def no_dashboard(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler gets one
    """Respond how to turn the dashboard on."""
    return web.Response(
        status=HTTPStatus.NOT_FOUND,
        text=f"The dashboard is off, as {PREFIX}WEB_TOKEN is not set.\nMake a token: openssl rand -hex 24\n",
    )


async def form(request: web.Request) -> web.StreamResponse:
    """Show the sign-in form."""
    if signed_in(request) is not None:
        raise web.HTTPSeeOther("/")
    return await page(request, "sign_in.html", title="Sign in", next=_next(request.query.get("next", "")), problem=None)


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Begin a session for a valid token."""
    site, now = site_of(request), time.monotonic()
    sent = await form_of(request)
    token, next_ = sent.get("token", "").strip(), _next(sent.get("next", ""))
    right = site.tokens.right_of(token[:_MOST_TOKEN_CHARACTERS])
    if right is None:
        if (wait := note_wrong_token(request, now)) > 0:
            return await _rejected(request, next_, HTTPStatus.TOO_MANY_REQUESTS, _too_many(wait), retry_after=wait)
        return await _rejected(request, next_, HTTPStatus.FORBIDDEN, "Wrong token.")
    if (before := request.cookies.get(cookie_name(request))) is not None:
        site.sessions.close(before)
    cookie, session = site.sessions.open(right, now)
    note_right_token(request)
    site.log.signed_in.note(now, address_of(request), right=right, session=session.short_id)
    response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"location": next_ or "/"})
    response.set_cookie(
        cookie_name(request),
        cookie,
        max_age=int(LONGEST_SECONDS),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=site.listen.over_https,
    )
    return response


async def _rejected(
    request: web.Request, next_: str, status: HTTPStatus, problem: str, retry_after: float | None = None
) -> web.Response:
    headers = {} if retry_after is None else {"retry-after": str(int(retry_after) + 1)}
    return await page(
        request, "sign_in.html", status=status, headers=headers, title="Sign in", next=next_, problem=problem
    )


def _too_many(wait: float) -> str:
    return f"Too many wrong tokens from your address. Try again in {int(wait) // 60 + 1} minutes."


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End the session."""
    name = cookie_name(request)
    site = site_of(request)
    site.sessions.close(request.cookies[name])
    site.log.signed_out.note(time.monotonic(), address_of(request), session=session_of(request).short_id)
    response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"location": "/sign-in"})
    response.del_cookie(name, path="/", httponly=True, samesite="Strict", secure=site.listen.over_https)
    return response


def _next(path: str) -> str:
    """Return the path to open after the sign-in if it is one of ours; else nothing."""
    if not path.isascii() or not path.isprintable() or "\\" in path or not path.startswith("/") or path[1:2] == "/":
        return ""
    try:
        parts = urlsplit(path)
    except ValueError:
        return ""
    return path if not parts.scheme and not parts.netloc else ""
