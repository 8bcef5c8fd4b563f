"""Example receiver for cdc-bridge: verifies, stores, responds, and works afterwards. Copy it and fill in book().

pip install -r requirements.txt, then WEBHOOK_SECRET=whsec_... python receiver.py. It listens on
http://127.0.0.1:8080/reservations, behind a proxy that terminates TLS, and keeps its data in receiver.db in the current
folder; PORT=NUMBER and STORE=FILE change that. With CERTIFICATE and KEY (PEM files) it serves TLS itself, on all
addresses. Run one receiver per restaurant: two restaurants share no sequence.
"""

import asyncio
import hmac
import json
import logging
import os
import re
import sqlite3
import ssl
import sys
import time
from base64 import b64decode, b64encode
from typing import Any

from aiohttp import web


def is_genuine(secrets: list[str], id_: str, timestamp: str, signatures: str, body: bytes, now: float) -> bool:
    """Verify the signature and the time of a request."""
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > 300:
        return False
    signed = f"{id_}.{timestamp}.".encode(errors="replace") + body
    for secret in secrets:
        digest = hmac.digest(b64decode(secret.removeprefix("whsec_")), signed, "sha256")
        expected = b"v1," + b64encode(digest)
        if any(hmac.compare_digest(expected, given.encode(errors="replace")) for given in signatures.split(" ")):
            return True
    return False


SECRETS = os.environ.get("WEBHOOK_SECRET", "").split()  # During a rotation: the old secret, the new one, or both.
if not SECRETS or not all(secret.startswith("whsec_") for secret in SECRETS):
    sys.exit("Set WEBHOOK_SECRET=whsec_..., the signing secret.")
CERTIFICATE, KEY, PORT = os.environ.get("CERTIFICATE"), os.environ.get("KEY"), int(os.environ.get("PORT", "8080"))
if CERTIFICATE and not KEY:
    sys.exit("Set KEY=FILE, the private key of the certificate.")
os.umask(0o077)  # The database holds guests' data: keep it private.
database = sqlite3.connect(os.environ.get("STORE", "receiver.db"))
# A 2xx means "stored": commits have to be on disk (full) before the response.
database.executescript("""pragma journal_mode = wal; pragma synchronous = full;
create table if not exists newest (id text primary key, sequence text, webhook_id text, body text, due real);
create index if not exists waiting on newest (due) where body is not null;
create table if not exists booking (id text primary key, starts_at text, adults integer, changes integer default 1)""")


async def receive(request: web.Request) -> web.Response:
    """Handle a request. An error here, such as a full disk, becomes a 500, and the request is retried."""
    body = await asyncio.wait_for(request.read(), 10)  # Raw bytes: re-serialised JSON differs.
    webhook_id, timestamp, signatures = (
        request.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not is_genuine(SECRETS, webhook_id, timestamp, signatures, body, time.time()):
        logging.warning("Rejected: no valid signature")
        return web.Response(status=401)
    # A test request (cdc-bridge.test) is no reservation. Fails if a proxy removes the header: better than unnoticed.
    if not request.headers["ce-type"].startswith("reservation."):
        return web.Response(status=204)
    # The ce- headers are not signed, these are: the id equals ce-subject, the number before the hyphen ce-sequence.
    reservation_id, sequence = str(json.loads(body)["id"]), webhook_id.partition("-")[0].zfill(20)
    # Drop a duplicate (same webhook-id) and an older change (lower sequence; 20 digits, so it compares as text). One
    # statement checks and stores, so a crash leaves all of it or nothing.
    keep = """insert into newest values (?, ?, ?, ?, ?) on conflict (id) do update
      set sequence = excluded.sequence, webhook_id = excluded.webhook_id, body = excluded.body, due = excluded.due
      where excluded.sequence >= newest.sequence and excluded.webhook_id <> newest.webhook_id"""
    with database:
        database.execute(keep, (reservation_id, sequence, webhook_id, body.decode(), time.time()))
    return web.Response(status=204)  # Also for a dropped one: it need not be retried.


async def work() -> None:
    """Pass stored reservations to the till, for ever. If the database fails, exit: systemd restarts the program."""
    waiting = "select id, webhook_id, body from newest where body is not null and due <= ? order by due limit 1"
    while True:
        if (row := database.execute(waiting, (time.time(),)).fetchone()) is None:
            await asyncio.sleep(0.2)
            continue
        try:
            with database:  # One transaction: passed to the till, and done.
                book(json.loads(row[2]))
                database.execute("update newest set body = null where id = ? and webhook_id = ?", row[:2])
            logging.info("Booked reservation %s", row[0])
        except Exception:  # A reservation the till cannot take must not block the others.
            logging.exception("Retrying reservation %s in a minute", row[0])
            with database:
                database.execute("update newest set due = ? where id = ?", (time.time() + 60, row[0]))
        await asyncio.sleep(0)  # Let requests be handled in between.


def book(reservation: dict[str, Any]) -> None:
    """Pass a reservation to the till: write this yourself. Ignore keys you do not know.

    If the till is not in this database, a crash repeats this: insert or replace by id. Await slow work (a request)
    before the transaction, which blocks every other request.
    """
    sql = """insert into booking (id, starts_at, adults) values (?, ?, ?) on conflict (id) do update
      set starts_at = excluded.starts_at, adults = excluded.adults, changes = changes + 1"""
    database.execute(sql, (reservation["id"], reservation["datetime"], reservation["adults"]))


async def main() -> None:
    """Listen, and work."""
    application = web.Application(client_max_size=2 * 1024 * 1024)  # Notes are long, but never that long.
    application.router.add_post("/reservations", receive)
    await (runner := web.AppRunner(application)).setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if CERTIFICATE else None
    if tls and CERTIFICATE:
        tls.load_cert_chain(CERTIFICATE, KEY)
    await web.TCPSite(runner, None if tls else "127.0.0.1", PORT, ssl_context=tls).start()
    logging.info("Listening on port %s", PORT)
    await work()


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
