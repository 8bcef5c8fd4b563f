"""One endpoint: how it is, its options, and what can be done with it: what ``cdc-bridge endpoint`` can."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web

from cdc_bridge.deliveries.test_request import send_test_request
from cdc_bridge.endpoints import admin
from cdc_bridge.endpoints.details import Connection, ShownEndpoint, shown_endpoint
from cdc_bridge.endpoints.status import OTHER_CLUSTER, standing_of, when
from cdc_bridge.errors import BridgeError, DatabaseUnavailable, InstallationError
from cdc_bridge.web.endpoint_form import FIELDS, EndpointForm, number
from cdc_bridge.web.notices import error_in_words, say, sentence, told_on_the_next_page
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import form_of, log_change, site_of

_KEEP_OLD_HOURS = 24.0


async def show(request: web.Request) -> web.StreamResponse:
    """Show an endpoint."""
    shown = await _shown(request)
    look = await site_of(request).observer.look()
    return await page(
        request,
        "endpoint.html",
        title=shown.facts.name,
        shown=shown,
        option_lines=shown.option_lines(UTC),
        state=standing_of(shown.facts).state,
        sentence=standing_of(shown.facts).sentence(UTC),
        endpoint=next((one for one in look.endpoints if one.endpoint_id == shown.facts.endpoint_id), None),
    )


async def _shown(request: web.Request) -> ShownEndpoint:
    return await site_of(request).database.read(partial(_shown_endpoint, name=request.match_info["name"]))


async def _shown_to_be_changed(request: web.Request) -> ShownEndpoint:
    shown = await _shown(request)
    if shown.facts.in_settings:
        say(request, f"{shown.facts.name} is declared in a daemon's settings, and is changed there only.", good=False)
        raise _to(shown.facts.name)
    return shown


async def _shown_endpoint(connection: Connection, name: str) -> ShownEndpoint:
    try:
        return await shown_endpoint(connection, name)
    except BridgeError as error:
        raise web.HTTPNotFound(text=error.problem) from None


async def new(request: web.Request) -> web.StreamResponse:
    """Ask for a new endpoint."""
    return await _new(request, EndpointForm.empty())


async def _new(request: web.Request, form: EndpointForm, error: BridgeError | None = None) -> web.StreamResponse:
    return await page(
        request,
        "endpoint_form.html",
        status=HTTPStatus.OK if error is None else HTTPStatus.BAD_REQUEST,
        title="Add an endpoint",
        form=form,
        options=FIELDS,
        shown=None,
        error=None if error is None else error_in_words(error),
    )


async def add(request: web.Request) -> web.StreamResponse:
    """Make an endpoint."""
    form = EndpointForm.sent(await form_of(request))
    site = site_of(request)
    try:
        added = await admin.add_endpoint(
            site.database_url,
            form.name,
            form.given(),
            allow_http=site.settings.now.allow_http,
            from_oldest=form.from_oldest,
            signed=form.signed,
        )
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        return await _new(request, form, error)
    log_change(request, "endpoint added", endpoint=form.name, url=added.shown_url)
    begins = "the oldest change in the log" if form.from_oldest else "what is committed from now on"
    text = f"Endpoint {form.name} is added. It begins with {begins}."
    if added.secret is None:
        text += " Requests to it are not signed."
    say(request, text, secret=added.secret)
    _warn(request, added.warnings)
    raise _to(form.name)


async def change_form(request: web.Request) -> web.StreamResponse:
    """Show an endpoint's options, to be changed."""
    shown = await _shown_to_be_changed(request)
    return await _change(request, shown, EndpointForm.of(shown.record))


async def _change(
    request: web.Request, shown: ShownEndpoint, form: EndpointForm, error: BridgeError | None = None
) -> web.StreamResponse:
    return await page(
        request,
        "endpoint_form.html",
        status=HTTPStatus.OK if error is None else HTTPStatus.BAD_REQUEST,
        title=f"Change {shown.facts.name}",
        form=form,
        options=FIELDS,
        shown=shown,
        error=None if error is None else error_in_words(error),
    )


async def change(request: web.Request) -> web.StreamResponse:
    """Change those options of an endpoint that were sent and differ."""
    shown, site = await _shown_to_be_changed(request), site_of(request)
    name, form = shown.facts.name, EndpointForm.sent(await form_of(request))
    try:
        given = form.given(before=shown.record)
        if not given:
            say(request, "Nothing was changed.")
            raise _to(name)
        warnings = await admin.set_endpoint(site.database_url, name, given, allow_http=site.settings.now.allow_http)
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        return await _change(request, shown, form, error)
    log_change(request, "endpoint changed", endpoint=name, options=sorted(given))
    say(request, f"Endpoint {name} is changed.")
    _warn(request, warnings)
    raise _to(name)


async def pause(request: web.Request) -> web.StreamResponse:
    """Stop the calls."""
    name = request.match_info["name"]
    with told_on_the_next_page(request):
        if await admin.pause_endpoint(site_of(request).database_url, name):
            log_change(request, "endpoint paused", endpoint=name)
            say(request, f"Endpoint {name} is paused. What is committed meanwhile is sent when it is resumed.")
        else:
            say(request, f"Endpoint {name} was paused already.")
    raise _to(name)


async def resume(request: web.Request) -> web.StreamResponse:
    """Call it again."""
    name = request.match_info["name"]
    with told_on_the_next_page(request):
        if await admin.resume_endpoint(site_of(request).database_url, name):
            log_change(request, "endpoint resumed", endpoint=name)
            say(request, f"Endpoint {name} is resumed: what was held back is sent.")
            if not (await _shown(request)).facts.same_cluster:
                say(request, sentence(f"but {OTHER_CLUSTER}"), good=False)
        else:
            say(request, f"Endpoint {name} was neither paused nor disabled.")
    raise _to(name)


async def test(request: web.Request) -> web.StreamResponse:
    """Send a test request."""
    name = request.match_info["name"]
    with told_on_the_next_page(request):
        result = await send_test_request(site_of(request).settings.now, name)
        log_change(request, "endpoint tested", endpoint=name, status=result.status)
        response = f"HTTP {result.status}" if result.delivered else result.reason
        text = f"Test request: {response}, after {result.milliseconds} ms. {result.meaning}"
        say(request, text, good=result.delivered)
    raise _to(name)


async def rotate_form(request: web.Request) -> web.StreamResponse:
    """Ask how to change the signing secret."""
    shown = await _shown_to_be_changed(request)
    return await page(
        request, "rotate_secret.html", title=f"New secret for {shown.facts.name}", shown=shown, hours=_KEEP_OLD_HOURS
    )


async def rotate(request: web.Request) -> web.StreamResponse:
    """Make a new signing secret."""
    name, sent = request.match_info["name"], await form_of(request)
    with told_on_the_next_page(request):
        hours = number(sent.get("keep_old_hours", ""), "keep_old_hours")
        rotated = await admin.rotate_secret(
            site_of(request).database_url, name, keep_old_hours=hours, cut_short="cut_short" in sent
        )
        log_change(request, "secret rotated", endpoint=name, old_until=rotated.old_until and str(rotated.old_until))
        text = f"Requests to {name} are signed with a new secret from now on"
        if rotated.old_until is not None:
            text += f", and with the one before as well until {when(rotated.old_until, UTC)}"
        say(request, f"{text}.", secret=rotated.secret)
    raise _to(name)


async def remove_form(request: web.Request) -> web.StreamResponse:
    """Say what is lost with an endpoint, and ask."""
    name = request.match_info["name"]
    lost = await admin.undelivered_of(site_of(request).database_url, name)
    return await page(request, "remove.html", title=f"Remove {name}", name=name, lost=lost)


async def remove(request: web.Request) -> web.StreamResponse:
    """Remove an endpoint."""
    name = request.match_info["name"]
    with told_on_the_next_page(request):
        await admin.remove_endpoint(site_of(request).database_url, name)
        log_change(request, "endpoint removed", endpoint=name)
        say(request, f"Endpoint {name} is removed.")
        raise web.HTTPSeeOther("/")
    raise _to(name)


def _to(name: str) -> web.HTTPSeeOther:
    return web.HTTPSeeOther(f"/endpoints/{quote(name, safe='')}")


def _warn(request: web.Request, warnings: Sequence[str]) -> None:
    for warning in warnings:
        say(request, f"Warning: {warning}", good=False)
