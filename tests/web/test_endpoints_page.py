"""What can be seen and done of endpoints on the page, against a real daemon."""

from __future__ import annotations

import re

from tests.support.databases import Database
from tests.support.page import Visitor

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
WHSEC = re.compile(r"whsec_[A-Za-z0-9+/=]+")


async def until_on_page(visitor: Visitor, path: str, *words: str) -> str:
    text = ""
    for _ in range(150):
        text = (await visitor.get(path)).text
        if all(word in text for word in words):
            return text
    raise AssertionError(f"{words} did not appear: {text}")


async def test_first_page_shows_each_endpoint_and_that_all_is_well(operator: Visitor, database: Database) -> None:
    text = await until_on_page(operator, "/", "All is well", "default", "healthy")
    assert "Add an endpoint" in text


async def test_endpoint_of_the_settings_is_shown_as_such_and_cannot_be_changed(operator: Visitor) -> None:
    page = await operator.get("/endpoints/default")
    assert "declared in the daemon's settings" in page.text
    assert "/endpoints/default/change" not in page.html
    refused = await operator.send("/endpoints/default/change", {"url": "https://other.example/"})
    assert "default is declared in a daemon's settings, and is changed there only." in refused.text
    refused = await operator.send("/endpoints/default/rotate-secret", {"keep_old_hours": "1"})
    assert "is changed there only" in refused.text
