"""What the measures run on: PostgreSQL, databases with an example e-Res, a receiver, daemons."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, Self, get_args

import trustme

from cdc_bridge.demo.throwaway_postgres import ThrowawayPostgres
from tests.bench.receiver import nginx, nginx_program, started_receiver
from tests.bench.usage import Usage
from tests.support.bridge import HEADER, SECRET, Bridge
from tests.support.databases import Database, create, drop, install_bridge, load_example
from tests.support.server import Server

POSTGRES_SETTINGS = {
    # A quarter of what a small server has, and no checkpoint in the midst of a measure.
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    # Vacuum runs where a measure says so, not beside one contender and not beside the other.
    "autovacuum": "off",
    "shared_preload_libraries": "pg_stat_statements",
}
RESERVATIONS = 100_000
PATIENCE_SECONDS = 300.0
_PAUSE_PER_LOOK = 50
LOOK_EVERY_SECONDS = 0.2

_EXAMPLE = f"""
insert into public.customers (id, firstname, surname, email, phone)
select upper(md5('c' || i)), 'Firstname' || i, 'Surname' || i, 'guest' || i || '@example.com', '+44 20 7946 ' || i
from generate_series(1, 5000) as i;
insert into public.calls (call_id, number) select md5('k' || i), '+44' || i from generate_series(1, 5000) as i;
insert into public.reservations (id, cust_id, reference, room_name, meal_name, notes, call_id)
select upper(md5('r' || i)), upper(md5('c' || 1 + i % 5000)), i, 'Main Restaurant', 'Dinner', 'A table by the window',
  case when i % 3 = 0 then md5('k' || 1 + i % 5000) end
from generate_series(1, {RESERVATIONS}) as i;
"""

_NAIVE = """
create table public.outbox (
  seq bigint generated always as identity primary key,
  reservation_id text not null,
  operation text not null,
  changed_at timestamptz not null default now()
);
create function public.capture() returns trigger language plpgsql as $$
begin
  insert into public.outbox (reservation_id, operation) values (new.id, tg_op);
  perform pg_notify('reservation', new.id);
  return null;
end
$$;
create trigger capture after insert or update on public.reservations for each row execute function public.capture();
"""

_EMPTY = """
create function public.nothing() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger nothing after update on public.reservations
referencing new table as changed_rows for each statement execute function public.nothing();
"""

_NAIVE_FOR_THE_DAEMON = """
drop trigger cdc_bridge_insert on public.reservations;
drop trigger cdc_bridge_update on public.reservations;
create function public.capture() returns trigger language plpgsql security definer as $$
begin
  insert into cdc_bridge.change (reservation_id, operation, changed_at)
  values (new.id, left(tg_op, 1)::"char", clock_timestamp());
  notify cdc_bridge_change;
  return null;
end
$$;
create trigger capture after insert or update on public.reservations for each row execute function public.capture();
"""

Capture = Literal["none", "bridge", "naive", "naive, same daemon", "empty"]
"""No trigger; the bridge's; a row trigger that writes a row and sends a NOTIFY, as usually written; the same in the
place of the bridge's own; a trigger like the bridge's that does nothing."""


@dataclass(frozen=True)
class Written:
    """What writers achieved."""

    transactions_a_second: float
    latency_milliseconds: float
    """Of a transaction, without the time by which it began late."""


@dataclass(frozen=True)
class Certificate:
    """The receivers' certificate, and the CA that made it."""

    ca_file: Path
    chain_and_key_file: Path


class Stage:
    """All that the measures share; a context manager."""

    def __init__(self, say: Callable[[str], None], **settings: str) -> None:
        """Set nothing up yet.

        Args:
            say: is told what is under way.
            settings: of PostgreSQL, where they are others than usual.
        """
        self.say = say
        self.postgres_settings = POSTGRES_SETTINGS | settings
        self._stack = ExitStack()
        self._numbers = count(1)

    def __enter__(self) -> Self:
        """Start the server and make the databases that others are copied from."""
        try:
            self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="cdc-bridge-bench-")))
            self.certificate = self._make_certificate()
            self.say("starting PostgreSQL and filling the example e-Res")
            self.postgres = self._stack.enter_context(ThrowawayPostgres(durable=True, settings=self.postgres_settings))
            self._server = Server("embedded", self.postgres.url, self.postgres.binaries)
            self._templates = self._make_templates()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take everything down and away."""
        self._stack.close()

    @property
    def server_version(self) -> str:
        """PostgreSQL's version."""
        return self._server.version

    def _make_certificate(self) -> Certificate:
        ca = trustme.CA()
        made = Certificate(self.folder / "ca.pem", self.folder / "receiver.pem")
        ca.cert_pem.write_to_path(made.ca_file)
        ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(made.chain_and_key_file)
        return made

    def _make_templates(self) -> dict[Capture, Database]:
        none = create(self._server, "none")
        load_example(none)
        none.execute(_EXAMPLE)
        none.execute("vacuum analyze")
        templates: dict[Capture, Database] = {"none": none}
        for number, capture in enumerate(get_args(Capture)[1:]):
            templates[capture] = create(self._server, f"captured_{number}", none.name)
        install_bridge(templates["bridge"])
        templates["naive"].execute(_NAIVE)
        install_bridge(templates["naive, same daemon"])
        templates["naive, same daemon"].execute(_NAIVE_FOR_THE_DAEMON)
        templates["empty"].execute(_EMPTY)
        return templates

    @contextmanager
    def database(self, capture: Capture = "bridge") -> Iterator[Database]:
        """Make a database with a capture, and drop it in the end."""
        database = create(self._server, f"bench_{next(self._numbers)}", self._templates[capture].name)
        database.execute("create extension pg_stat_statements")
        try:
            yield database
        finally:
            drop(database)
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write out what is dirty, so that nobody pays for what another has written."""
        self._templates["none"].execute("checkpoint")

    def usage(self, daemon: Bridge) -> Usage:
        """Return a meter of what a daemon and PostgreSQL use up from now on."""
        return Usage(self.postgres.pid, daemon.pid)

    def pgbench(
        self, database: Database, script: str, *, clients: int, seconds: int, at_most_a_second: int | None = None
    ) -> Written:
        """Run a script with pgbench.

        Args:
            database: in which.
            script: as pgbench reads it.
            clients: so many writers at once.
            seconds: for so long.
            at_most_a_second: so many transactions; ``None``: as many as it can.
        """
        file = self.folder / "script.sql"
        file.write_text(script)
        command: list[str | Path] = [
            self.postgres.binaries / "pgbench", "-n", "-M", "simple", "-c", str(clients), "-j", str(min(clients, 2)),
            "-T", str(seconds), "-f", file, *(["-R", str(at_most_a_second)] if at_most_a_second else []), database.url,
        ]  # fmt: skip
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rate, latency, lag = (
            re.search(rf"^{what} ([0-9.]+)", output, re.MULTILINE)
            for what in ("tps =", "latency average =", "rate limit schedule lag: avg")
        )
        assert rate is not None
        assert latency is not None
        return Written(float(rate[1]), float(latency[1]) - (float(lag[1]) if lag else 0.0))

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[str]:
        """Run the quickest receiver there is; yields its URL."""
        if nginx_program() is not None:
            with nginx(self.folder / f"nginx-{next(self._numbers)}", self.certificate.chain_and_key_file) as url:
                yield f"{url}/0"
        else:
            async with started_receiver(self.certificate.chain_and_key_file) as receiver:
                yield f"{receiver.url}/0"

    @asynccontextmanager
    async def daemon(self, database: Database, url: str | None = None, **settings: str) -> AsyncIterator[Bridge]:
        """Run a daemon; with a URL, the endpoint of its settings is there."""
        endpoint = {
            "CDC_BRIDGE_ENDPOINT_URL": url or "",
            "CDC_BRIDGE_ENDPOINT_HEADER": HEADER,
            "CDC_BRIDGE_ENDPOINT_SECRET": SECRET,
            "CDC_BRIDGE_ENDPOINT_CA_FILE": str(self.certificate.ca_file),
        }
        shared = {"CDC_BRIDGE_DATABASE_URL": database.bridge_url, "CDC_BRIDGE_LOG_FORMAT": "json"}
        daemon = Bridge(shared | (endpoint if url else {}) | settings)
        await daemon.start()
        try:
            await daemon.wait_for_log("started")
            yield daemon
            if daemon.running:
                await daemon.terminate()
        finally:
            await daemon.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that the database tells, looking seldom enough not to be noticed."""
    if not await within(PATIENCE_SECONDS, condition):
        raise RuntimeError(f"not within {PATIENCE_SECONDS:g} s: {what}")


async def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait no longer than that for the same, and look for a fiftieth of the time at most; return whether it came."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return True
        if time.monotonic() > deadline:
            return False
        # Counting the deliveries of a thousand endpoints, five times a second, was half of PostgreSQL's work.
        await asyncio.sleep(max(LOOK_EVERY_SECONDS, _PAUSE_PER_LOOK * (time.monotonic() - began)))
