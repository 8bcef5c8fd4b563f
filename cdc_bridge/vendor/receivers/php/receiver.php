<?php
// Example receiver for cdc-bridge: verifies, stores, responds, and works afterwards. Copy it and fill in book().
//
// Needs PHP 8.1 or newer with pdo_sqlite, no packages, and two processes with WEBHOOK_SECRET=whsec_... in their
// environment: php -S 127.0.0.1:8080 receiver.php (once it works, PHP-FPM or Apache) listens on
// http://127.0.0.1:8080/reservations, behind a proxy that terminates TLS; php receiver.php, a service, passes
// reservations to the till. They keep their data in receiver.db in the folder above this one, as this one may be on the
// web; STORE=FILE changes that. Run one receiver per restaurant: two restaurants share no sequence.
declare(strict_types=1);

const LARGEST_BODY_BYTES = 2 * 1024 * 1024; // post_max_size in php.ini has to be as large: its default is 8M.

function is_genuine(array $secrets, string $id, string $timestamp, string $signatures, string $body, int $now): bool
{
    if (!preg_match('/^[0-9]{1,12}$/', $timestamp) || abs($now - (int) $timestamp) > 300) return false;
    foreach ($secrets as $secret) {
        $key = base64_decode(substr($secret, strlen('whsec_')));
        $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
        foreach (explode(' ', $signatures) as $given) {
            if (hash_equals($expected, $given)) return true;
        }
    }
    return false;
}

// Returns the response status. An error here, such as a full disk, becomes a 500, and the request is retried.
function receive(PDO $database, array $secrets): int
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST' || $_SERVER['REQUEST_URI'] !== '/reservations') return 404;
    if ((int) $_SERVER['CONTENT_LENGTH'] > LARGEST_BODY_BYTES) return 413;
    $body = file_get_contents('php://input'); // Raw bytes: re-serialised JSON differs.
    $webhook_id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    $signatures = $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '';
    if (!is_genuine($secrets, $webhook_id, $timestamp, $signatures, $body, time())) {
        error_log('Rejected: no valid signature');
        return 401;
    }
    // A test request (cdc-bridge.test) is no reservation. Fails if a proxy removes the header: better than unnoticed.
    if (!str_starts_with($_SERVER['HTTP_CE_TYPE'], 'reservation.')) return 204;
    // The ce- headers are not signed, these are: the id equals ce-subject, the number before the hyphen ce-sequence.
    $id = (string) parsed($body)['id'];
    $sequence = str_pad(explode('-', $webhook_id)[0], 20, '0', STR_PAD_LEFT);
    // Drop a duplicate (same webhook-id) and an older change (lower sequence; 20 digits, so it compares as text). One
    // statement checks and stores, so a crash leaves all of it or nothing.
    $database->prepare('insert into newest values (?, ?, ?, ?, ?) on conflict (id) do update
      set sequence = excluded.sequence, webhook_id = excluded.webhook_id, body = excluded.body, due = excluded.due
      where excluded.sequence >= newest.sequence and excluded.webhook_id <> newest.webhook_id')
        ->execute([$id, $sequence, $webhook_id, $body, time()]);
    return 204; // Also for a dropped one: it need not be retried.
}

function parsed(string $body): array
{
    return json_decode($body, true, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
}

// Passes stored reservations to the till, for ever. If the database fails, exits: systemd restarts the program.
function work(PDO $database): never
{
    $waiting = $database->prepare('select id, webhook_id, body from newest where body is not null and due <= ?
      order by due limit 1');
    for (;;) {
        $waiting->execute([microtime(true)]);
        $rows = $waiting->fetchAll();
        foreach ($rows as [$id, $webhook_id, $body]) {
            $database->exec('begin immediate'); // One transaction: passed to the till, and done.
            try {
                book($database, parsed($body));
                $database->prepare('update newest set body = null where id = ? and webhook_id = ?')
                    ->execute([$id, $webhook_id]);
                $database->exec('commit');
                error_log("Booked reservation $id");
            } catch (Throwable $error) { // A reservation the till cannot take must not block the others.
                $database->exec('rollback');
                error_log("Retrying reservation $id in a minute: $error");
                $database->prepare('update newest set due = ? where id = ?')->execute([microtime(true) + 60, $id]);
            }
        }
        if (!$rows) usleep(200_000);
    }
}

// Passes a reservation to the till: write this yourself. Ignore keys you do not know. If the till is not in this
// database, a crash repeats this: insert or replace by id. Slow work (a request) here blocks every request.
function book(PDO $database, array $reservation): void
{
    $database->prepare('insert into booking (id, starts_at, adults) values (?, ?, ?) on conflict (id) do update
      set starts_at = excluded.starts_at, adults = excluded.adults, changes = changes + 1')
        ->execute([$reservation['id'], $reservation['datetime'], $reservation['adults']]);
}

function database(): PDO
{
    umask(0077); // The database holds guests' data: keep it private.
    $database = new PDO('sqlite:' . (getenv('STORE') ?: dirname(__DIR__) . '/receiver.db'));
    // A 2xx means "stored": commits have to be on disk (full) before the response.
    $database->exec('pragma journal_mode = wal; pragma synchronous = full;
create table if not exists newest (id text primary key, sequence text, webhook_id text, body text, due real);
create index if not exists waiting on newest (due) where body is not null;
create table if not exists booking (id text primary key, starts_at text, adults integer, changes integer default 1)');
    return $database;
}

ini_set('display_errors', '0'); // They go to the log, not into responses.
set_error_handler(fn (int $level, string $message) => throw new ErrorException($message)); // A missing header is one.
// During a rotation: the old secret, the new one, or both.
$secrets = preg_split('/\s+/', (string) getenv('WEBHOOK_SECRET'), -1, PREG_SPLIT_NO_EMPTY);
if (!$secrets || preg_grep('/^whsec_/', $secrets, PREG_GREP_INVERT)) {
    http_response_code(500);
    error_log('Set WEBHOOK_SECRET=whsec_..., the signing secret.');
    exit(1);
}
if (PHP_SAPI === 'cli') work(database());
try {
    http_response_code(receive(database(), $secrets));
} catch (Throwable $error) {
    error_log((string) $error);
    http_response_code(500);
}
