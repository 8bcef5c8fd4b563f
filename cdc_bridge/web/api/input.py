"""Reads what a request gives: its body, its query, and the revision that it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson
from aiohttp import web

from cdc_bridge.errors import Fault, FaultyInput
from cdc_bridge.web.api.fields import Field, Input, read_fields
from cdc_bridge.web.time_limit import within

JSON = "application/json"

_BODY_WITHIN_SECONDS = 10.0
_ENTITY_TAG = re.compile(r'"([\x21\x23-\x7e]*)"')


async def read_body(request: web.Request, fields: Sequence[Field]) -> Input:
    """Return the fields of a request's body, which is a JSON object; an empty one has none.

    Raises:
        web.HTTPException: The body is no JSON, is too large or does not arrive in time.
    """
    if "content-encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text="Compressed bodies are not accepted.")
    try:
        data = await within(_BODY_WITHIN_SECONDS, request.read())
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not arrive in time.") from None
    except (ConnectionError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="The body cannot be read.") from None
    if not data:
        return read_fields({}, fields)
    if request.content_type != JSON:
        raise web.HTTPUnsupportedMediaType(text=f"The body has to be {JSON}.")
    try:
        given = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest(text="The body is not JSON.") from None
    if not isinstance(given, dict):
        raise web.HTTPBadRequest(text="The body has to be a JSON object.")
    return read_fields(given, fields)


def read_query(request: web.Request, fields: Sequence[Field]) -> Input:
    """Return the fields of a request's query.

    Raises:
        FaultyInput: Some cannot be used, are not known, or are given more than once.
    """
    repeated = {field.name for field in fields if field.repeated}
    sent = {name: request.query.getall(name) for name in request.query}
    found = read_fields({name: texts if name in repeated else texts[0] for name, texts in sent.items()}, fields)
    twice = [name for name, texts in sent.items() if len(texts) > 1 and name not in repeated and name in found.given]
    if faults := [*found.faults, *(Fault(name, name, "is given more than once") for name in twice)]:
        raise FaultyInput(*faults)
    return found


def wanted_revision(request: web.Request) -> str | None:
    """Return the revision that ``If-Match`` names; ``None``: any.

    Raises:
        FaultyInput: It is not one entity tag.
    """
    text = request.headers.get("if-match", "*").strip()
    if text == "*":
        return None
    if (tag := _ENTITY_TAG.fullmatch(text)) is None:
        raise FaultyInput(Fault("If-Match", "If-Match", "has to be one entity tag, as ETag has it, or *"))
    return tag[1]
