// Receives the reservations that cdc-bridge posts: verifies, keeps, answers, and works afterwards. To be copied.
//
// npm ci, then WEBHOOK_SECRET=whsec_... node receiver.mjs (Node 18 or newer): it listens at
// http://127.0.0.1:8080/reservations, for a proxy that does TLS; with CERTIFICATE and KEY (PEM files) it does TLS
// itself, on all addresses. One receiver a restaurant: the sequences of two cannot be compared.
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";

const { WEBHOOK_SECRET, PORT = 8080, DATABASE = "receiver.db", CERTIFICATE, KEY } = process.env;
const LARGEST_BODY_BYTES = 1024 * 1024; // Guests write long notes, but none are that long.

// While a secret is exchanged, calls are signed with the old and the new one: change it here at any time meanwhile.
const webhook = new Webhook(WEBHOOK_SECRET);
process.umask(0o077); // The database has guests' data in it: it is for nobody else.
const sqlite = await import("node:sqlite").catch(() => import("libsql")); // Node has it from 22.13 on.
const database = new (sqlite.DatabaseSync ?? sqlite.default)(DATABASE);
// A 2xx says "I have it": so what is committed has to be on the disk (full), not on its way there.
database.exec(`pragma journal_mode = wal; pragma synchronous = full;
create table if not exists newest (id text primary key, sequence text, webhook_id text, body text, due real);
create index if not exists waiting on newest (due) where body is not null;
create table if not exists booking (id text primary key, starts_at text, adults integer, changes integer default 1)`);
// A repeat has the webhook-id that is here, and what is older a lower sequence (20 digits, so it compares as text):
// both are dropped. One statement checks and keeps, so a crash leaves all of it or nothing.
const keep = database.prepare(`insert into newest values (?, ?, ?, ?, ?) on conflict (id) do update
  set sequence = excluded.sequence, webhook_id = excluded.webhook_id, body = excluded.body, due = excluded.due
  where excluded.sequence >= newest.sequence and excluded.webhook_id <> newest.webhook_id`);
const waiting = database.prepare("select * from newest where body is not null and due <= ? order by due limit 1");
const done = database.prepare("update newest set body = null where id = ? and webhook_id = ?");
const putOff = database.prepare("update newest set due = ? where id = ?");
const addOrReplace = database.prepare(`insert into booking (id, starts_at, adults) values (?, ?, ?)
  on conflict (id) do update set starts_at = excluded.starts_at, adults = excluded.adults, changes = changes + 1`);

// Returns the answer's status. An error here, such as a full disk, becomes 500, and the call comes again.
async function receive(request) {
  if (request.method !== "POST" || request.url !== "/reservations") return 404;
  const chunks = []; // The bytes as they came: JSON written anew has other ones.
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= LARGEST_BODY_BYTES) chunks.push(chunk); // The rest is read, as else no answer is seen, but not kept.
  }
  if (size > LARGEST_BODY_BYTES) return 413;
  const body = Buffer.concat(chunks);
  try {
    webhook.verify(body, request.headers);
  } catch (error) {
    console.warn(`Refused: ${error.message}`);
    return 401;
  }
  // A test call (cdc-bridge.ping) is about none. If a proxy takes the header away, that fails: better it is noticed.
  if (!request.headers["ce-type"].startsWith("reservation.")) return 204;
  // The ce- headers are not signed, these are: the id is that of ce-subject, the number before the hyphen ce-sequence.
  const [id, webhookId] = [String(JSON.parse(body).id), request.headers["webhook-id"]];
  const sequence = webhookId.split("-")[0].padStart(20, "0");
  keep.run(id, sequence, webhookId, body.toString(), Date.now());
  return 204; // Also to what was dropped: it need not come again.
}

// Gives the till what is kept, for ever. If the database fails, the program ends, for systemd to start it anew.
async function work() {
  for (;;) {
    const next = waiting.get(Date.now());
    if (next) giveToTill(next);
    await sleep(next ? 0 : 200); // Calls are answered in between.
  }
}

function giveToTill(next) {
  try {
    database.exec("begin"); // One transaction: the till has it, and it waits no more.
    book(JSON.parse(next.body));
    done.run(next.id, next.webhook_id);
    database.exec("commit");
  } catch (error) {
    database.exec("rollback");
    console.error(`Reservation ${next.id} is tried again in a minute:`, error); // It must not hold up the others.
    putOff.run(Date.now() + 60_000, next.id);
  }
}

// Gives the till a reservation: yours to write. It has all there is to know, and maybe keys that you do not know.
// Where the till is not in this database, a crash has it done twice: so add or replace, by id. What takes long (a
// request) is to be awaited before the transaction, as no call is answered meanwhile.
function book(reservation) {
  addOrReplace.run(reservation.id, reservation.datetime, reservation.adults);
}

// Kept alive for longer than the bridge's 60 s: else a call may meet a connection just being closed.
const options = { requestTimeout: 10_000, connectionsCheckingInterval: 5000, keepAliveTimeout: 75_000 };
const tls = CERTIFICATE && { ...options, cert: readFileSync(CERTIFICATE), key: readFileSync(KEY) };
const server = tls ? https.createServer(tls) : http.createServer(options);
server.on("request", async (request, response) => {
  response.statusCode = await receive(request).catch((error) => (console.error(error), 500));
  response.end();
});
server.listen(PORT, tls ? undefined : "127.0.0.1");
await work();
