"""Receives the reservations that cdc-bridge posts: verifies, keeps, answers, and works afterwards. To be copied.

pip install -r requirements.txt, then WEBHOOK_SECRET=whsec_... python receiver.py: it listens at
http://127.0.0.1:8080/reservations, for a proxy that does TLS; with CERTIFICATE and KEY (PEM files) it does TLS itself,
on all addresses. One receiver a restaurant: the sequences of two cannot be compared.
"""

import asyncio
import json
import logging
import os
import sqlite3
import ssl
import time
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

# While a secret is exchanged, calls are signed with the old and the new one: change it here at any time meanwhile.
webhook = Webhook(os.environ["WEBHOOK_SECRET"])
os.umask(0o077)  # The database has guests' data in it: it is for nobody else.
database = sqlite3.connect(os.environ.get("DATABASE", "receiver.db"))
# A 2xx says "I have it": so what is committed has to be on the disk (full), not on its way there.
database.executescript("""pragma journal_mode = wal; pragma synchronous = full;
create table if not exists newest (id text primary key, sequence text, webhook_id text, body text, due real);
create index if not exists waiting on newest (due) where body is not null;
create table if not exists booking (id text primary key, starts_at text, adults integer, changes integer default 1)""")


async def receive(request: web.Request) -> web.Response:
    """Answer a call. An error here, such as a full disk, is answered with 500, and the call comes again."""
    body = await asyncio.wait_for(request.read(), 10)  # The bytes as they came: JSON written anew has other ones.
    try:
        webhook.verify(body, dict(request.headers))
    except Exception as error:  # Not only the library's own: what is forged makes it stumble in many ways.
        logging.warning("Refused: %r", error)
        return web.Response(status=401)
    # A test call (cdc-bridge.ping) is about none. If a proxy takes the header away, that fails: better it is noticed.
    if not request.headers["ce-type"].startswith("reservation."):
        return web.Response(status=204)
    # The ce- headers are not signed, these are: the id is that of ce-subject, the number before the hyphen ce-sequence.
    reservation_id, webhook_id = str(json.loads(body)["id"]), request.headers["webhook-id"]
    sequence = webhook_id.partition("-")[0].zfill(20)
    # A repeat has the webhook-id that is here, and what is older a lower sequence (20 digits, so it compares as text):
    # both are dropped. One statement checks and keeps, so a crash leaves all of it or nothing.
    keep = """insert into newest values (?, ?, ?, ?, ?) on conflict (id) do update
      set sequence = excluded.sequence, webhook_id = excluded.webhook_id, body = excluded.body, due = excluded.due
      where excluded.sequence >= newest.sequence and excluded.webhook_id <> newest.webhook_id"""
    with database:
        database.execute(keep, (reservation_id, sequence, webhook_id, body.decode(), time.time()))
    return web.Response(status=204)  # Also to what was dropped: it need not come again.


async def work() -> None:
    """Give the till what is kept, for ever. If the database fails, the program ends, for systemd to start it anew."""
    waiting = "select id, webhook_id, body from newest where body is not null and due <= ? order by due limit 1"
    while True:
        if (row := database.execute(waiting, (time.time(),)).fetchone()) is None:
            await asyncio.sleep(0.2)
            continue
        try:
            with database:  # One transaction: the till has it, and it waits no more.
                book(json.loads(row[2]))
                database.execute("update newest set body = null where id = ? and webhook_id = ?", row[:2])
        except Exception:  # What the till does not take must not hold up the others.
            logging.exception("Reservation %s is tried again in a minute", row[0])
            with database:
                database.execute("update newest set due = ? where id = ?", (time.time() + 60, row[0]))
        await asyncio.sleep(0)  # Calls are answered in between.


def book(reservation: dict[str, Any]) -> None:
    """Give the till a reservation: yours to write. It has all there is to know, and maybe keys that you do not know.

    Where the till is not in this database, a crash has it done twice: so add or replace, by id. What takes long (a
    request) is to be awaited before the transaction, as no call is answered meanwhile.
    """
    sql = """insert into booking (id, starts_at, adults) values (?, ?, ?) on conflict (id) do update
      set starts_at = excluded.starts_at, adults = excluded.adults, changes = changes + 1"""
    database.execute(sql, (reservation["id"], reservation["datetime"], reservation["adults"]))


async def main() -> None:
    """Listen and work."""
    application = web.Application(client_max_size=1024 * 1024)  # Guests write long notes, but none are that long.
    application.router.add_post("/reservations", receive)
    await (runner := web.AppRunner(application)).setup()
    certificate, port = os.environ.get("CERTIFICATE"), int(os.environ.get("PORT", "8080"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate, os.environ["KEY"])
    await web.TCPSite(runner, None if tls else "127.0.0.1", port, ssl_context=tls).start()
    await work()


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
