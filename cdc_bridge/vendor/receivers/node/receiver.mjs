// Example receiver for cdc-bridge: verifies, stores, responds, and works afterwards. Copy it and fill in book().
//
// WEBHOOK_SECRET=whsec_... node receiver.mjs (Node 18 or newer, no packages). It listens on
// http://127.0.0.1:8080/reservations, behind a proxy that terminates TLS, and keeps its data in receiver.journal in the
// current folder; PORT=NUMBER and STORE=FILE change that. With CERTIFICATE and KEY (PEM files) it serves TLS itself, on
// all addresses. Run one receiver per restaurant: two restaurants share no sequence.
import { createHmac, timingSafeEqual } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";

const { WEBHOOK_SECRET = "", PORT = 8080, STORE = "receiver.journal", CERTIFICATE, KEY } = process.env;
const SECRETS = WEBHOOK_SECRET.match(/\S+/g) ?? [""]; // During a rotation: the old secret, the new one, or both.
if (!SECRETS.every((secret) => secret.startsWith("whsec_"))) missing("WEBHOOK_SECRET=whsec_..., the signing secret");
const LARGEST_BODY_BYTES = 2 * 1024 * 1024;

function missing(setting) {
  console.error(`Set ${setting}.`);
  process.exit(1);
}

function isGenuine(secrets, id, timestamp, signatures, body, now) {
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(now - timestamp) > 300) return false;
  return secrets.some((secret) => {
    const hmac = createHmac("sha256", Buffer.from(secret.slice("whsec_".length), "base64"));
    const expected = Buffer.from(`v1,${hmac.update(`${id}.${timestamp}.`).update(body).digest("base64")}`);
    const given = signatures.split(" ").map((each) => Buffer.from(each));
    return given.some((each) => each.length === expected.length && timingSafeEqual(each, expected));
  });
}

// Returns the response status. An error here, such as a full disk, becomes a 500, and the request is retried.
async function receive(request) {
  if (request.method !== "POST" || request.url !== "/reservations") return 404;
  const chunks = []; // Raw bytes: re-serialised JSON differs.
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= LARGEST_BODY_BYTES) chunks.push(chunk); // Read to the end, or the client sees no response.
  }
  if (length > LARGEST_BODY_BYTES) return 413;
  const body = Buffer.concat(chunks);
  const [webhookId, timestamp, signatures] =
    ["id", "timestamp", "signature"].map((name) => request.headers[`webhook-${name}`] ?? "");
  if (!isGenuine(SECRETS, webhookId, timestamp, signatures, body, Date.now() / 1000)) {
    console.warn("Rejected: no valid signature");
    return 401;
  }
  // A test request (cdc-bridge.test) is no reservation. Fails if a proxy removes the header: better than unnoticed.
  if (!request.headers["ce-type"].startsWith("reservation.")) return 204;
  // The ce- headers are not signed, these are: the id equals ce-subject, the number before the hyphen ce-sequence.
  const key = JSON.parse(body).id;
  if (typeof key === "number" && !Number.isSafeInteger(key)) throw new Error("JavaScript takes two such ids for one");
  const id = Buffer.from(String(key)).toString("base64");
  const [known, , booking] = newest.get(id) ?? ["", "", ""];
  // Drop a duplicate (same webhook-id) and an older change (lower sequence), with a 204: they need not be retried.
  if (webhookId !== known && sequence(webhookId) >= sequence(known)) {
    keep(id, webhookId, body.toString("base64"), booking);
    setImmediate(passToTill, id); // After the response.
  }
  return 204;
}

const sequence = (webhookId) => BigInt(webhookId.split("-")[0]); // Of "", 0. Too long for a number.

// The journal has a line for each state of a reservation, and its last line counts: id, webhook-id, the body until the
// till has it (id and body in base64), and what the till has. If you have a database, use that instead.
process.umask(0o077); // The journal holds guests' data: keep it private.
const newest = new Map(); // By id: webhook-id, body, booking.
let [journal, size, compactAbove] = [undefined, 0, 0];

// Writes a line, and has it on disk (fsync) before the response: a 2xx means "stored".
function keep(id, ...state) {
  const line = `${id}\t${state.join("\t")}\n`;
  fs.ftruncateSync(journal, size); // A write that failed may have left something.
  fs.appendFileSync(journal, line);
  fs.fsyncSync(journal);
  size += line.length;
  newest.set(id, state);
  if (size > compactAbove) compact();
}

// Writes the journal anew, without the bodies that the till has: at the start, and when a megabyte has gathered.
function compact() {
  const text = [...newest].map(([id, state]) => `${id}\t${state.join("\t")}\n`).join("");
  fs.rmSync(`${STORE}.new`, { force: true });
  const draft = fs.openSync(`${STORE}.new`, "a");
  fs.appendFileSync(draft, text);
  fs.fsyncSync(draft);
  if (journal !== undefined) fs.closeSync(journal);
  fs.renameSync(`${STORE}.new`, STORE);
  [journal, size, compactAbove] = [draft, text.length, text.length + 1_000_000];
}

function passToTill(id) {
  const [webhookId, body, before] = newest.get(id);
  if (!body) return; // Done already.
  try {
    keep(id, webhookId, "", book(JSON.parse(Buffer.from(body, "base64")), before)); // One line: passed, and done.
    console.log(`Booked reservation ${Buffer.from(id, "base64")}`);
  } catch (error) { // A reservation the till cannot take must not block the others.
    console.error(`Retrying reservation ${Buffer.from(id, "base64")} in a minute:`, error);
    setTimeout(passToTill, 60_000, id);
  }
}

// Passes a reservation to the till: write this yourself. Ignore keys you do not know. If the till is not in the
// journal, a crash repeats this: insert or replace by id. Slow work (a request) here blocks every request.
function book({ datetime, adults }, before) {
  if (!Number.isInteger(adults)) throw new Error("adults is not a number");
  return `${datetime} ${adults} ${Number(before.split(" ")[2] ?? 0) + 1}`; // The third: how often it was passed.
}

const text = fs.existsSync(STORE) ? fs.readFileSync(STORE, "utf8") : "";
for (const line of text.split("\n").slice(0, -1)) { // A line without its end was cut off by a crash, never accepted.
  const [id, ...state] = line.split("\t");
  newest.set(id, state);
}
compact();
for (const id of newest.keys()) setImmediate(passToTill, id);
// Longer than the bridge's 60 s: otherwise a request may meet a connection that is being closed.
const options = { requestTimeout: 10_000, connectionsCheckingInterval: 5000, keepAliveTimeout: 75_000 };
if (CERTIFICATE && !KEY) missing("KEY=FILE, the private key of the certificate");
const tls = CERTIFICATE && { ...options, cert: fs.readFileSync(CERTIFICATE), key: fs.readFileSync(KEY) };
const server = tls ? https.createServer(tls) : http.createServer(options);
server.on("request", async (request, response) => {
  response.statusCode = await receive(request).catch((error) => (console.error(error), 500));
  response.end();
});
server.listen(PORT, tls ? undefined : "127.0.0.1", () => console.log(`Listening on port ${PORT}`));
