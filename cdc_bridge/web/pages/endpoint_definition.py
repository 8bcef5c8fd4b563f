"""Adding an endpoint, and changing its options."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from cdc_bridge.endpoints import admin
from cdc_bridge.endpoints.details import ShownEndpoint
from cdc_bridge.endpoints.option_input import SecretsForNewHostMissing
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError, WrongUsage
from cdc_bridge.web.endpoint_form import FIELDS, EndpointForm
from cdc_bridge.web.notices import error_texts, say, sentence
from cdc_bridge.web.pages.endpoints import changeable_endpoint, to_endpoint
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import actor_of, form_of, log_change, site_of


async def new(request: web.Request) -> web.StreamResponse:
    """Show the form of a new endpoint."""
    return await _form(request, EndpointForm.empty())


async def _form(
    request: web.Request, form: EndpointForm, shown: ShownEndpoint | None = None, error: BridgeError | None = None
) -> web.StreamResponse:
    return await page(
        request,
        "endpoint_form.html",
        status=HTTPStatus.OK if error is None else HTTPStatus.BAD_REQUEST,
        title="Add an endpoint" if shown is None else f"Change {shown.overview.name}",
        form=form,
        options=FIELDS,
        shown=shown,
        errors=[] if error is None else error_texts(error),
    )


async def add(request: web.Request) -> web.StreamResponse:
    """Add an endpoint."""
    form = EndpointForm.sent(await form_of(request))
    site = site_of(request)
    try:
        added = await admin.add_endpoint(
            site.database_url,
            form.name,
            form.given(),
            allow_http=site.settings.now.allow_http,
            cipher=site.settings.now.secrets_cipher(),
            from_oldest=form.from_oldest,
            signed=form.signed,
            secret=form.vendor_secret or None,
            by=actor_of(request),
        )
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        return await _form(request, form, error=error)
    log_change(request, "endpoint added", endpoint=form.name, url=added.shown_url)
    start = "the oldest change in the log" if form.from_oldest else "changes committed from now on"
    text = f"Endpoint {form.name} is added. It starts with {start}."
    if form.vendor_secret:
        text += " Its requests are signed with the vendor's secret."
    elif added.secret is None:
        text += " Its requests are not signed."
    say(request, text, secret=added.secret)
    _warn(request, added.warnings)
    raise to_endpoint(form.name)


async def change_form(request: web.Request) -> web.StreamResponse:
    """Show the form of an endpoint's options."""
    shown = await changeable_endpoint(request)
    return await _form(request, EndpointForm.of(shown.record), shown)


async def change(request: web.Request) -> web.StreamResponse:
    """Change the options that were sent and differ."""
    shown, site = await changeable_endpoint(request), site_of(request)
    name, form = shown.overview.name, EndpointForm.sent(await form_of(request))
    try:
        given = form.given(before=shown.record)
        if not given:
            say(request, "Nothing was changed.")
            raise to_endpoint(name)
        changed = await admin.set_endpoint(
            site.database_url,
            name,
            given,
            allow_http=site.settings.now.allow_http,
            cipher=site.settings.now.secrets_cipher(),
            keep_headers=form.keep_headers,
            with_new_secret=form.new_secret,
            by=actor_of(request),
        )
    except (DatabaseUnavailable, InstallationError):
        raise
    except SecretsForNewHostMissing as error:
        return await _form(request, form, shown, WrongUsage(error.problem, "See below the URL."))
    except BridgeError as error:
        return await _form(request, form, shown, error)
    log_change(request, "endpoint changed", endpoint=name, options=sorted(given))
    say(request, " ".join([f"Endpoint {name} is changed.", *changed.consequences]), secret=changed.secret)
    _warn(request, changed.warnings)
    raise to_endpoint(name)


def _warn(request: web.Request, warnings: Sequence[str]) -> None:
    for warning in warnings:
        say(request, f"Warning: {sentence(warning)}", good=False)
