"""``make pictures``: its scene can be played and pictured."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.support.browser import needs_browser
from tests.support.databases import Database
from tests.support.pictures import OVERVIEW, WIDTH, signed_in, take_overview
from tests.support.scene import scene


@needs_browser
async def test_picture_of_the_overview_is_taken(database: Database, tmp_path: Path) -> None:
    async with scene(database, tmp_path) as url, signed_in(url) as window:
        await take_overview(window, tmp_path)
    head = (tmp_path / OVERVIEW).read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:])
    assert width == WIDTH
    assert 800 < height < 1300
