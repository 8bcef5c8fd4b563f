"""The dashboard in a real browser: a restaurant's manager at work, at a desk and on a phone, with a mouse and without.

With ``CDC_BRIDGE_TEST_SCREENSHOTS`` set to a folder, pictures of all pages are left there.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.access import add_portal_token
from tests.support.bridge import Bridge
from tests.support.browser import Window, browser, needs_browser, window_of
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.endpoints import add_endpoint
from tests.support.page import TOKEN, VIEW_TOKEN
from tests.support.receiver import Receiver
from tests.support.responses import Response

pytestmark = needs_browser

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
SCREENSHOTS = os.environ.get("CDC_BRIDGE_TEST_SCREENSHOTS")
WHSEC = re.compile(r"^whsec_[A-Za-z0-9+/=]{44}$")
PATIENCE_MILLISECONDS = 60_000
LONG_NAME = "till" + "0123456789" * 5
KINDS = {"wide": {}, "narrow": {"narrow": True}, "dark": {"dark": True}}


@dataclass
class Manager:
    """Somebody at a window, and what is behind it."""

    window: Window
    kind: str
    database: Database
    receiver: Receiver
    certificates: Certificates

    @property
    def page(self) -> Page:
        return self.window.page

    async def picture(self, name: str) -> None:
        if SCREENSHOTS:
            await self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}-{self.kind}.png", full_page=True)

    async def sign_in(self, token: str = TOKEN) -> None:
        await self.window.open("/")
        await self.picture("sign-in")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.page.get_by_role("heading", name="Endpoints")).to_be_visible()

    async def add_till(self) -> str:
        """Add an endpoint; return its secret."""
        page = self.page
        await page.get_by_role("link", name="Add an endpoint").click()
        await page.get_by_label("Name", exact=True).fill("till")
        await page.get_by_label("URL").fill(self.receiver.url)
        await page.get_by_label("Headers").fill("x-till-key: open sesame")
        await page.get_by_text("More options").click()
        await page.get_by_label("CA file").fill(str(self.certificates.ca_file))
        await self.picture("add")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_text("Endpoint till is added.")).to_be_visible()
        secret = await page.locator("#secret").inner_text()
        assert WHSEC.match(secret)
        await expect(page.locator("#status .state")).to_have_text("healthy", timeout=PATIENCE_MILLISECONDS)
        await page.reload()
        assert secret not in await page.content()
        return secret

    async def sees_first_call_arrive(self) -> None:
        await self.page.get_by_role("link", name="Latest deliveries").click()
        await expect(self.page.get_by_text("No delivery matches.")).to_be_visible()
        self.database.execute(BOOKING, ("R1",))
        row = self.page.locator("#list tbody tr", has_text="R1")
        await expect(row.locator(".state")).to_have_text("delivered", timeout=PATIENCE_MILLISECONDS)
        assert any(call.headers.get("x-till-key") == "open sesame" for call in self.receiver.requests)

    def has_long_names(self) -> None:
        """Add what is as long as it may be, without a blank: an endpoint, its URL, a guest and a key."""
        url = f"{self.receiver.url}/{'0123456789' * 20}"
        add_endpoint(self.database, LONG_NAME, url, self.certificates.ca_file, "whsec_" + "A" * 44)
        self.database.execute("insert into customers (id, surname) values ('L', %s)", ("Llanfairpwllgwyngyll" * 5,))
        self.database.execute("insert into reservations (id, cust_id, reference) values (%s, 'L', 2)", ("K" * 300,))
        add_portal_token(self.database, LONG_NAME, "the token of a link")

    async def sees_it_break(self) -> None:
        self.receiver.script = lambda _: Response(status=503)
        for number in range(2, 6):
            self.database.execute(BOOKING, (f"R{number}",))
        page = self.page
        await page.get_by_role("link", name="Endpoints").click()
        till = page.locator(".endpoints li", has=page.get_by_role("link", name="till", exact=True))
        await expect(till.locator(".state")).to_have_text("failing", timeout=PATIENCE_MILLISECONDS)
        await expect(page.locator("#health")).to_contain_text("till has taken no bookings")
        await expect(page.locator("#health")).to_contain_text("HTTP 503")
        await expect(page.locator("h1")).to_contain_text("get no bookings at present")
        await expect(till.get_by_text(re.compile("^[1-9].* failed$"))).to_be_visible()
        await self.picture("overview")

    async def mends_it_and_tries(self) -> None:
        self.receiver.script = lambda _: Response()
        await self.page.get_by_role("link", name="till", exact=True).click()
        await self.page.get_by_role("button", name="Send a test request").click()
        await expect(self.page.get_by_text("Test request, directly: HTTP 200")).to_be_visible()
        await expect(self.page.locator("#status .state")).to_have_text("healthy", timeout=PATIENCE_MILLISECONDS)

    async def sends_a_dead_letter_again(self) -> None:
        self.database.execute(
            "update cdc_bridge.delivery d set state = 'dead', next_attempt_at = null from cdc_bridge.endpoint e "
            "where e.endpoint_id = d.endpoint_id and e.name = 'till' and d.reservation_id = 'R1'"
        )
        page = self.page
        await page.locator("#status").get_by_role("link", name="1", exact=True).click()
        await page.get_by_role("checkbox").check()
        await page.get_by_role("button", name="Send selected again").click()
        await expect(page.get_by_text("1 of 1 are sent again.")).to_be_visible()
        await page.get_by_role("link", name="Clear").click()
        row = page.locator("#list tbody tr", has_text="till").filter(has_text="R1")
        await expect(row.locator(".state")).to_have_text("delivered", timeout=PATIENCE_MILLISECONDS)
        await self.picture("deliveries")
        await row.get_by_role("link").first.click()

    async def looks_at_the_delivery(self) -> None:
        await expect(self.page.locator("#body")).to_contain_text('"id": "R1"')
        await expect(self.page.get_by_text("open sesame")).to_have_count(0)
        await self.page.get_by_text("Shell command").click()
        await expect(self.page.locator("#curl")).to_contain_text('--header "x-till-key: $X_TILL_KEY"')
        await self.picture("delivery")

    async def rotates(self, secret: str) -> None:
        page = self.page
        await page.get_by_role("link", name="Endpoints").click()
        await page.get_by_role("link", name="till", exact=True).click()
        await page.get_by_role("link", name="New secret").click()
        await self.picture("rotate")
        await page.get_by_role("button", name="Change the secret").click()
        await expect(page.locator("#secret")).to_be_visible()
        assert await page.locator("#secret").inner_text() != secret
        await self.picture("endpoint")

    async def pauses_and_resumes(self) -> None:
        await self.page.get_by_role("button", name="Pause").click()
        await expect(self.page.locator("#status .state")).to_have_text("paused")
        await self.page.get_by_role("button", name="Resume").click()
        state = self.page.locator("#status .state")
        await expect(state).to_have_text("healthy", timeout=PATIENCE_MILLISECONDS)

    async def signs_out(self) -> None:
        await self.page.get_by_role("button", name="Sign out").click()
        await expect(self.page.get_by_label("Token")).to_be_visible()
        await self.window.open("/deliveries")
        await expect(self.page.get_by_label("Token")).to_be_visible()


@pytest.fixture
async def manager(
    request: pytest.FixtureRequest,
    page_bridge: Bridge,
    page_port: int,
    database: Database,
    receiver: Receiver,
    certificates: Certificates,
) -> AsyncIterator[Manager]:
    kind = getattr(request, "param", "wide")
    async with browser() as running, window_of(running, f"http://127.0.0.1:{page_port}", **KINDS[kind]) as window:
        yield Manager(window, kind, database, receiver, certificates)


@pytest.mark.parametrize("manager", ["wide", "narrow"], indirect=True)
async def test_manager_adds_breaks_mends_rotates_pauses_and_leaves(manager: Manager, page_bridge: Bridge) -> None:
    await manager.sign_in()
    secret = await manager.add_till()
    await manager.sees_first_call_arrive()
    await manager.sees_it_break()
    await manager.mends_it_and_tries()
    await manager.sends_a_dead_letter_again()
    await manager.looks_at_the_delivery()
    await manager.rotates(secret)
    await manager.pauses_and_resumes()
    await manager.signs_out()
    assert [line["what"] for line in page_bridge.log if line["event"] == "dashboard change"] == [
        "endpoint added",
        "endpoint tested",
        "deliveries sent again",
        "secret rotated",
        "endpoint paused",
        "endpoint resumed",
    ]
    assert secret not in "".join(page_bridge.output)


@pytest.mark.parametrize("manager", ["narrow", "dark"], indirect=True)
async def test_no_page_keeps_anybody_from_using_it(manager: Manager) -> None:
    faults = {}
    await manager.window.open("/sign-in")
    faults["/sign-in"] = await manager.window.faults()
    await manager.sign_in()
    await manager.add_till()
    await manager.sees_first_call_arrive()
    manager.has_long_names()
    await manager.sees_it_break()
    for path in (
        "/",
        "/deliveries",
        "/deliveries?state=retrying&endpoint=none",
        "/deliveries/till/1",
        "/endpoints/till",
        "/endpoints/default",
        "/endpoints/new",
        "/endpoints/till/change",
        "/endpoints/till/rotate-secret",
        "/endpoints/till/remove",
        "/endpoints/till/resend?state=dead",
        "/endpoints/till/backfill",
        "/endpoints/till/reconcile",
        f"/endpoints/{LONG_NAME}",
        f"/endpoints/{LONG_NAME}/change",
        f"/endpoints/{LONG_NAME}/remove",
        "/audit",
        "/nothing",
    ):
        await manager.window.open(path)
        faults[path] = await manager.window.faults()
        assert await manager.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        await manager.picture(path.strip("/").replace("/", "-").partition("?")[0] or "first")
    assert {path: found for path, found in faults.items() if found} == {}


async def press_until(page: Page, key: str, name: str) -> None:
    """Press a key until what has the focus is called so."""
    focused = "document.activeElement.labels?.[0]?.innerText || document.activeElement.innerText || ''"
    seen = []
    for _ in range(60):
        await page.keyboard.press(key)
        seen.append((await page.evaluate(focused)).strip())
        if seen[-1] == name:
            # It has to be seen, too, where the focus is.
            assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    pytest.fail(f"{name} was not come to by {key}: {seen}")


async def test_keyboard_alone_will_do(manager: Manager) -> None:
    page = manager.page
    await manager.window.open("/")
    await expect(page.get_by_label("Token")).to_be_focused()
    await page.keyboard.type(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Endpoints")).to_be_visible()
    await press_until(page, "Tab", "Skip to content")
    await page.keyboard.press("Enter")
    await press_until(page, "Tab", "Add an endpoint")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Add an endpoint")).to_be_visible()
    for label, text in {"Name": "till", "URL": manager.receiver.url, "Headers": "x-till-key: 1"}.items():
        await press_until(page, "Tab", label)
        await page.keyboard.type(text)
    await press_until(page, "Tab", "Add")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Endpoint till is added.")).to_be_visible()
    await press_until(page, "Tab", "Pause")
    await page.keyboard.press("Space")
    await expect(page.locator("#status .state")).to_have_text("paused")
    await press_until(page, "Tab", "Remove")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Remove till?")).to_be_visible()
    await press_until(page, "Tab", "Remove till")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Endpoint till is removed.")).to_be_visible()
    await press_until(page, "Tab", "Sign out")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Token")).to_be_visible()


async def test_focus_stays_where_it_was_when_the_page_is_brought_up_to_date(manager: Manager) -> None:
    await manager.sign_in()
    link = manager.page.locator("#endpoints").get_by_role("link", name="default")
    await link.focus()
    manager.receiver.script = lambda _: Response(status=503)
    for number in range(4):
        manager.database.execute(BOOKING, (f"R{number}",))
    await expect(manager.page.locator("#endpoints .state")).to_have_text("failing", timeout=PATIENCE_MILLISECONDS)
    await expect(link).to_be_focused()


async def test_without_scripts_every_page_works(
    page_bridge: Bridge, page_port: int, database: Database, receiver: Receiver
) -> None:
    async with browser() as running:
        context = await running.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{page_port}/")
        await page.get_by_label("Token").fill(VIEW_TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        database.execute(BOOKING, ("R1",))
        await receiver.wait_for_delivered(1)
        await page.get_by_role("link", name="Deliveries").click()
        await page.get_by_label("Reservation").fill("R1")
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator("h1")).to_have_text("Deliveries")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await context.close()


async def test_window_says_that_it_is_old_when_the_daemon_is_dead(manager: Manager, page_bridge: Bridge) -> None:
    await manager.sign_in()
    await expect(manager.page.locator("h1")).to_contain_text("The next booking", timeout=PATIENCE_MILLISECONDS)
    await page_bridge.kill()
    await expect(manager.page.locator("#stale")).to_contain_text("Not up to date since", timeout=PATIENCE_MILLISECONDS)
    assert float(await manager.page.evaluate("getComputedStyle(document.querySelector('h1')).opacity")) < 1


async def test_secret_does_not_come_back_with_the_back_button(page_bridge: Bridge, page_port: int) -> None:
    async with browser(keeps_pages=True) as running, window_of(running, f"http://127.0.0.1:{page_port}") as window:
        page = window.page
        await window.open("/")
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("link", name="Add an endpoint").click()
        await page.get_by_label("Name", exact=True).fill("till")
        await page.get_by_label("URL").fill("https://till.example/")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#secret")).to_be_visible()
        await page.evaluate("addEventListener('pageshow', (event) => { document.title = `kept: ${event.persisted}` })")
        await page.get_by_role("link", name="Deliveries", exact=True).click()
        await expect(page.get_by_role("heading", name="Deliveries")).to_be_visible()
        await page.evaluate("history.back()")
        await expect(page).to_have_title("kept: true")
        assert "whsec_" not in await page.content()


async def test_link_to_the_portal_leaves_its_token_nowhere(
    page_bridge: Bridge, page_port: int, database: Database
) -> None:
    token = "cdcb_a-token-of-a-link"
    add_portal_token(database, "default", token)
    home = f"http://127.0.0.1:{page_port}"
    async with browser() as running:
        context = await running.new_context()
        page = await context.new_page()
        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.url} {request.headers}"))
        await page.goto(f"{home}/portal#{token}")
        await expect(page.get_by_label("Token")).to_have_value(token)
        await expect(page).to_have_url(f"{home}/portal")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("heading", name="default")).to_be_visible()
        assert len(sent) > 3
        assert [each for each in sent if token in each] == []
        await page.go_back()
        await expect(page).to_have_url(f"{home}/portal")
        assert token not in await page.content()
        await page.get_by_role("link", name="Deliveries").click()
        await expect(page.get_by_role("heading", name="Deliveries")).to_be_visible()
        assert await page.get_by_label("Endpoint").count() == 0
        await context.close()
