"""Another server takes over than the one that the daemon has read from: nothing that it has is missing or out of order.

A standby that was behind, a crash that loses what was committed asynchronously, a recovery to a point in time, a dump.
What the daemon knew is no longer true: the server that serves now draws numbers again that were delivered.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.support.bridge import Bridge, Bridges
from tests.support.databases import Database
from tests.support.length import chosen
from tests.support.receiver import Receiver
from tests.support.responses import Response
from tests.support.server import Server, in_memory
from tests.support.standby import Recovery, Standby, copy_of_files, put_back
from tests.support.waiting import until

BOOKING = "insert into reservations (id, cust_id, reference) values (%s, 'C', 1)"
CHANGE = "update reservations set adults = adults + 1 where id = %s"
PENDING = "select count(*) from cdc_bridge.delivery where state in ('queued', 'retrying')"
RECORDED = "select count(*) from cdc_bridge.delivery"
NEW = 20
BULK = chosen(5_000, 50_000)


def on(postgres: ThrowawayPostgres) -> Database:
    return Database(Server("own", postgres.url, postgres.binaries), "postgres")


async def everything_arrived(database: Database, receiver: Receiver) -> None:
    """Wait until every reservation has arrived as the serving database has it; check the order of what arrived."""
    now = dict(database.execute("select id, adults from reservations"))
    missing, looked_at = set(now), 0

    def arrived() -> bool:
        nonlocal looked_at
        for request in receiver.delivered[looked_at:]:
            is_as_now = request.json["adults"] == now.get(request.reservation_id)
            (missing.discard if is_as_now else missing.add)(request.reservation_id)
        looked_at = len(receiver.delivered)
        return missing.isdisjoint(now)

    await receiver.wait_for(arrived, "every reservation as it is now", patience_seconds=300)
    sequences: dict[str, list[int]] = defaultdict(list)
    for request in receiver.delivered:
        sequences[request.reservation_id].append(request.sequence)
    back = {id_: each for id_, each in sequences.items() if any(later < earlier for earlier, later in pairwise(each))}
    assert not back


async def run(*command: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


async def streaming(database: Database) -> None:
    await until(
        lambda: database.value("select count(*) from pg_stat_replication where state = 'streaming'") == 1,
        "the standby streams",
    )


async def caught_up(database: Database) -> None:
    await until(
        lambda: bool(database.value("select bool_and(replay_lsn >= pg_current_wal_lsn()) from pg_stat_replication")),
        "the standby has everything",
    )


@pytest.mark.parametrize("latest_only", ["true", "false"])
@pytest.mark.parametrize("daemon", ["stays", "is started again"])
async def test_standby_that_was_behind_takes_over(
    daemon: str,
    latest_only: str,
    durable_server: ThrowawayPostgres,
    durable_database: Database,
    durable_bridges: Bridges,
    receiver: Receiver,
) -> None:
    durable_database.execute("insert into customers (id) values ('C')")
    for id_ in ("CHANGED", "REJECTED"):
        durable_database.execute(BOOKING, (id_,))
    receiver.script = lambda request: Response(422 if request.reservation_id == "REJECTED" else 200)
    with Standby(durable_server) as standby:
        await streaming(durable_database)
        settings = {
            "CDC_BRIDGE_DATABASE_URL": standby.through_either(durable_database.bridge_url),
            "CDC_BRIDGE_ENDPOINT_LATEST_ONLY": latest_only,
        }
        bridge = await durable_bridges.start(**settings)
        await receiver.wait_for_delivered(1)
        await until(lambda: durable_database.value(PENDING) == 1, "the rejection is recorded")
        await caught_up(durable_database)
        standby.cut_off()
        await until(lambda: not standby.receives(), "the standby is cut off")
        for number in range(NEW):
            durable_database.execute(BOOKING, (f"LOST-{number}",))
            durable_database.execute(CHANGE, ("CHANGED",))
        await receiver.wait_for(
            lambda: {f"LOST-{number}" for number in range(NEW)} <= {r.reservation_id for r in receiver.delivered},
            "what will be lost",
        )
        durable_server.stop("immediate")
        receiver.script = lambda _: Response()
        if daemon == "is started again":
            await bridge.kill()
        await asyncio.to_thread(standby.promote)
        now = on(standby)
        for number in range(NEW):  # at once: some are booked before the daemon knows the server
            now.execute(BOOKING, (f"NEW-{number}",))
        if daemon == "is started again":
            bridge = await durable_bridges.start(**settings)
        else:
            await bridge.wait_for_log("another server")
        now.execute(CHANGE, ("CHANGED",))
        now.execute("update cdc_bridge.delivery set next_attempt_at = now() where state = 'retrying'")
        now.execute("notify cdc_bridge_endpoint")
        await everything_arrived(now, receiver)
        assert max(now.value("select max(seq) from cdc_bridge.change"), 0) < max(r.seq for r in receiver.delivered)
        assert await bridge.terminate() == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_standby_takes_over_in_the_middle_of_a_large_transaction(
    durable_server: ThrowawayPostgres, durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    durable_database.execute("insert into customers (id) values ('C')")
    with Standby(durable_server) as standby:
        await streaming(durable_database)
        bridge = await durable_bridges.start(
            CDC_BRIDGE_DATABASE_URL=standby.through_either(durable_database.bridge_url)
        )
        durable_database.execute(
            "insert into reservations (id, cust_id, reference) select 'B' || i, 'C', i from generate_series(1, %s) i",
            (BULK,),
        )
        await receiver.wait_for_delivered(BULK // 10)
        standby.cut_off()
        await until(lambda: not standby.receives(), "the standby is cut off")
        await receiver.wait_for_delivered(receiver.delivered_count + BULK // 10)
        durable_server.stop("immediate")
        await asyncio.to_thread(standby.promote)
        now = on(standby)
        now.execute(CHANGE, ("B1",))
        await everything_arrived(now, receiver)
        assert await bridge.terminate() == 0


async def test_rejected_delivery_is_retried_after_a_crash_with_asynchronous_commits(
    durable_server: ThrowawayPostgres, durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    durable_database.execute("alter system set wal_writer_delay = '10s'")
    durable_database.execute("select pg_reload_conf()")
    durable_database.execute("alter database postgres set synchronous_commit = off")
    durable_database.execute("alter role cdc_bridge set synchronous_commit = off")
    durable_database.execute("set synchronous_commit = on; insert into customers (id) values ('C')")
    receiver.script = lambda _: Response(422)
    bridge = await durable_bridges.start()
    durable_database.execute("set synchronous_commit = on; " + BOOKING.replace("%s", "'R'"))
    await until(lambda: durable_database.value(PENDING) == 1, "the rejection is recorded")
    durable_server.kill()
    await asyncio.to_thread(durable_server.start)
    receiver.script = lambda _: Response()
    assert durable_database.value(PENDING) == 1
    durable_database.execute("update cdc_bridge.delivery set next_attempt_at = now()")
    durable_database.execute("notify cdc_bridge_endpoint")
    await everything_arrived(durable_database, receiver)
    assert await bridge.terminate() == 0


def crash(postgres: ThrowawayPostgres) -> None:
    postgres.kill()
    postgres.start()


def restart_in_order(postgres: ThrowawayPostgres) -> None:
    postgres.stop()
    postgres.start()


def end_one_session_as_a_fault_does(postgres: ThrowawayPostgres) -> None:
    """Kill one server process: PostgreSQL ends all others and recovers, under the same postmaster."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)


@pytest.mark.parametrize("end", [crash, restart_in_order, end_one_session_as_a_fault_does])
async def test_commits_of_e_res_that_a_crash_takes_back_do_not_hide_later_ones(
    end: Callable[[ThrowawayPostgres], None],
    durable_server: ThrowawayPostgres,
    durable_database: Database,
    durable_bridges: Bridges,
    receiver: Receiver,
) -> None:
    durable_database.execute("alter system set wal_writer_delay = '10s'")
    durable_database.execute("alter system set synchronous_commit = off")
    durable_database.execute("select pg_reload_conf()")
    durable_database.execute("insert into customers (id) values ('C')")
    durable_database.execute(BOOKING, ("CHANGED",))
    durable_database.execute("checkpoint")
    receiver.script = lambda _: Response(503)  # Nothing is recorded, so nothing that is committed is flushed with it.
    bridge = await durable_bridges.start()
    await receiver.wait_for(lambda: bool(receiver.requests), "the endpoint is called")
    for _ in range(3):
        for number in range(NEW):
            durable_database.execute(f"{BOOKING} on conflict do nothing", (f"R{number}",))
            durable_database.execute(CHANGE, ("CHANGED",))
        logged = len(bridge.log)
        await asyncio.to_thread(end, durable_server)
        await bridge.wait_for_log("another server", since=logged)
    for number in range(NEW):
        durable_database.execute(BOOKING, (f"AFTER-{number}",))
    receiver.script = lambda _: Response()
    await everything_arrived(durable_database, receiver)
    assert await bridge.terminate() == 0


@pytest.fixture
def archive() -> Iterator[Path]:
    """A folder that the server may write to, whichever user it runs as."""
    with TemporaryDirectory(dir=in_memory()) as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


async def test_recovery_to_a_point_in_time(
    durable_server: ThrowawayPostgres,
    durable_database: Database,
    durable_bridges: Bridges,
    receiver: Receiver,
    archive: Path,
) -> None:
    durable_database.execute("alter system set archive_mode = 'on'")
    durable_database.execute(f"alter system set archive_command = 'cp %p {archive}/%f'")
    restart_in_order(durable_server)
    durable_database.execute("insert into customers (id) values ('C')")
    durable_database.execute(BOOKING, ("CHANGED",))
    with Recovery(durable_server, archive) as recovery:
        bridge = await durable_bridges.start()
        for _ in range(NEW):
            durable_database.execute(CHANGE, ("CHANGED",))
        durable_database.execute("select pg_create_restore_point('good')")
        for number in range(NEW):
            durable_database.execute(BOOKING, (f"TAKEN-BACK-{number}",))
            durable_database.execute(CHANGE, ("CHANGED",))
        await receiver.wait_for(lambda: receiver.delivered_count > NEW, "deliveries")
        durable_database.execute("select pg_switch_wal()")
        await bridge.kill()
        durable_server.stop()
        await asyncio.to_thread(recovery.recover_to, "good")
        now = on(recovery)
        await until(lambda: not now.value("select pg_is_in_recovery()"), "it can be written to")
        bridge = await durable_bridges.start(CDC_BRIDGE_DATABASE_URL=now.bridge_url)
        now.execute(CHANGE, ("CHANGED",))
        now.execute(BOOKING, ("NEW",))
        await everything_arrived(now, receiver)
        assert await bridge.terminate() == 0


async def test_database_that_is_dropped_and_restored_under_the_daemon(
    durable_server: ThrowawayPostgres, durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    server = durable_database.server
    with psycopg.connect(durable_database.url, autocommit=True) as connection:
        connection.execute("create database eres template postgres")
    eres = Database(server, "eres")
    eres.execute("insert into customers (id) values ('C')")
    bridge: Bridge = await durable_bridges.start(CDC_BRIDGE_DATABASE_URL=eres.bridge_url)
    eres.execute(BOOKING, ("CHANGED",))
    await receiver.wait_for_delivered(1)
    await until(lambda: eres.value(RECORDED) == 1, "the delivery is recorded")
    with psycopg.connect(durable_database.url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'eres'")
        connection.execute("alter database eres allow_connections false")
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'eres'")
        connection.execute("create database backup template eres")
        connection.execute("alter database eres allow_connections true")
    for number in range(NEW):
        eres.execute(BOOKING, (f"TAKEN-BACK-{number}",))
        eres.execute(CHANGE, ("CHANGED",))
    await receiver.wait_for(lambda: receiver.delivered_count > NEW, "deliveries")
    with psycopg.connect(durable_database.url, autocommit=True) as connection:
        connection.execute("drop database eres with (force)")
        connection.execute("alter database backup rename to eres")
    await bridge.wait_for_log("another server", reason="database restored")
    for number in range(NEW):
        eres.execute(BOOKING, (f"NEW-{number}",))
    eres.execute(CHANGE, ("CHANGED",))
    await everything_arrived(eres, receiver)
    assert await bridge.terminate() == 0


async def test_copy_of_the_files_that_is_put_back(
    durable_server: ThrowawayPostgres, durable_database: Database, durable_bridges: Bridges, receiver: Receiver
) -> None:
    durable_database.execute("insert into customers (id) values ('C')")
    durable_database.execute(BOOKING, ("CHANGED",))
    bridge = await durable_bridges.start()
    await receiver.wait_for_delivered(1)
    await until(lambda: durable_database.value(RECORDED) == 1, "the delivery is recorded")
    durable_server.stop()
    copy = copy_of_files(durable_server)
    durable_server.start()
    for number in range(NEW):
        durable_database.execute(BOOKING, (f"TAKEN-BACK-{number}",))
        durable_database.execute(CHANGE, ("CHANGED",))
    await receiver.wait_for(lambda: receiver.delivered_count > NEW, "deliveries")
    durable_server.stop()
    put_back(durable_server, copy)
    durable_server.start()
    durable_database.execute(CHANGE, ("CHANGED",))
    durable_database.execute(BOOKING, ("NEW",))
    await everything_arrived(durable_database, receiver)
    assert await bridge.terminate() == 0


async def test_dump_that_is_restored_in_place_under_the_daemon(
    durable_database: Database, durable_server: ThrowawayPostgres, durable_bridges: Bridges, receiver: Receiver,
    tmp_path: Path,
) -> None:  # fmt: skip
    durable_database.execute("insert into customers (id) values ('C')")
    durable_database.execute(BOOKING, ("CHANGED",))
    bridge = await durable_bridges.start()
    await receiver.wait_for_delivered(1)
    await until(lambda: durable_database.value(RECORDED) == 1, "the delivery is recorded")
    programs, dump = durable_server.binaries, tmp_path / "dump"
    await run(programs / "pg_dump", "-Fc", "-f", dump, "--dbname", durable_database.url)
    for number in range(NEW):
        durable_database.execute(BOOKING, (f"TAKEN-BACK-{number}",))
        durable_database.execute(CHANGE, ("CHANGED",))
    await receiver.wait_for(lambda: receiver.delivered_count > NEW, "deliveries")
    in_place = ("--clean", "--if-exists", "--single-transaction")
    await run(programs / "pg_restore", *in_place, "--dbname", durable_database.url, dump)
    await bridge.wait_for_log("another server", reason="database restored")
    durable_database.execute(CHANGE, ("CHANGED",))
    durable_database.execute(BOOKING, ("NEW",))
    await everything_arrived(durable_database, receiver)
    assert await bridge.terminate() == 0


def test_history_grows_whenever_another_server_is_found(database: Database) -> None:
    servers = ["a", "a", "b", "a", "b", "b", "c"]
    found = [database.value("select cdc_bridge.history_of(%s)", (server,)) for server in servers]
    assert [later > earlier for earlier, later in pairwise(found)] == [
        later != earlier for earlier, later in pairwise(servers)
    ]
