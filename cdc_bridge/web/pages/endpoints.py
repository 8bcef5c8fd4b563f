"""One endpoint: its page, and pause, resume, test request, secret rotation and removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web

from cdc_bridge.deliveries.test_request import send_test_request
from cdc_bridge.endpoints import admin
from cdc_bridge.endpoints.details import Connection, ShownEndpoint, shown_endpoint
from cdc_bridge.endpoints.overview import EndpointOverview
from cdc_bridge.endpoints.signing_secret import rotate_secret
from cdc_bridge.endpoints.status import EndpointStatus, when
from cdc_bridge.errors import BridgeError, Conflict, DatabaseUnavailable, Fault, InstallationError
from cdc_bridge.web import portal
from cdc_bridge.web.concerns import Words
from cdc_bridge.web.notices import error_texts, errors_as_notices, say, sentence
from cdc_bridge.web.rendering import page
from cdc_bridge.web.requests import actor_of, form_of, log_change, session_of, site_of

_KEEP_OLD_HOURS = "24"


async def show(request: web.Request) -> web.StreamResponse:
    """Show an endpoint."""
    shown, own = await _endpoint(request), session_of(request).endpoint
    return await page(
        request,
        "endpoint.html",
        title=shown.overview.name,
        shown=shown,
        option_lines=shown.option_lines(UTC) if own is None else portal.option_lines(shown, UTC),
        words=_words_for(shown.overview, own),
        meaning="" if own is None else portal.meaning_of(shown.overview),
        work=site_of(request).works.of(shown.overview.name) if own is None else None,
    )


def _words_for(endpoint: EndpointOverview, own: str | None) -> Words:
    if own is None:
        return _status_words(endpoint)
    if not portal.shows_reason(endpoint):
        return ()
    return _status_words(replace(endpoint, reason=portal.reason_for_vendor(endpoint.reason or "")))


def _status_words(endpoint: EndpointOverview) -> Words:
    words: list[str | datetime] = []
    if endpoint.since is not None:
        words += ["since ", endpoint.since]
    if endpoint.next_probe_at is not None:
        words += [", next attempt at ", endpoint.next_probe_at]
    if endpoint.reasons:
        words.append(f": {endpoint.reasons}" if words else endpoint.reasons)
    return words


async def _endpoint(request: web.Request) -> ShownEndpoint:
    return await site_of(request).database.read(partial(_read, name=request.match_info["name"]))


async def _read(connection: Connection, name: str) -> ShownEndpoint:
    try:
        return await shown_endpoint(connection, name)
    except BridgeError as error:
        raise web.HTTPNotFound(text=error.problem) from None


async def changeable_endpoint(request: web.Request) -> ShownEndpoint:
    """Return the endpoint of the path; if a daemon's settings declare it, redirect to its page."""
    shown = await _endpoint(request)
    if shown.overview.in_settings:
        name = shown.overview.name
        say(request, f"{name} is declared in a daemon's settings, and is changed there only.", good=False)
        raise to_endpoint(name)
    return shown


def to_endpoint(name: str) -> web.HTTPSeeOther:
    """Return a redirection to an endpoint's page."""
    return web.HTTPSeeOther(f"/endpoints/{quote(name, safe='')}")


async def pause(request: web.Request) -> web.StreamResponse:
    """Pause an endpoint."""
    name = request.match_info["name"]
    with errors_as_notices(request):
        if await admin.pause_endpoint(site_of(request).database_url, name, by=actor_of(request)):
            log_change(request, "endpoint paused", endpoint=name)
            say(request, f"Endpoint {name} is paused. Changes are kept and delivered when it is resumed.")
        else:
            say(request, f"Endpoint {name} was paused already.")
    raise to_endpoint(name)


async def resume(request: web.Request) -> web.StreamResponse:
    """Resume a paused or disabled endpoint, or end the pause before the next probe."""
    name = request.match_info["name"]
    with errors_as_notices(request):
        if await admin.resume_endpoint(site_of(request).database_url, name, by=actor_of(request)):
            log_change(request, "endpoint resumed", endpoint=name)
            say(request, f"Endpoint {name} is resumed. Its backlog is delivered.")
            overview = (await _endpoint(request)).overview
            if overview.status is EndpointStatus.INVALID:
                say(request, sentence(f"but it is {overview.sentence(UTC)}"), good=False)
        else:
            log_change(request, "probe requested", endpoint=name)
            say(request, f"Endpoint {name} was neither paused nor disabled. If it is failing, a probe is sent now.")
    raise to_endpoint(name)


async def test(request: web.Request) -> web.StreamResponse:
    """Send a test request."""
    name, own, under_way = request.match_info["name"], session_of(request).endpoint, site_of(request).vendor_tests
    if own is None:
        await _test(request, name)
    elif own in under_way:
        say(request, "A test request is under way.", good=False)
    else:
        under_way.add(own)
        try:
            await _test(request, name)
        finally:
            under_way.remove(own)
    raise to_endpoint(name)


async def _test(request: web.Request, name: str) -> None:
    with errors_as_notices(request):
        result = await send_test_request(site_of(request).settings.now, name, by=actor_of(request))
        log_change(request, "endpoint tested", endpoint=name, status=result.status)
        response = f"HTTP {result.status}" if result.delivered else result.reason
        # The way, through a proxy for example, is the restaurant's business.
        sent = "Test request" if session_of(request).endpoint is not None else f"Test request, {result.route}"
        say(request, f"{sent}: {response}, after {result.milliseconds} ms. {result.meaning}", good=result.delivered)


async def rotate_form(request: web.Request) -> web.StreamResponse:
    """Show the form of a secret rotation."""
    return await _rotate_form(request, await changeable_endpoint(request), _KEEP_OLD_HOURS)


async def _rotate_form(
    request: web.Request, shown: ShownEndpoint, hours: str, *, cut_short: bool = False, errors: Sequence[str] = ()
) -> web.StreamResponse:
    return await page(
        request,
        "rotate_secret.html",
        status=HTTPStatus.BAD_REQUEST if errors else HTTPStatus.OK,
        title=f"New secret for {shown.overview.name}",
        shown=shown,
        hours=hours,
        cut_short=cut_short,
        errors=errors,
    )


async def rotate(request: web.Request) -> web.StreamResponse:
    """Rotate the signing secret."""
    shown, sent = await changeable_endpoint(request), await form_of(request)
    name, hours, given = (
        shown.overview.name,
        sent.get("keep_old_hours", "").strip(),
        sent.get("vendor_secret", "").strip(),
    )
    faults: list[Fault] = []
    try:
        keep_old_hours = float(hours)
    except ValueError:
        keep_old_hours = 0.0
        faults.append(Fault("keep_old_hours", "--keep-old-hours", "has to be a number"))
    try:
        rotated = await rotate_secret(
            site_of(request).database_url,
            name,
            cipher=site_of(request).settings.now.secrets_cipher(),
            keep_old_hours=keep_old_hours,
            cut_short="cut_short" in sent,
            secret=given or None,
            found=faults,
            by=actor_of(request),
        )
    except (DatabaseUnavailable, InstallationError):
        raise
    except BridgeError as error:
        errors = [*_rotate_errors(error), *(["Enter the vendor's secret again."] if given else ())]
        return await _rotate_form(request, shown, hours, cut_short="cut_short" in sent, errors=errors)
    log_change(request, "secret rotated", endpoint=name, old_until=rotated.old_until and str(rotated.old_until))
    which = "the vendor's secret" if rotated.secret is None else "a new secret"
    text = f"Requests to {name} are signed with {which}"
    if rotated.old_until is not None:
        text += f", and with the previous one until {when(rotated.old_until, UTC)}"
    say(request, f"{text}.", secret=rotated.secret)
    raise to_endpoint(name)


def _rotate_errors(error: BridgeError) -> list[str]:
    if isinstance(error, Conflict):
        return [f"{sentence(error.problem)} Wait until then, or drop that one now: see below."]
    return error_texts(error)


async def remove_form(request: web.Request) -> web.StreamResponse:
    """Show what a removal loses, and ask for confirmation."""
    name = request.match_info["name"]
    lost = await admin.undelivered_of(site_of(request).database_url, name)
    return await page(request, "remove.html", title=f"Remove {name}", name=name, lost=lost)


async def remove(request: web.Request) -> web.StreamResponse:
    """Remove an endpoint."""
    name = request.match_info["name"]
    with errors_as_notices(request):
        await admin.remove_endpoint(site_of(request).database_url, name, by=actor_of(request))
        log_change(request, "endpoint removed", endpoint=name)
        say(request, f"Endpoint {name} is removed.")
        raise web.HTTPSeeOther("/")
    raise to_endpoint(name)
