// Example receiver for cdc-bridge: verifies, stores, responds, and works afterwards. Copy it and fill in book().
//
// WEBHOOK_SECRET=whsec_... java Receiver.java (JDK 17 or newer, no packages). It listens on
// http://127.0.0.1:8080/reservations, behind a proxy that terminates TLS, and keeps its data in receiver.journal in the
// current folder; PORT=NUMBER and STORE=FILE change that. The data is guests': start it with umask 077 (systemd:
// UMask=0077). Run one receiver per restaurant: two restaurants share no sequence.
import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.*;
import java.io.*;
import java.math.BigDecimal;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.*;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static boolean isGenuine(List<String> secrets, String id, String timestamp, String signatures, byte[] body,
            long now) throws GeneralSecurityException {
        if (!timestamp.matches("[0-9]{1,12}") || Math.abs(now - Long.parseLong(timestamp)) > 300) return false;
        for (String secret : secrets) {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(Base64.getDecoder().decode(secret.substring("whsec_".length())), "HmacSHA256"));
            mac.update((id + "." + timestamp + ".").getBytes(UTF_8));
            byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(UTF_8);
            for (String given : signatures.split(" "))
                if (MessageDigest.isEqual(given.getBytes(UTF_8), expected)) return true;
        }
        return false;
    }

    // During a rotation: the old secret, the new one, or both.
    static final List<String> SECRETS =
            new Scanner(System.getenv().getOrDefault("WEBHOOK_SECRET", "")).tokens().toList();
    static final int LARGEST_BODY_BYTES = 2 * 1024 * 1024;

    /** Returns the response status. An error here, such as a full disk, becomes a 500, and the request is retried. */
    static int receive(HttpExchange exchange) throws Exception {
        InputStream input = exchange.getRequestBody();
        byte[] body = input.readNBytes(LARGEST_BODY_BYTES + 1); // Raw bytes: re-serialised JSON differs.
        input.transferTo(OutputStream.nullOutputStream()); // Read to the end, or the client sees no response.
        if (!exchange.getRequestMethod().equals("POST")) return 404;
        if (body.length > LARGEST_BODY_BYTES) return 413;
        String webhookId = header(exchange, "id"), signatures = header(exchange, "signature");
        long now = System.currentTimeMillis() / 1000;
        if (!isGenuine(SECRETS, webhookId, header(exchange, "timestamp"), signatures, body, now)) {
            System.err.println("Rejected: no valid signature");
            return 401;
        }
        // A test request (cdc-bridge.test) is no reservation. Fails without the header, which a proxy may have removed.
        if (!exchange.getRequestHeaders().getFirst("ce-type").startsWith("reservation.")) return 204;
        // The ce- headers are not signed, these are: id is ce-subject, the number before the hyphen is ce-sequence.
        String id = encoded(read(body).get("id").toString().getBytes(UTF_8));
        synchronized (newest) {
            String[] known = newest.getOrDefault(id, new String[] {id, "0-", "", ""});
            // Drop a duplicate (same webhook-id) and an older change (lower sequence), with a 204: no need to retry.
            if (!webhookId.equals(known[1]) && sequence(webhookId) >= sequence(known[1])) {
                keep(id, webhookId, encoded(body), known[3]);
                till.execute(() -> passToTill(id)); // After the response.
            }
        }
        return 204;
    }

    static String header(HttpExchange exchange, String name) {
        return Objects.requireNonNullElse(exchange.getRequestHeaders().getFirst("webhook-" + name), "");
    }

    static long sequence(String webhookId) { return Long.parseLong(webhookId.split("-")[0]); }
    static String encoded(byte[] bytes) { return Base64.getEncoder().encodeToString(bytes); }
    static byte[] decoded(String text) { return Base64.getDecoder().decode(text); }

    // The journal has a line for each state of a reservation, and its last line counts: id, webhook-id, the body until
    // the till has it (id and body in base64), and what the till has. If you have a database, use that instead.
    static final Path STORE = Path.of(System.getenv().getOrDefault("STORE", "receiver.journal"));
    static final Map<String, String[]> newest = new HashMap<>(); // Last lines by id; also the lock.
    static final ScheduledExecutorService till = Executors.newSingleThreadScheduledExecutor();
    static FileChannel journal;
    static long size, compactAbove;

    static void keep(String... line) throws IOException {
        journal.truncate(size); // A write that failed may have left something.
        size += write(journal, List.<String[]>of(line));
        newest.put(line[0], line);
        if (size > compactAbove) compact();
    }

    /** Writes lines, and has them on disk (force) before the response: a 2xx means "stored". */
    static long write(FileChannel file, Collection<String[]> lines) throws IOException {
        StringBuilder text = new StringBuilder();
        for (String[] line : lines) text.append(String.join("\t", line)).append('\n');
        ByteBuffer bytes = UTF_8.encode(text.toString());
        while (bytes.hasRemaining()) file.write(bytes);
        file.force(true);
        return bytes.limit();
    }

    /** Writes the journal anew without the bodies that the till has: at the start, and when a megabyte has gathered. */
    static void compact() throws IOException {
        Path draft = Path.of(STORE + ".new");
        Files.deleteIfExists(draft);
        FileChannel file = FileChannel.open(draft, StandardOpenOption.CREATE_NEW, StandardOpenOption.APPEND);
        size = write(file, newest.values());
        if (journal != null) journal.close();
        Files.move(draft, STORE, StandardCopyOption.ATOMIC_MOVE);
        journal = file;
        compactAbove = size + 1_000_000;
    }

    static void passToTill(String id) {
        synchronized (newest) {
            String[] line = newest.get(id);
            if (line[2].isEmpty()) return; // Done already.
            try { // One line: passed to the till, and done.
                keep(id, line[1], "", book(read(decoded(line[2])), line[3]));
                System.out.println("Booked reservation " + new String(decoded(id), UTF_8));
            } catch (Exception error) { // A reservation the till cannot take must not block the others.
                System.err.println("Retrying reservation " + new String(decoded(id)) + " in a minute: " + error);
                till.schedule(() -> passToTill(id), 1, TimeUnit.MINUTES);
            }
        }
    }

    /**
     * Passes a reservation to the till: write this yourself. Ignore keys you do not know. If the till is not in the
     * journal, a crash repeats this: insert or replace by id. Slow work (a request) here blocks every request.
     */
    static String book(Map<?, ?> reservation, String before) {
        int adults = ((BigDecimal) reservation.get("adults")).intValueExact();
        int passed = before.isEmpty() ? 1 : Integer.parseInt(before.split(" ")[2]) + 1; // How often it was passed.
        return reservation.get("datetime") + " " + adults + " " + passed;
    }

    // Makes Map, List, String, BigDecimal, Boolean and null of JSON. Rather use a library, if you have one.
    static final Pattern TOKEN = Pattern.compile("\"((?:[^\"\\\\]++|\\\\.)*+)\"|[\\[\\]{}]|[^\\s,:\\[\\]{}\"]+");
    static final Pattern ESCAPE = Pattern.compile("\\\\(?:u(....)|(.))");

    static Map<?, ?> read(byte[] body) { return (Map<?, ?>) value(TOKEN.matcher(new String(body, UTF_8))); }
    static Object value(Matcher token) {
        if (!token.find()) throw new IllegalArgumentException("not JSON");
        String text = token.group();
        switch (text.charAt(0)) {
            case '{':
                Map<Object, Object> object = new HashMap<>();
                for (Object key; (key = value(token)) != TOKEN;) object.put(key, value(token));
                return object;
            case '[':
                List<Object> list = new ArrayList<>();
                for (Object item; (item = value(token)) != TOKEN;) list.add(item);
                return list;
            case ']': case '}':
                return TOKEN; // The end of an object or a list.
            case '"':
                return ESCAPE.matcher(token.group(1)).replaceAll(found -> Matcher.quoteReplacement(unescaped(found)));
            default:
                if (text.equals("null")) return null;
                if (text.equals("true") || text.equals("false")) return text.equals("true");
                return new BigDecimal(text);
        }
    }

    static String unescaped(MatchResult found) {
        if (found.group(1) != null) return "" + (char) Integer.parseInt(found.group(1), 16);
        return found.group(2).equals("/") ? "/" : found.group().translateEscapes();
    }

    public static void main(String[] arguments) throws Exception {
        if (SECRETS.isEmpty() || !SECRETS.stream().allMatch(secret -> secret.startsWith("whsec_"))) {
            System.err.println("Set WEBHOOK_SECRET=whsec_..., the signing secret.");
            System.exit(1);
        }
        String text = Files.exists(STORE) ? Files.readString(STORE) : "";
        // A line without its end was cut off by a crash, and not accepted.
        for (String line : text.substring(0, text.lastIndexOf('\n') + 1).lines().toList())
            newest.put(line.split("\t")[0], line.split("\t", -1));
        compact();
        for (String id : List.copyOf(newest.keySet())) till.execute(() -> passToTill(id));
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 100);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/reservations", exchange -> {
            int status = 500;
            try {
                status = receive(exchange);
            } catch (Exception error) {
                error.printStackTrace();
            }
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        });
        server.start();
        System.out.println("Listening on port " + port);
    }
}
