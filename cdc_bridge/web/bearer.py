"""``Authorization: Bearer ...``: who sent a request that comes from no browser."""

from __future__ import annotations

import time

from aiohttp import web

from cdc_bridge.access.known_tokens import Place
from cdc_bridge.access.rights import Holder
from cdc_bridge.web.requests import note_right_token, note_wrong_token, site_of

_BEARER = "bearer "
_CHALLENGE = 'Bearer realm="cdc-bridge"'


async def holder_by_bearer(request: web.Request, *places: Place, wanted: str) -> Holder:
    """Return who has the token that a request came with.

    Args:
        request: The request.
        places: What its token has to be good for; for one of them.
        wanted: What it needs, for people: ``one of the API's tokens``.

    Raises:
        web.HTTPException: It has no token, or a wrong one; or its client sent too many wrong ones.
    """
    given = request.headers.get("authorization", "")
    if given[: len(_BEARER)].lower() != _BEARER:
        raise _unauthorized(f"This requires {wanted}: Authorization: Bearer ...", _CHALLENGE)
    token = given[len(_BEARER) :].strip()
    if (holder := await site_of(request).tokens.find(token, *places)) is not None:
        note_right_token(request)
        return holder
    if (wait := note_wrong_token(request, time.monotonic())) > 0:
        raise web.HTTPTooManyRequests(
            text="Too many wrong tokens from your address.", headers={"retry-after": str(int(wait) + 1)}
        )
    raise _unauthorized(f"Wrong token. This requires {wanted}.", f'{_CHALLENGE}, error="invalid_token"')


def _unauthorized(text: str, challenge: str) -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(text=text, headers={"www-authenticate": challenge})
