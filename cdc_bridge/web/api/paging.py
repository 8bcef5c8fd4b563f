"""Pages of a list: a cursor says behind what the next one begins, so that none is missed or repeated in between."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from cdc_bridge.web.api.fields import Field

CURSOR = "cursor"

T = TypeVar("T")


def cursor_field(parse: Callable[[str], T]) -> Field:
    """Return the parameter for a cursor.

    Args:
        parse: Reads what stands in it; raises ``ValueError`` if it is not of this list.
    """

    def read(value: Any) -> T:
        try:
            return parse(b64decode(str(value).encode("ascii"), altchars=b"-_", validate=True).decode("ascii"))
        except ValueError:
            raise ValueError("is not a cursor of this list") from None

    description = "Where the page begins, as next has it; do not rely on what stands in it."
    return Field(name=CURSOR, description=description, schema={"type": "string"}, read=read)


def next_page(request: web.Request, place: str | None) -> str | None:
    """Return the link to the next page.

    Args:
        request: The request for this page.
        place: Where the next one begins; ``None``: this is the last one.
    """
    if place is None:
        return None
    asked = [(name, value) for name, value in request.query.items() if name != CURSOR]
    cursor = urlsafe_b64encode(place.encode("ascii")).decode("ascii")
    return f"{request.path}?{urlencode([*asked, (CURSOR, cursor)])}"
