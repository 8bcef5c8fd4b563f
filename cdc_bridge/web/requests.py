"""What request handlers share: the parts of the daemon that they show, the session and the form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from cdc_bridge.access.known_tokens import KnownTokens
from cdc_bridge.access.rights import Holder, Right
from cdc_bridge.audit.actor import Actor, Via
from cdc_bridge.runtime.health import HealthMonitor
from cdc_bridge.runtime.reload import CurrentSettings
from cdc_bridge.web.access import Session, Sessions, WrongTokens
from cdc_bridge.web.client_address import client_of, forwarded_by_proxy
from cdc_bridge.web.connections import ConnectionListener
from cdc_bridge.web.database import WebDatabase
from cdc_bridge.web.late_writes import LateWrites
from cdc_bridge.web.limited_log import WebLog
from cdc_bridge.web.listen_settings import ListenSettings
from cdc_bridge.web.portal import NamedBy, VendorLimit
from cdc_bridge.web.time_limit import within
from cdc_bridge.web.work import Works

_FORM_WITHIN_SECONDS = 10.0
_MOST_LONG_WORK = 4

_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Site:
    """What all handlers share."""

    listen: ListenSettings
    health: HealthMonitor
    settings: CurrentSettings
    database: WebDatabase
    tokens: KnownTokens
    late_writes: LateWrites
    sessions: Sessions = field(default_factory=Sessions)
    wrong_tokens: WrongTokens = field(default_factory=WrongTokens)
    log: WebLog = field(default_factory=WebLog)
    connections: ConnectionListener | None = None
    of_portal: dict[Handler, NamedBy] = field(default_factory=dict)
    """Handlers that are open to sessions in the portal, and how a request for them names its endpoint."""
    vendor_limit: VendorLimit = field(default_factory=VendorLimit)
    vendor_tests: set[str] = field(default_factory=set)
    """Endpoints whose vendors have a test request under way."""
    required_rights: dict[Handler, Right | None] = field(default_factory=dict)
    """The right that a handler requires; ``None``: it is open."""
    of_dashboard: set[Handler] = field(default_factory=set)
    """Handlers that there are only if there is a token for the dashboard."""
    of_api: set[Handler] = field(default_factory=set)
    """Handlers that require a token instead of a session."""
    timeouts: dict[Handler, float] = field(default_factory=dict)
    """Seconds that a handler may take, where that is not the default."""
    replays: dict[str, asyncio.Task[Any]] = field(default_factory=dict)
    """Replays under way, by endpoint; they may outlive their request."""
    works: Works = field(default_factory=Works)
    """What was asked for on the dashboard and takes long."""
    long_work: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_LONG_WORK))
    """Places for test requests and replays of the API."""

    @property
    def database_url(self) -> str:
        """For operations that open a connection of their own, as a command does."""
        return self.settings.now.database_url.get_secret_value()


SITE = web.AppKey("site", Site)
_SESSION = "session"
_HOLDER = "holder"


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


def note_holder(request: web.Request, holder: Holder) -> None:
    """Attach to a request of the API who sent it."""
    request[_HOLDER] = holder
    site_of(request).late_writes.note_use(holder)


def holder_of(request: web.Request) -> Holder:
    """Return who sent a request of the API; the guard has made sure that it has a token."""
    holder: Holder = request[_HOLDER]
    return holder


def actor_of(request: web.Request) -> Actor:
    """Return who sent a request, for the audit log."""
    if (session := signed_in(request)) is None:
        return Actor(holder_of(request).name, Via.API, address_of(request))
    return actor_in(session, request)


def actor_in(session: Session, request: web.Request) -> Actor:
    """Return who has a session, for the audit log."""
    via = Via.DASHBOARD if session.endpoint is None else Via.PORTAL
    return Actor(session.holder.name, via, address_of(request))


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
    """Log a change, and who made it."""
    actor, session = actor_of(request), signed_in(request)
    holder = holder_of(request) if session is None else session.holder
    own = {} if session is None else {"session": session.short_id}
    _log.info(
        f"{actor.via} change",
        what=what,
        **facts,
        token=holder.name,
        right=holder.right,
        **own,
        address=actor.address,
    )
