"""Renders templates. All values are escaped, for HTML and for the eye; none is marked as safe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from cdc_bridge import __version__
from cdc_bridge.access.rights import Right
from cdc_bridge.endpoints.status import age
from cdc_bridge.errors import shortened
from cdc_bridge.escaping import escaped
from cdc_bridge.web.filters import field_time, iso, number, seconds, utc, with_times
from cdc_bridge.web.hour_chart import hour_chart
from cdc_bridge.web.notices import sentence
from cdc_bridge.web.portal import reason_for_vendor
from cdc_bridge.web.requests import is_refresh, signed_in, site_of
from cdc_bridge.web.static_files import STATIC
from cdc_bridge.web.summary import summary_of


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
        "field_time": field_time,
        "hour_chart": hour_chart,
        "iso": iso,
        "number": number,
        "reason_for_vendor": reason_for_vendor,
        "seconds": seconds,
        "sentence": sentence,
        "shortened": shortened,
        "utc": utc,
        "with_times": with_times,
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
    own = None if session is None else session.endpoint
    # The problems of other endpoints are nobody else's business.
    snapshot = None if session is None or own is not None else await site_of(request).health.snapshot()
    max_lag_seconds, now = site_of(request).settings.now.max_lag_seconds, datetime.now(UTC)
    # A refresh replaces live regions only, and notices stand in none.
    notices = [] if session is None or is_refresh(request) else session.take_notices()
    text = _ENVIRONMENT.get_template(template).render(
        path=request.path,
        session=session,
        portal=own,
        may_change=session is not None and own is None and session.right.includes(Right.CHANGE),
        may_send=session is not None and session.right.includes(Right.CHANGE),
        may_see_content=session is not None and session.right.includes(Right.CONTENT),
        form_token="" if session is None else session.form_token,
        notices=notices,
        summary=None if snapshot is None else summary_of(snapshot, max_lag_seconds, now),
        now=now,
        **values,
    )
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=headers)
