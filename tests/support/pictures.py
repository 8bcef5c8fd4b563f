"""Takes the pictures of the dashboard that README and the operator guide show: ``python -m tests.support.pictures``.

``make pictures`` does so. The scene is the same each time (:mod:`tests.support.scene`); only the times are others.
"""

from __future__ import annotations

import asyncio
import io
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.async_api import Locator, Page, expect

from tests.support.browser import CHROMIUM, Window, browser, window_of
from tests.support.databases import create, install_bridge, load_example
from tests.support.generated import PROJECT
from tests.support.scene import FAILING, REJECTING, TOKEN, scene
from tests.support.server import Server, own_server

FOLDER = PROJECT / "cdc_bridge" / "packaging"
OVERVIEW = "dashboard.png"
WIDTH = 1280
_ROWS = 14
_MARGIN = 12
_COLOURS = 200
"""The most frequent ones: the file is half of what it is with all shades of the edges of letters, and looks alike."""


@asynccontextmanager
async def signed_in(url: str) -> AsyncIterator[Window]:
    """Open a window of the scene's manager."""
    async with browser() as running, window_of(running, url) as window:
        await window.open("/")
        await window.page.get_by_label("Token").fill(TOKEN)
        await window.page.get_by_role("button", name="Sign in").click()
        await expect(window.page.get_by_role("heading", name="Endpoints")).to_be_visible()
        yield window


async def take_overview(window: Window, folder: Path) -> None:
    """Take the picture of the first page."""
    page = window.page
    await window.open("/")
    await expect(page.locator("h1")).to_contain_text(f"{FAILING} has taken no booking since")
    await expect(page.locator("#health")).to_contain_text(f"{REJECTING} rejects some bookings")
    await expect(page.locator("#health li")).to_have_count(2)
    await expect(page.locator(".endpoints .state.healthy")).to_have_count(2)
    await _take(page, folder / OVERVIEW, page.locator("#endpoints"))


async def take_deliveries(window: Window, folder: Path) -> None:
    """Take the pictures of the list of deliveries and of one that is rejected again and again."""
    page = window.page
    await window.open("/deliveries")
    await expect(page.locator("#banner")).to_contain_text(FAILING)
    await _take(page, folder / "deliveries.png", page.locator("#list tbody tr").nth(_ROWS - 1), margin=0)
    await window.open(f"/deliveries?endpoint={REJECTING}&state=retrying")
    await page.locator("#list tbody tr").nth(1).get_by_role("link").first.click()
    await page.locator("#attempts").get_by_text("Response", exact=True).last.click()
    await expect(page.locator("#attempts pre").last).to_contain_text("No table for 9")
    await _take(page, folder / "delivery.png", page.locator("#attempts"))


async def _take(page: Page, file: Path, last: Locator, margin: int = _MARGIN) -> None:
    """Take a picture of a page down to what is to be last in it."""
    await page.set_viewport_size({"width": WIDTH, "height": 100})
    await page.mouse.move(0, 0)
    box = await last.bounding_box()
    assert box is not None
    bottom = box["y"] + box["height"] + margin + await page.evaluate("scrollY")
    shot = await page.screenshot(
        full_page=True, animations="disabled", clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom}
    )
    picture = _with_few_colours(Image.open(io.BytesIO(shot)).convert("RGB"))
    picture.save(file, optimize=True)
    print(f"{file}: {picture.width} x {picture.height}")


def _with_few_colours(picture: Image.Image) -> Image.Image:
    # Pillow's own way to apply a palette is not exact: white came out as grey.
    red, green, blue = (channel.tobytes() for channel in picture.split())
    pixels = list(zip(red, green, blue, strict=True))
    counted = Counter(pixels)
    kept = [colour for colour, _ in counted.most_common(_COLOURS)]
    nearest = {colour: min(range(len(kept)), key=lambda number: math.dist(kept[number], colour)) for colour in counted}
    small = Image.frombytes("P", picture.size, bytes(nearest[colour] for colour in pixels))
    small.putpalette([part for colour in kept for part in colour])
    return small


async def _take_all(folder: Path) -> None:
    with TemporaryDirectory(prefix="cdc-bridge-pictures-") as files, own_server(None) as postgres:
        database = create(Server("embedded", postgres.url, postgres.binaries), "pictures")
        load_example(database)
        install_bridge(database)
        async with scene(database, Path(files)) as url, signed_in(url) as window:
            await take_overview(window, folder)
            await take_deliveries(window, folder)


def main() -> None:
    """Take them all."""
    if CHROMIUM is None:
        sys.exit("There is no Chromium here. On Debian and Ubuntu: apt-get install chromium")
    asyncio.run(_take_all(FOLDER))


if __name__ == "__main__":
    main()
