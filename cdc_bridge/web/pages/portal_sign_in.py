"""The vendor's way into the portal: with the token in the link that ``endpoint portal`` made.

The token stands behind the ``#`` of the link, which no browser sends: it gets into no log and no Referer. A script puts
it into the form and removes it from the address; somebody has to press the button. So another site that
leads a browser here with a token of its own changes no session, and a scanner that opens links in mails begins none.
"""

from __future__ import annotations

from aiohttp import web

from cdc_bridge.access.known_tokens import Place
from cdc_bridge.web.access import OF_PORTAL
from cdc_bridge.web.guard import cookie_name
from cdc_bridge.web.pages.sign_in import begin_session, holder_of_form, rejected
from cdc_bridge.web.portal import home_of
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import form_of, signed_in

_TEMPLATE, _TITLE = "portal.html", "Portal"


async def form(request: web.Request) -> web.StreamResponse:
    """Show the form that the link leads to."""
    ended = signed_in(request) is None and request.cookies.get(cookie_name(request), "").startswith(OF_PORTAL)
    return await page(request, _TEMPLATE, title=_TITLE, ended=ended, problem=None)


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Begin a session for one endpoint."""
    holder = await holder_of_form(request, await form_of(request), Place.PORTAL)
    if holder is None or holder.endpoint is None:
        problem = "This link is wrong, has expired or was revoked. Ask whoever sent it for another one."
        return await rejected(request, _TEMPLATE, title=_TITLE, ended=False, problem=problem)
    return begin_session(request, holder, home_of(holder.endpoint))
