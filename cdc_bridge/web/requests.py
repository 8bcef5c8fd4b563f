"""What the page's handlers have at hand: the parts of the daemon that they show, and who asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakSet

import structlog
from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.web.access import Right, Session, Sessions, SignInLimit, Tokens
from cdc_bridge.web.listening import Listening
from cdc_bridge.web.reading import PageDatabase
from cdc_bridge.web.time_limit import within

_FORM_WITHIN_SECONDS = 10.0

_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Site:
    """What all pages share."""

    listening: Listening
    observer: HealthMonitor
    settings: CurrentSettings
    database: PageDatabase
    tokens: Tokens
    sessions: Sessions = field(default_factory=Sessions)
    sign_in_limit: SignInLimit = field(default_factory=SignInLimit)
    bearer_limit: SignInLimit = field(default_factory=SignInLimit)
    """Apart from that, so that no machine with an old token keeps people out."""
    needed: dict[Handler, Right | None] = field(default_factory=dict)
    """What a handler's caller must have the right to; ``None``: anybody may call it."""
    asked: WeakSet[asyncio.BaseTransport] = field(default_factory=WeakSet)
    """Connections by which a request came."""
    within_seconds: dict[Handler, float] = field(default_factory=dict)
    """How long a handler may take."""
    long_work: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """What goes on after its request was answered, by what it is about."""

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
    # The nearest proxy has written the last one, be it in a line of its own; those before may be made up.
    if site_of(request).listening.behind_proxy and (forwarded := request.headers.getall("x-forwarded-for", ())):
        return forwarded[-1].rpartition(",")[2].strip()[:64]
    return request.remote or ""


async def form_of(request: web.Request) -> MultiDictProxy[str]:
    """Return the fields of the form that was sent.

    Raises:
        web.HTTPException: it is none, cannot be read, or does not come to its end.
    """
    if request.content_type != "application/x-www-form-urlencoded" or "content-encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text="A form of this page is sent as application/x-www-form-urlencoded.")
    try:
        sent = await within(_FORM_WITHIN_SECONDS, request.post())
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The form did not come to its end in time.") from None
    except (ValueError, LookupError, ConnectionError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="The form cannot be read.") from None
    fields = [(name, value) for name, value in sent.items() if isinstance(value, str)]
    return MultiDictProxy(MultiDict(fields))


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
