"""Replay reads each reservation once, whatever the pages, also where several keys have one hash."""

from __future__ import annotations

import pytest

from cdc_bridge.deliveries import replay
from cdc_bridge.deliveries.replay import ReplayProgress, Selection, count
from cdc_bridge.endpoints.lookup import resolve_endpoint
from cdc_bridge.model import DeliveryState, ReservationId
from cdc_bridge.queries import all_queries
from tests.support.databases import Database

FILL = """
create function public.hash_of_few(text, integer) returns bigint immutable language sql as 'select length($1) % 3 - 1';
insert into cdc_bridge.endpoint (name, in_settings, url, position, cluster)
select 'till', false, 'https://till.example', '1:1:', system_identifier from pg_control_system();
insert into cdc_bridge.delivery (endpoint_id, seq, reservation_id, operation, changed_at, state, attempts, failures)
select 1, n, repeat('x', n % 30), 'U', now(), case when n > 60 then 'delivered' else 'dead' end, 1, 0
from generate_series(0, 89) n
"""


async def selected(database: Database, selection: Selection) -> ReplayProgress:
    async with database.connection() as connection:
        return await count(connection, await resolve_endpoint(connection, None), selection)


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
@pytest.mark.parametrize("page_bytes", [20, 1_000_000])
@pytest.mark.parametrize("hash_", ["hashtextextended", "public.hash_of_few"])
async def test_each_reservation_is_selected_once(
    page: int, page_bytes: int, hash_: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = all_queries()["newest_deliveries"].replace("hashtextextended", hash_)
    monkeypatch.setattr(replay, "_queries", {"newest_deliveries": statement})
    monkeypatch.setattr(replay, "_PAGE", page)
    monkeypatch.setattr(replay, "PAGE_BYTES", page_bytes)
    database.execute(FILL)
    assert (await selected(database, Selection(states=[DeliveryState.DELIVERED]))).selected == 29
    assert (await selected(database, Selection(states=[DeliveryState.DEAD]))).selected == 1  # the empty key
    some = [ReservationId("x" * number) for number in (0, 3, 6, 29, 30)]
    chosen = await selected(database, Selection(reservation_ids=some))
    assert chosen.named == set(some[:4])
    assert chosen.selected == 4
