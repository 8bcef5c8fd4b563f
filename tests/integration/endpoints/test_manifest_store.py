"""A manifest in the database: compared again before it is written, under a lock that keeps no reader waiting."""

from __future__ import annotations

import asyncio

import pytest

from cdc_bridge.endpoints import manifest_store
from cdc_bridge.endpoints.manifest import Manifest, read_manifest
from cdc_bridge.endpoints.manifest_plan import Plan
from cdc_bridge.endpoints.manifest_store import (
    OutcomeUnknown,
    PreparedManifest,
    apply_plan,
    new_secrets_for,
    prepare_manifest,
)
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS
from cdc_bridge.errors import BridgeError, StatementFailed
from cdc_bridge.queries import all_queries
from tests.support.access import ANNA
from tests.support.databases import Database

FILE = """
[endpoints.changed]
url = "https://till.example"
max_in_flight = 3
[endpoints.same]
url = "https://till.example"
[endpoints.new]
url = "https://till.example"
"""
ROWS = "select e::text from cdc_bridge.endpoint e order by name"
ADD = """
insert into cdc_bridge.endpoint (name, in_settings, url, secret, position, cluster)
select name, false, 'https://till.example', 'whsec_', '1:1:', 1 from unnest(%s::text[]) as name
"""


def manifest(text: str = FILE) -> Manifest:
    return read_manifest(text, allow_http=False, secret_in=str)


async def prepared(database: Database, text: str = FILE) -> PreparedManifest:
    return await prepare_manifest(
        database.bridge_url, manifest(text), cipher=NO_KEYS, prune=True, keep_headers=False, new_secrets=False
    )


@pytest.fixture
def endpoints(database: Database) -> Database:
    database.execute(ADD, (["changed", "same", "old"],))
    return database


async def applied(database: Database, plan: Plan, *, from_oldest: bool = False) -> None:
    secrets = new_secrets_for(plan)
    assert [*secrets] == [added.name for added in plan.added]
    await apply_plan(database.bridge_url, plan, secrets, cipher=NO_KEYS, from_oldest=from_oldest, by=ANNA)


@pytest.mark.parametrize(
    ("meanwhile", "words"),
    [
        ("update cdc_bridge.endpoint set max_in_flight = 9 where name = 'changed'", "changed was changed"),
        ("update cdc_bridge.endpoint set secret = 'x' where name = 'changed'", "changed was changed"),
        ("update cdc_bridge.endpoint set events = 'created' where name = 'same'", "same was changed"),
        ("update cdc_bridge.endpoint set url = 'https://x.example' where name = 'old'", "old was changed"),
        ("delete from cdc_bridge.endpoint where name = 'changed'", "changed was changed"),
        (
            "; ".join(["delete from cdc_bridge.endpoint where name = 'changed'", ADD.replace("%s", "'{changed}'")]),
            "changed was changed",
        ),
        (
            ADD.replace("%s", "'{new}'"),
            "new was added",
        ),
    ],
)
async def test_what_somebody_changed_meanwhile_is_not_overwritten(
    meanwhile: str, words: str, endpoints: Database
) -> None:
    plan = (await prepared(endpoints)).plan
    for statement in meanwhile.split("; "):
        endpoints.execute(statement)
    before = endpoints.execute(ROWS)
    with pytest.raises(BridgeError, match=f"endpoint {words} by somebody else meanwhile, and nothing was done"):
        await applied(endpoints, plan)
    assert endpoints.execute(ROWS) == before


async def test_endpoint_that_was_added_meanwhile_and_is_not_in_the_file_stays(endpoints: Database) -> None:
    plan = (await prepared(endpoints)).plan
    endpoints.execute(ADD, (["late"],))
    await applied(endpoints, plan)
    names = [name for (name,) in endpoints.execute("select name from cdc_bridge.endpoint order by name")]
    assert names == ["changed", "late", "new", "same"]


async def test_nothing_is_written_if_the_last_statement_fails(endpoints: Database) -> None:
    plan = (await prepared(endpoints)).plan
    before = endpoints.execute(ROWS)
    endpoints.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$; "
        "create trigger refuse before delete on cdc_bridge.endpoint execute function refuse()"
    )
    with pytest.raises(StatementFailed):
        await applied(endpoints, plan)
    assert endpoints.execute(ROWS) == before


async def test_it_is_unknown_what_was_done_if_the_connection_is_lost_at_commit(endpoints: Database) -> None:
    plan = (await prepared(endpoints)).plan
    endpoints.execute(
        "create function leave() returns trigger language plpgsql security definer as "
        "$$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$; "
        "create constraint trigger leave after delete on cdc_bridge.endpoint initially deferred "
        "for each row execute function leave()"
    )
    with pytest.raises(OutcomeUnknown, match="all of it was done, or nothing"):
        await applied(endpoints, plan)


async def test_what_daemons_write_meanwhile_stays(endpoints: Database) -> None:
    plan = (await prepared(endpoints)).plan
    endpoints.execute("update cdc_bridge.endpoint set position = '5:5:', fencing_token = 7, last_failure = 'x'")
    await applied(endpoints, plan, from_oldest=True)
    kept = "select name, position::text, fencing_token, last_failure from cdc_bridge.endpoint order by name"
    assert endpoints.execute(kept) == [
        ("changed", "5:5:", 7, "x"), ("new", "1:1:", 0, None), ("same", "5:5:", 7, "x")
    ]  # fmt: skip


async def test_it_waits_for_a_daemon_that_writes_and_gives_up_on_one_that_does_not_let_go(
    endpoints: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (await prepared(endpoints)).plan
    async with endpoints.connection(autocommit=False) as daemon:
        await daemon.execute("update cdc_bridge.endpoint set in_flight = 1 where name = 'same'")
        applying = asyncio.create_task(applied(endpoints, plan))
        while not endpoints.value("select count(*) from pg_locks where not granted"):
            await asyncio.sleep(0.02)
        await daemon.commit()
        await applying
    plan = (await prepared(endpoints, FILE.replace("= 3", "= 4"))).plan
    quick = all_queries()["limit_lock_of_endpoints"].replace("5s", "100ms")
    monkeypatch.setitem(manifest_store._queries, "limit_lock_of_endpoints", quick)
    async with endpoints.connection(autocommit=False) as daemon:
        await daemon.execute("update cdc_bridge.endpoint set in_flight = 2 where name = 'same'")
        with pytest.raises(BridgeError, match="another session locks the endpoints, and nothing was done"):
            await applied(endpoints, plan)


async def test_conditions_that_do_not_fit_are_found_among_many(database: Database) -> None:
    tables = [
        f'[endpoints.till-{number}]\nurl = "https://till.example"\nonly = ["adults={number if number % 50 else "x"}"]'
        for number in range(1, 201)
    ]
    faults = (await prepared(database, "\n".join(tables))).faults
    assert [fault.path for fault in faults] == [
        ("endpoints", f"till-{number}", "only") for number in (50, 100, 150, 200)
    ]
    faults = (await prepared(database, "\n".join(tables).replace('"adults=', '"adults=x'))).faults
    assert {fault.path[1] for fault in faults} == {f"till-{number}" for number in range(1, 201)}


async def test_backlog_of_few_endpoints_is_counted(endpoints: Database) -> None:
    assert [*(await prepared(endpoints)).lost] == ["old"]
    endpoints.execute(ADD, ([f"old-{number}" for number in range(100)],))
    many = await prepared(endpoints)
    assert (len(many.plan.removed), many.lost) == (101, {})


async def test_without_a_mapping_endpoints_can_be_added_that_get_everything(database: Database) -> None:
    database.execute("select cdc_bridge.drop_payload('reservation')")
    found = await prepared(database, '[endpoints.till]\nurl = "https://x.example"')
    assert found.faults == ()
    narrow = '[endpoints.till]\nurl = "https://x.example"\nonly = ["adults=1"]'
    (fault,) = (await prepared(database, narrow)).faults
    assert "the mapping defines no such payload" in fault.problem
