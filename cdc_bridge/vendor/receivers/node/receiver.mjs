// Example receiver for cdc-bridge: verifies, stores, responds, and works afterwards. Copy it and fill in book().
//
// npm ci, then WEBHOOK_SECRET=whsec_... node receiver.mjs (Node 18 or newer). It listens on
// http://127.0.0.1:8080/reservations, behind a proxy that terminates TLS; with CERTIFICATE and KEY (PEM files) it
// serves TLS itself, on all addresses. Run one receiver per restaurant: two restaurants share no sequence.
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";

const { WEBHOOK_SECRET, PORT = 8080, DATABASE = "receiver.db", CERTIFICATE, KEY } = process.env;
const LARGEST_BODY_BYTES = 1024 * 1024; // Notes are long, but never that long.

// During a rotation, requests are signed with the old and the new secret: change it here at any time in between.
const webhook = new Webhook(WEBHOOK_SECRET);
process.umask(0o077); // The database holds guests' data: keep it private.
const sqlite = await import("node:sqlite").catch(() => import("libsql")); // Built in since Node 22.13.
const database = new (sqlite.DatabaseSync ?? sqlite.default)(DATABASE);
// A 2xx means "stored": commits have to be on disk (full) before the response.
database.exec(`pragma journal_mode = wal; pragma synchronous = full;
create table if not exists newest (id text primary key, sequence text, webhook_id text, body text, due real);
create index if not exists waiting on newest (due) where body is not null;
create table if not exists booking (id text primary key, starts_at text, adults integer, changes integer default 1)`);
// Drop a duplicate (same webhook-id) and an older change (lower sequence; 20 digits, so it compares as text). One
// statement checks and stores, so a crash leaves all of it or nothing.
const store = database.prepare(`insert into newest values (?, ?, ?, ?, ?) on conflict (id) do update
  set sequence = excluded.sequence, webhook_id = excluded.webhook_id, body = excluded.body, due = excluded.due
  where excluded.sequence >= newest.sequence and excluded.webhook_id <> newest.webhook_id`);
const waiting = database.prepare("select * from newest where body is not null and due <= ? order by due limit 1");
const done = database.prepare("update newest set body = null where id = ? and webhook_id = ?");
const retryLater = database.prepare("update newest set due = ? where id = ?");
const insertOrReplace = database.prepare(`insert into booking (id, starts_at, adults) values (?, ?, ?)
  on conflict (id) do update set starts_at = excluded.starts_at, adults = excluded.adults, changes = changes + 1`);

// Returns the response status. An error here, such as a full disk, becomes a 500, and the request is retried.
async function receive(request) {
  if (request.method !== "POST" || request.url !== "/reservations") return 404;
  const chunks = []; // Raw bytes: re-serialised JSON differs.
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= LARGEST_BODY_BYTES) chunks.push(chunk); // Read to the end, or the client sees no response.
  }
  if (size > LARGEST_BODY_BYTES) return 413;
  const body = Buffer.concat(chunks);
  try {
    webhook.verify(body, request.headers);
  } catch (error) {
    console.warn(`Rejected: ${error.message}`);
    return 401;
  }
  // A test request (cdc-bridge.test) is no reservation. Fails if a proxy removes the header: better than unnoticed.
  if (!request.headers["ce-type"].startsWith("reservation.")) return 204;
  // The ce- headers are not signed, these are: the id equals ce-subject, the number before the hyphen ce-sequence.
  const [id, webhookId] = [String(JSON.parse(body).id), request.headers["webhook-id"]];
  const sequence = webhookId.split("-")[0].padStart(20, "0");
  store.run(id, sequence, webhookId, body.toString(), Date.now());
  return 204; // Also for a dropped one: it need not be retried.
}

// Passes stored reservations to the till, for ever. If the database fails, exits: systemd restarts the program.
async function work() {
  for (;;) {
    const next = waiting.get(Date.now());
    if (next) passToTill(next);
    await sleep(next ? 0 : 200); // Requests are handled in between.
  }
}

function passToTill(next) {
  try {
    database.exec("begin"); // One transaction: passed to the till, and done.
    book(JSON.parse(next.body));
    done.run(next.id, next.webhook_id);
    database.exec("commit");
  } catch (error) {
    database.exec("rollback");
    console.error(`Retrying reservation ${next.id} in a minute:`, error); // It must not block the others.
    retryLater.run(Date.now() + 60_000, next.id);
  }
}

// Passes a reservation to the till: write this yourself. Ignore keys you do not know. If the till is not in this
// database, a crash repeats this: insert or replace by id. Await slow work (a request) before the transaction, which
// blocks every other request.
function book(reservation) {
  insertOrReplace.run(reservation.id, reservation.datetime, reservation.adults);
}

// Longer than the bridge's 60 s: otherwise a request may meet a connection that is being closed.
const options = { requestTimeout: 10_000, connectionsCheckingInterval: 5000, keepAliveTimeout: 75_000 };
const tls = CERTIFICATE && { ...options, cert: readFileSync(CERTIFICATE), key: readFileSync(KEY) };
const server = tls ? https.createServer(tls) : http.createServer(options);
server.on("request", async (request, response) => {
  response.statusCode = await receive(request).catch((error) => (console.error(error), 500));
  response.end();
});
server.listen(PORT, tls ? undefined : "127.0.0.1");
await work();
