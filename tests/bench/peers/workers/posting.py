"""How all of them post: with aiohttp, over HTTPS, to a receiver whose certificate is verified."""

from __future__ import annotations

import os
import ssl
from functools import cache

import aiohttp

IN_FLIGHT = 64
"""Requests at once, of each of them."""


@cache
def session() -> aiohttp.ClientSession:
    """Return the one session of this process."""
    tls = ssl.create_default_context(cafile=os.environ["CA_FILE"])
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=tls), raise_for_status=True)


async def post(reservation_id: str, body: str) -> None:
    """Post a reservation; raise unless the response is a 2xx."""
    headers = {"content-type": "application/json", "ce-subject": reservation_id}
    async with session().post(os.environ["RECEIVER_URL"], data=body.encode(), headers=headers) as response:
        await response.read()
