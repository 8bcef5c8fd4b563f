"""What the page's handlers have at hand: the parts of the daemon that they show, and who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from cdc_bridge.operations.health.observer import Observer
from cdc_bridge.operations.reload import CurrentSettings
from cdc_bridge.web.access import Right, Session, Sessions, SignInLimit, Tokens
from cdc_bridge.web.listening import Listening
from cdc_bridge.web.reading import PageDatabase

_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Site:
    """What all pages share."""

    listening: Listening
    observer: Observer
    settings: CurrentSettings
    database: PageDatabase
    tokens: Tokens
    sessions: Sessions = field(default_factory=Sessions)
    sign_in_limit: SignInLimit = field(default_factory=SignInLimit)
    needed: dict[Handler, Right | None] = field(default_factory=dict)
    """What a handler's caller must have the right to; ``None``: anybody may call it."""
    long_work: set[asyncio.Task[None]] = field(default_factory=set)
    """What goes on after its request was answered."""

    @property
    def database_url(self) -> str:
        """How the operations reach the database, each by a connection of its own as a command does."""
        return self.settings.now.database_url.get_secret_value()


SITE = web.AppKey("site", Site)
_SESSION = "session"


def site_of(request: web.Request) -> Site:
    """Return what all pages share."""
    return request.app[SITE]


def session_of(request: web.Request) -> Session:
    """Return who asks. There is somebody, or the request would not have come this far."""
    session: Session = request[_SESSION]
    return session


def signed_in(request: web.Request) -> Session | None:
    """Return who asks, if somebody is signed in."""
    return request.get(_SESSION)


def note_session(request: web.Request, session: Session) -> None:
    """Note who asks."""
    request[_SESSION] = session


def is_refresh(request: web.Request) -> bool:
    """Return whether the page's script asks for what may have changed, without anybody doing anything."""
    return "x-refresh" in request.headers


def address_of(request: web.Request) -> str:
    """Return where a request comes from; behind a proxy, what the proxy says."""
    if site_of(request).listening.behind_proxy and (forwarded := request.headers.get("x-forwarded-for")):
        return forwarded.rpartition(",")[2].strip()[:64]
    return request.remote or ""


def log_change(request: web.Request, what: str, **facts: object) -> None:
    """Log that somebody has changed something: what, and who it was."""
    session = session_of(request)
    _log.info(
        "changed by page",
        what=what,
        **facts,
        right=session.right,
        session=session.short_id,
        address=address_of(request),
    )
