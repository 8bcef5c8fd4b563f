"""Renders templates. All values are escaped, for HTML and for the eye; none is marked as safe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from cdc_bridge import __version__
from cdc_bridge.endpoints.status import age
from cdc_bridge.errors import shortened
from cdc_bridge.escaping import escaped
from cdc_bridge.runtime.readiness import headline
from cdc_bridge.web.access import Right
from cdc_bridge.web.filters import iso, number, seconds, utc
from cdc_bridge.web.hour_chart import hour_chart
from cdc_bridge.web.requests import is_refresh, signed_in, site_of
from cdc_bridge.web.static_files import STATIC


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cdc_bridge.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "hour_chart": hour_chart,
        "iso": iso,
        "number": number,
        "seconds": seconds,
        "shortened": shortened,
        "utc": utc,
    }
    environment.globals |= {"static": STATIC.url_of, "version": __version__}
    return environment


def _visible(value: object) -> object:
    # A macro's result is Markup, made of values that went through here.
    return escaped(value, keep="\n\t") if type(value) is str else value


_ENVIRONMENT = _environment()


async def page(
    request: web.Request,
    template: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> web.Response:
    """Render a template.

    Args:
        request: The request.
        template: The template's file name.
        status: Status of the response.
        headers: Further headers.
        values: Variables of the template.
    """
    session = signed_in(request)
    snapshot = None if session is None else await site_of(request).health.snapshot()
    # A refresh replaces live regions only, and notices stand in none.
    notices = [] if session is None or is_refresh(request) else session.take_notices()
    text = _ENVIRONMENT.get_template(template).render(
        path=request.path,
        session=session,
        may_change=session is not None and session.right is Right.ALL,
        form_token="" if session is None else session.form_token,
        notices=notices,
        problems=() if snapshot is None else snapshot.problems,
        headline="" if snapshot is None else headline(snapshot.problems),
        now=datetime.now(UTC),
        **values,
    )
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=headers)
