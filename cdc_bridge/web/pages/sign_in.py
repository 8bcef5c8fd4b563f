"""Sign-in with a token, and sign-out."""

from __future__ import annotations

import time
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from multidict import MultiMapping

from cdc_bridge.access.known_tokens import Place
from cdc_bridge.access.rights import Holder
from cdc_bridge.web import portal
from cdc_bridge.web.access import LONGEST_SECONDS
from cdc_bridge.web.guard import cookie_name
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import (
    actor_in,
    address_of,
    form_of,
    note_right_token,
    note_wrong_token,
    session_of,
    signed_in,
    site_of,
)

_MOST_TOKEN_CHARACTERS = 1000


async def form(request: web.Request) -> web.StreamResponse:
    """Show the sign-in form."""
    if signed_in(request) is not None:
        raise web.HTTPSeeOther("/")
    return await page(request, "sign_in.html", title="Sign in", next=_next(request.query.get("next", "")), problem=None)


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Begin a session for a valid token."""
    sent = await form_of(request)
    next_ = _next(sent.get("next", ""))
    holder = await holder_of_form(request, sent, Place.DASHBOARD)
    if holder is None:
        return await rejected(request, "sign_in.html", title="Sign in", next=next_, problem="Wrong token.")
    return begin_session(request, holder, next_ or "/")


async def holder_of_form(request: web.Request, sent: MultiMapping[str], place: Place) -> Holder | None:
    """Return who has the token that a form was sent with, if it is good for this; ``None``: nobody."""
    return await site_of(request).tokens.find(sent.get("token", "").strip()[:_MOST_TOKEN_CHARACTERS], place)


def begin_session(request: web.Request, holder: Holder, path: str) -> web.Response:
    """Begin a session for who has a token, end the one that the browser had, and redirect to a path."""
    site, now = site_of(request), time.monotonic()
    if (before := request.cookies.get(cookie_name(request))) is not None:
        site.sessions.close(before)
    cookie, session = site.sessions.open(holder, now)
    if holder.endpoint is None:
        note_right_token(request)
    site.log.signed_in.note(now, address_of(request), token=holder.name, right=holder.right, session=session.short_id)
    site.late_writes.note_sign_in(holder, actor_in(session, request))
    response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"location": path})
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


async def rejected(request: web.Request, template: str, *, problem: str, **values: object) -> web.Response:
    """Count a wrong token, and show the form again.

    Args:
        request: The request.
        template: The form.
        problem: What is wrong.
        values: Variables of the template.
    """
    status, headers = HTTPStatus.FORBIDDEN, {}
    if (wait := note_wrong_token(request, time.monotonic())) > 0:
        status, headers, problem = HTTPStatus.TOO_MANY_REQUESTS, {"retry-after": str(int(wait) + 1)}, _too_many(wait)
    return await page(request, template, status=status, headers=headers, problem=problem, **values)


def _too_many(wait: float) -> str:
    return f"Too many wrong tokens from your address. Try again in {int(wait) // 60 + 1} minutes."


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End the session."""
    name = cookie_name(request)
    site, session = site_of(request), session_of(request)
    site.sessions.close(request.cookies[name])
    site.log.signed_out.note(time.monotonic(), address_of(request), session=session.short_id)
    form_ = "/sign-in" if session.endpoint is None else portal.SIGN_IN
    response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"location": form_})
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
