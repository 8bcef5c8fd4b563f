"""A guest is found by what people know, a part of the deliveries at a time, and nobody is left out."""

from __future__ import annotations

import pytest

from cdc_bridge.deliveries import guest_search as module
from cdc_bridge.deliveries.guest_search import search_deliveries
from cdc_bridge.deliveries.listing import Cursor, DeliveryFilter
from cdc_bridge.deliveries.sessions import CommandSessions
from cdc_bridge.errors import PayloadInvalid
from tests.support.databases import Database
from tests.support.payloads import replace_in_payload

RESERVATIONS = 12
FILL = f"""
insert into cdc_bridge.endpoint (name, in_settings, url, headers, timeout_seconds, position, cluster)
select 'till', false, 'https://till.example', '{{}}', 1, '1:1:', system_identifier from pg_control_system();
insert into customers (id, title, firstname, surname, email, mobile)
select 'C' || n, 'Mr', 'Graham', 'Murt' || n, 'Guest' || n || '@Kernow.example', '07000 00' || 1000 + n
from generate_series(0, {RESERVATIONS} - 1) as n;
insert into reservations (id, cust_id, reference)
select 'R' || n, 'C' || n, 920 + n from generate_series(0, {RESERVATIONS} - 1) as n;
"""
RECORDED = """
insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures)
select e.endpoint_id, c.seq, c.reservation_id, c.operation, c.changed_at, 'delivered', 1, 0
from cdc_bridge.change c, cdc_bridge.endpoint e
where c.seq % 2 = 0
"""


@pytest.fixture(autouse=True)
def filled(database: Database) -> None:
    database.execute(FILL)
    database.execute(RECORDED)


async def found(database: Database, text: str) -> list[list[str]]:
    """Return what each page of a search has."""
    pages: list[list[str]] = []
    after: Cursor | None = None
    while True:
        page = await search_deliveries(CommandSessions(database.bridge_url), DeliveryFilter(), text, 50, after)
        assert {delivery.reservation_id for delivery in page.deliveries} >= set(page.bookings)
        pages.append([delivery.reservation_id for delivery in page.deliveries])
        if page.next is None:
            return pages
        after = Cursor.parse(str(page.next))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("murt7", ["R7"]),
        ("Mr Graham Murt3", ["R3"]),
        ("926", ["R6"]),
        ("guest5@kernow", ["R5"]),
        ("07000001004", ["R4"]),
        ("R2", ["R2"]),
        ("graham", [f"R{number}" for number in reversed(range(RESERVATIONS))]),
        ("nobody", []),
    ],
)
async def test_guest_is_found_by_name_contact_reference_or_key(database: Database, text: str, ids: list[str]) -> None:
    assert await found(database, text) == [ids]


async def test_search_reads_so_many_deliveries_and_goes_on_from_there(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ", (1, 3))
    assert await found(database, "murt2") == [[], [], ["R2"]]
    assert await found(database, "nobody") == [[], [], []]


async def test_booking_that_cannot_be_read_hides_no_other(database: Database) -> None:
    replace_in_payload(database, "r.reference", "(r.reference + 0 / (r.reference - 927))::integer")
    assert await found(database, "murt3") == [["R3"]]


async def test_search_that_can_read_no_booking_says_so(database: Database) -> None:
    database.execute("alter table customers drop column surname")
    with pytest.raises(PayloadInvalid):
        await found(database, "murt3")
