"""Makes pages of templates. Whatever is put into them is escaped; nothing is marked as safe by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from cdc_bridge import __version__
from cdc_bridge.web.access import Right
from cdc_bridge.web.filters import age, iso, number, seconds, utc
from cdc_bridge.web.hour_chart import hour_chart
from cdc_bridge.web.requests import is_refresh, signed_in, site_of
from cdc_bridge.web.static_files import STATIC


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cdc_bridge.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "hour_chart": hour_chart,
        "iso": iso,
        "number": number,
        "seconds": seconds,
        "utc": utc,
    }
    environment.globals |= {"static": STATIC.url_of, "version": __version__}
    return environment


_ENVIRONMENT = _environment()


async def page(
    request: web.Request,
    template: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> web.Response:
    """Return a page of a template.

    Args:
        request: what is answered.
        template: its file's name.
        status: of the answer.
        headers: more of them.
        values: what stands in it.
    """
    session = signed_in(request)
    look = None if session is None else await site_of(request).observer.look()
    # A refresh takes over parts of the page alone, and what is to be said once is in none of them.
    notices = [] if session is None or is_refresh(request) else session.take_notices()
    text = _ENVIRONMENT.get_template(template).render(
        path=request.path,
        session=session,
        may_change=session is not None and session.right is Right.ALL,
        form_token="" if session is None else session.form_token,
        notices=notices,
        problems=() if look is None else look.problems,
        now=datetime.now(UTC),
        **values,
    )
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=headers)
