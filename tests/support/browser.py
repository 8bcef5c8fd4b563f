"""A real browser, Debian's Chromium, driven by Playwright; tests that need it are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)"
)
_AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
_SERIOUS = {"serious", "critical"}
_WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 360, "height": 740}


@dataclass
class Window:
    """A window of the browser, and all that went wrong in it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    """What the browser complained of: scripts that failed, what the content security policy refused."""
    asked: list[str] = field(default_factory=list)
    """All addresses that were asked for."""

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        # That a page was answered with 403 and the like is told as well, and is no fault of the page.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.asked.append(request.url)

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.url}{path}")

    async def faults(self) -> list[str]:
        """Return what axe-core finds on the page that keeps some people from using it."""
        await self.page.evaluate(_AXE)
        found: dict[str, Any] = await self.page.evaluate("axe.run()")
        assert found["passes"]
        return [
            f"{fault['id']}: {node['html']}"
            for fault in found["violations"]
            if fault["impact"] in _SERIOUS
            for node in fault["nodes"]
        ]

    def assert_nothing_was_wrong(self) -> None:
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith(self.url)] == []


@asynccontextmanager
async def browser(*, keeps_pages: bool = False) -> AsyncIterator[Browser]:
    """Start a browser; with ``keeps_pages`` one whose Back button shows a page as it was left, as people's do."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],
            ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else None,
        )
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def window_of(running: Browser, url: str, *, narrow: bool = False, dark: bool = False) -> AsyncIterator[Window]:
    """Open a window; at its end nothing may have been wrong in it."""
    context = await running.new_context(
        viewport=NARROW if narrow else _WIDE,  # type: ignore[arg-type]
        color_scheme="dark" if dark else "light",
        has_touch=narrow,
        locale="en-GB",
    )
    context.set_default_timeout(20_000)
    window = Window(await context.new_page(), url)
    try:
        yield window
        window.assert_nothing_was_wrong()
    finally:
        await context.close()
