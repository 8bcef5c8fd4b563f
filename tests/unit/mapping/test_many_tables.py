"""A draft takes seconds, however many tables there are."""

from __future__ import annotations

from cdc_bridge.mapping.catalogue import Catalogue, Column, Table
from cdc_bridge.mapping.draft import Named, draft

WORDS = [
    "order",
    "invoice",
    "ledger",
    "stock",
    "supplier",
    "shift",
    "menu",
    "dish",
    "room",
    "voucher",
    "campaign",
    "tax",
]
NUMBER = 2000


def table(oid: int, name: str, *columns: str) -> Table:
    own = [Column("id", "int4", "integer", not_null=True), *(Column(each, "int4", "integer") for each in columns)]
    return Table(oid, "public", name, rows=1, columns={each.name: each for each in own}, unique=(("id",),))


def test_table_is_found_among_thousands_with_what_it_refers_to() -> None:
    references = [f"{word}_id" for word in WORDS]
    others = [table(number, f"{WORDS[number % len(WORDS)]}_{number}", *references) for number in range(NUMBER)]
    booking = table(NUMBER, "booking", "covers", "children", "duration", "guest_id", *references)
    guest = table(NUMBER + 1, "guest", "visits")
    found = draft(Catalogue({each.oid: each for each in [*others, booking, guest]}), Named(), None)
    assert (str(found.reservation), str(found.customer)) == ("public.booking", "public.guest")
