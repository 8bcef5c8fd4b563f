"""What request handlers share: the parts of the daemon that they show, the session and the form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.web.access import Right, Session, Sessions, Tokens, WrongTokens
from cdc_bridge.web.client_address import client_of, forwarded_by_proxy
from cdc_bridge.web.connections import ConnectionListener
from cdc_bridge.web.database import DashboardDatabase
from cdc_bridge.web.limited_log import WebLog
from cdc_bridge.web.listen_settings import ListenSettings
from cdc_bridge.web.time_limit import within

_FORM_WITHIN_SECONDS = 10.0

_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Site:
    """What all handlers share."""

    listen: ListenSettings
    health: HealthMonitor
    settings: CurrentSettings
    database: DashboardDatabase
    tokens: Tokens
    sessions: Sessions = field(default_factory=Sessions)
    wrong_tokens: WrongTokens = field(default_factory=WrongTokens)
    log: WebLog = field(default_factory=WebLog)
    connections: ConnectionListener | None = None
    required_rights: dict[Handler, Right | None] = field(default_factory=dict)
    """The right that a handler requires; ``None``: it is open."""
    timeouts: dict[Handler, float] = field(default_factory=dict)
    """Seconds that a handler may take, where that is not the default."""
    replays: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Replays of dead letters under way, by endpoint; they outlive their request."""

    @property
    def database_url(self) -> str:
        """For operations that open a connection of their own, as a command does."""
        return self.settings.now.database_url.get_secret_value()


SITE = web.AppKey("site", Site)
_SESSION = "session"


def site_of(request: web.Request) -> Site:
    """Return what all handlers share."""
    return request.app[SITE]


def session_of(request: web.Request) -> Session:
    """Return the session; the guard has made sure that there is one."""
    session: Session = request[_SESSION]
    return session


def signed_in(request: web.Request) -> Session | None:
    """Return the session, if there is one."""
    return request.get(_SESSION)


def note_session(request: web.Request, session: Session) -> None:
    """Attach the session to a request."""
    request[_SESSION] = session


def is_refresh(request: web.Request) -> bool:
    """Return whether a page refreshes itself."""
    return "x-refresh" in request.headers


def address_of(request: web.Request) -> str:
    """Return the client's address; of a request from the proxy, the one that the proxy reports."""
    remote = request.remote or ""
    if site_of(request).listen.is_proxy(remote):
        return forwarded_by_proxy(request.headers.getall("x-forwarded-for", [])) or remote
    return remote


def note_wrong_token(request: web.Request, now: float) -> float:
    """Count and log a wrong token; return for how many seconds its client should send no other, 0: it may."""
    site, address = site_of(request), address_of(request)
    site.log.sign_in_rejected.note(now, address)
    return site.wrong_tokens.note(client_of(address), now)


def note_right_token(request: web.Request) -> None:
    """Have the connection of a valid token or session yield last."""
    if (connections := site_of(request).connections) is not None:
        connections.trust(request)


async def form_of(request: web.Request) -> MultiDictProxy[str]:
    """Return the fields of the form that was sent.

    Raises:
        web.HTTPException: The body is no form, cannot be parsed, or does not arrive in time.
    """
    if request.content_type != "application/x-www-form-urlencoded" or "content-encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text="Forms have to be sent as application/x-www-form-urlencoded.")
    try:
        sent = await within(_FORM_WITHIN_SECONDS, request.post())
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The form did not arrive in time.") from None
    except (ValueError, LookupError, ConnectionError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="The form cannot be parsed.") from None
    fields = [(name, value) for name, value in sent.items() if isinstance(value, str)]
    return MultiDictProxy(MultiDict(fields))


def log_change(request: web.Request, what: str, **facts: object) -> None:
    """Log a change and the session that made it."""
    session = session_of(request)
    _log.info(
        "dashboard change",
        what=what,
        **facts,
        right=session.right,
        session=session.short_id,
        address=address_of(request),
    )
